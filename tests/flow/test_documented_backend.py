"""What the documentation shows works: the backend of docs/backends.md, under the name and path rules that it
states, the examples of README.md, and the measurement of docs/architecture.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness import OK, Error, Server, Wire, as_dict, assert_tensor, put
from transcripts import needs_redis_cli, path_with_scripts

ROOT = Path(__file__).resolve().parents[2]
LINE = '{"a": 2, "b": 1}'


def code_block(page: str, language: str) -> str:
    """The only code block of a language on a page."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, f"{page} has {len(blocks)} {language} blocks"
    return str(blocks[0])


def write_backend(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code_block("docs/backends.md", "python"))
    return file


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    file = write_backend(tmp_path_factory.mktemp("backends") / "line.py")
    return module_servers("TORCH", str(file))


@pytest.fixture(autouse=True)
def line(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "line", "TORCH", "CPU", "BLOB", LINE) == OK


def execute(wire: Wire, *options: str | int) -> object:
    return wire("AI.MODELEXECUTE", "line", "INPUTS", 1, "x", "OUTPUTS", 1, "y", *options)


def test_the_commands_of_the_page_give_its_result(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "x", "FLOAT", 3, "VALUES", 1, 2, 3) == OK
    assert execute(wire) == OK
    assert wire("AI.TENSORGET", "y", "VALUES") == [b"3", b"5", b"7"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64, np.uint16])
def test_the_output_has_the_dtype_of_the_input(wire: Wire, dtype: type) -> None:
    put(wire, "x", np.array([[1, 2], [3, 4]], dtype))
    assert execute(wire) == OK
    assert_tensor(wire, "y", np.array([[3, 5], [7, 9]], dtype))


def test_names_of_the_session_are_shown(wire: Wire) -> None:
    meta = as_dict(wire("AI.MODELGET", "line", "META"))
    assert (meta["backend"], meta["inputs"], meta["outputs"]) == (b"TORCH", [b"x"], [b"y"])


def test_info_shows_the_version(server: Server, wire: Wire) -> None:
    assert server.info("ai")["ai_Torch_version"] == "1.0"


def test_errors_of_load_reach_the_client(wire: Wire) -> None:
    reply = wire("AI.MODELSTORE", "other", "TORCH", "CPU", "BLOB", '{"a": 2}')
    assert reply == Error("ERR not a line: KeyError('b')")
    assert wire("AI.MODELSTORE", "other", "TORCH", "GPU", "BLOB", LINE) == Error("ERR lines are for the CPU only")
    assert wire("EXISTS", "other") == 0


def test_an_error_of_a_run_reaches_the_client_and_the_model_serves_on(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "x", "STRING", 1, "VALUES", "text") == OK
    assert isinstance(execute(wire), Error)
    put(wire, "x", np.ones(1, np.float32))
    assert execute(wire) == OK
    info = as_dict(wire("AI.INFO", "line"))
    assert (info["calls"], info["errors"]) == (2, 1)


def test_requests_are_batched_without_help_of_the_backend(server: Server, wire: Wire) -> None:
    store = ("AI.MODELSTORE", "line", "TORCH", "CPU", "BATCHSIZE", 4, "MINBATCHSIZE", 3, "BLOB", LINE)
    assert wire(*store) == OK
    put(wire, "x", np.array([[1.0]], np.float32))
    put(wire, "two", np.array([[2.0], [3.0]], np.float32))
    with server.wire() as other:
        other.send("AI.MODELEXECUTE", "line", "INPUTS", 1, "two", "OUTPUTS", 1, "z")
        assert not other.has_reply(0.1), "two rows wait for a third"
        assert execute(wire) == OK
        assert other.read() == OK
    assert_tensor(wire, "y", np.array([[3.0]], np.float32))
    assert_tensor(wire, "z", np.array([[5.0], [7.0]], np.float32))


def test_models_survive_a_reload(wire: Wire) -> None:
    put(wire, "x", np.ones(2, np.float32))
    assert wire("DEBUG", "RELOAD") == OK
    assert execute(wire) == OK
    assert_tensor(wire, "y", np.full(2, 3, np.float32))


@pytest.mark.parametrize("stated", ["line/line.py", "line/line.so", "line/line"])
def test_a_relative_path_is_below_backendspath_and_its_stem_counts(
    make_server: Callable[..., Server], tmp_path: Path, stated: str
) -> None:
    write_backend(tmp_path / "line" / "line.py")
    with make_server("TFLITE", stated, "BACKENDSPATH", str(tmp_path)).wire() as wire:
        assert wire("AI.MODELSTORE", "line", "TFLITE", "CPU", "BLOB", LINE) == OK


def test_a_backend_is_found_at_its_default_path_when_it_is_first_needed(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    write_backend(tmp_path / "redisai_tensorflow" / "redisai_tensorflow.py")
    server = make_server("BACKENDSPATH", str(tmp_path))
    assert "ai_TensorFlow_version" not in server.info("ai")
    with server.wire() as wire:
        names = ("INPUTS", 1, "x", "OUTPUTS", 1, "y")
        assert wire("AI.MODELSTORE", "line", "TF", "CPU", *names, "BLOB", LINE) == OK
    assert server.info("ai")["ai_TensorFlow_version"] == "1.0"


def run_example(directory: Path, *command: str) -> str:
    environment = path_with_scripts()
    result = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout


@needs_redis_cli
def test_the_examples_of_the_readme_print_what_it_says(make_server: Callable[..., Server], tmp_path: Path) -> None:
    port = make_server().port
    shell = code_block("README.md", "sh").replace("redis-cli", f"redis-cli -p {port}")
    assert run_example(tmp_path, "bash", "-euc", shell).split() == ["OK", "OK", "OK", "OK", "10", "40", "90"]
    python = code_block("README.md", "python").replace("port=6379", f"port={port}")
    assert run_example(tmp_path, sys.executable, "-c", python).split() == ["[10.", "40.", "90.]"]


@needs_redis_cli
def test_the_example_of_the_scripts_page_runs(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server()
    (tmp_path / "pictures.py").write_text(code_block("docs/scripts.md", "python"))
    shell = code_block("docs/scripts.md", "sh").replace("redis-cli", f"redis-cli -p {server.port}")
    assert run_example(tmp_path, "bash", "-euc", shell).split() == ["OK", "3", "OK", "OK", "OK", "OK"]
    with server.wire() as wire:
        assert_tensor(wire, "normalized", np.array([[-1, 1], [1, -1]], np.float32))
        assert_tensor(wire, "index", np.array(1))
        assert wire("HGETALL", "counts") == [b"dog", b"1"]


@needs_redis_cli
def test_the_example_of_the_dags_page_prints_what_it_says(make_server: Callable[..., Server], tmp_path: Path) -> None:
    server = make_server()
    (tmp_path / "fraud.py").write_text(code_block("docs/dags.md", "python"))
    shell = code_block("docs/dags.md", "sh").replace("redis-cli", f"redis-cli -p {server.port}")
    assert run_example(tmp_path, "bash", "-euc", shell).split() == ["OK", "OK", "OK", "OK", "OK", "OK", "OK", "1"]
    with server.wire() as wire:
        assert wire("AI.TENSORGET", "latest:7", "VALUES")[2] == b"0.10000000149011612"
        assert wire("DBSIZE") == 4


def test_a_backend_without_scripts_says_so(wire: Wire) -> None:
    reply = wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(a):\n    return a\n")
    assert reply == Error("ERR the backend that was loaded for TORCH has no scripts")


def test_the_measurement_of_the_architecture_page_gives_two_figures(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "bridge.py").write_text(code_block("docs/architecture.md", "python"))
    with make_server("TORCH", str(tmp_path / "bridge.py")).wire() as wire:
        assert wire("AI.MODELSTORE", "bridge", "TORCH", "CPU", "BLOB", "-") == OK
        assert wire("AI.TENSORSET", "x", "FLOAT", 30) == OK
        assert wire("AI.MODELEXECUTE", "bridge", "INPUTS", 1, "x", "OUTPUTS", 1, "us") == OK
        microseconds = [float(value) for value in wire("AI.TENSORGET", "us", "VALUES")]
    assert len(microseconds) == 2 and all(0 < value < 1000 for value in microseconds)
