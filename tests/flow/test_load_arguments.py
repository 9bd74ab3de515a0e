"""The module's load-time arguments: what they set, and what refuses to start."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from harness import OK, Error, Server, as_dict, module_path, put

Servers = Callable[..., Server]

DEFAULT_ONNX = "redisai_onnxruntime/redisai_onnxruntime.so"

ODD_NUMBER = "Even number of arguments provided to module. Please provide arguments as KEY VAL pairs"


@pytest.mark.parametrize("arguments", [("THREADS_PER_QUEUE",), ("THREADS_PER_QUEUE", 2, "ONNX"), ("JUNK",)])
def test_an_odd_number_of_arguments_refuses_to_load(make_server: Servers, arguments: tuple[str | int, ...]) -> None:
    assert ODD_NUMBER in make_server(*arguments, start=False).start_refused()


BAD_PAIRS = [
    ("JUNK", "1"),
    ("THREADS_PER_QUEUE", "0"),
    ("THREADS_PER_QUEUE", "-1"),
    ("THREADS_PER_QUEUE", "two"),
    ("THREADS_PER_QUEUE", "1.5"),
    ("INTRA_OP_PARALLELISM", "0"),
    ("INTRA_OP_PARALLELISM", "x"),
    ("INTER_OP_PARALLELISM", "0"),
    ("INTER_OP_PARALLELISM", "-3"),
    ("MODEL_CHUNK_SIZE", "0"),
    ("MODEL_CHUNK_SIZE", "1k"),
    ("MODEL_EXECUTION_TIMEOUT", "999"),
    ("MODEL_EXECUTION_TIMEOUT", "x"),
    ("BACKEND_MEMORY_LIMIT", "0"),
    ("BACKEND_MEMORY_LIMIT", "-1"),
    ("MAX_QUEUE_DEPTH", "-1"),
    ("DEFAULT_BATCH_DELAY", "x"),
    ("ONNX", "no_such_folder/no_such_backend.so"),
    ("CAFFE", DEFAULT_ONNX),
]


@pytest.mark.parametrize(("key", "value"), BAD_PAIRS)
def test_a_bad_pair_refuses_to_load(make_server: Servers, key: str, value: str) -> None:
    log = make_server("THREADS_PER_QUEUE", 2, key, value, start=False).start_refused()
    assert f"ERR error processing argument: {key} {value}" in log


NUMBERS = {
    "THREADS_PER_QUEUE": (3, "ai_threads_per_queue"),
    "INTRA_OP_PARALLELISM": (2, "ai_intra_op_parallelism"),
    "INTER_OP_PARALLELISM": (2, "ai_inter_op_parallelism"),
    "MODEL_EXECUTION_TIMEOUT": (1000, "ai_model_execution_timeout"),
    "BACKEND_MEMORY_LIMIT": (50, "ai_backend_memory_limit"),
}


@pytest.fixture(scope="module")
def configured(module_servers: Servers) -> Server:
    """A server with every number set, its keys in mixed case."""
    arguments: list[str | int] = ["model_chunk_size", 100]
    for key, (value, _) in NUMBERS.items():
        arguments += [key.title(), value]
    return module_servers(*arguments)


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_are_set_logged_and_shown_in_info(configured: Server, key: str) -> None:
    value, field = NUMBERS[key]
    assert configured.info("ai")[field] == str(value)
    assert f"Setting {key} parameter to: {value}" in configured.log


def test_model_chunk_size_is_set_and_logged(configured: Server) -> None:
    with configured.wire() as wire:
        assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 100
    assert "Setting MODEL_CHUNK_SIZE parameter to: 100" in configured.log


def test_a_model_runs_with_every_number_set(configured: Server) -> None:
    with configured.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        put(wire, "a", np.full(2, 3, np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK


def test_threads_per_queue_is_the_number_of_workers(configured: Server) -> None:
    workers = [name for name in configured.info("ai") if name.startswith("ai_queue_CPU_bthread_n")]
    assert workers == [f"ai_queue_CPU_bthread_n{number}_used_cpu_total" for number in (1, 2, 3)]


def test_two_workers_run_two_requests_at_once(make_server: Servers) -> None:
    server = make_server("THREADS_PER_QUEUE", 2)
    with server.wire() as first, server.wire() as second:
        assert first("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(first, "slow", np.full((1, 1), models.turns_for(0.5), np.float32))
        put(first, "fast", np.zeros((1, 1), np.float32))
        first.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "slow", "OUTPUTS", 1, "y")
        time.sleep(0.05)
        assert second("AI.MODELEXECUTE", "spin", "INPUTS", 1, "fast", "OUTPUTS", 1, "z") == OK
        assert not first.has_reply(), "the fast request must not wait for the slow one"
        assert first.read() == OK


def test_the_last_of_two_pairs_wins(make_server: Servers) -> None:
    server = make_server("THREADS_PER_QUEUE", 2, "THREADS_PER_QUEUE", 4)
    assert server.info("ai")["ai_threads_per_queue"] == "4"


def test_a_backend_is_loaded_at_start(make_server: Servers) -> None:
    server = make_server("ONNX", DEFAULT_ONNX)
    assert "ONNX backend loaded from" in server.log
    assert server.info("ai")["ai_onnxruntime_version"]
    with server.wire() as wire:
        assert wire("AI.CONFIG", "LOADBACKEND", "ONNX", DEFAULT_ONNX) == Error("ERR error loading backend")


def test_a_backend_loaded_twice_refuses_to_load(make_server: Servers) -> None:
    log = make_server("ONNX", DEFAULT_ONNX, "ONNX", DEFAULT_ONNX, start=False).start_refused()
    assert f"ERR error processing argument: ONNX {DEFAULT_ONNX}" in log


def test_backendspath_applies_before_the_backends(make_server: Servers) -> None:
    default = module_path().parent / "backends"
    server = make_server("ONNX", DEFAULT_ONNX, "BACKENDSPATH", str(default))
    with server.wire() as wire:
        assert wire("AI.CONFIG", "GET", "BACKENDSPATH") == str(default).encode()
    log = make_server("ONNX", DEFAULT_ONNX, "BACKENDSPATH", "nowhere", start=False).start_refused()
    assert f"ERR error processing argument: ONNX {DEFAULT_ONNX}" in log


def test_an_absolute_backend_path_may_be_anywhere(make_server: Servers) -> None:
    absolute = str(module_path().parent / "backends" / DEFAULT_ONNX)
    server = make_server("BACKENDSPATH", "nowhere", "ONNX", absolute)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        assert as_dict(wire("AI.MODELGET", "m", "META"))["backend"] == b"ONNX"


def test_version_lines_in_the_log(make_server: Servers) -> None:
    server = make_server()
    version = ".".join(map(str, server.binary.version))
    assert f"Redis version found by RedisAI: {version} - oss" in server.log
    assert "RedisAI version " in server.log
    assert "git_sha=" in server.log


def test_environment_and_working_directory_do_not_reach_the_interpreter(make_server: Servers, tmp_path: Path) -> None:
    """A hostile PYTHONPATH, PYTHONHOME and working directory change nothing."""
    for name in ("numpy", "onnxruntime", "encodings", "redisai_py"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the wrong place')\n")
    server = make_server(start=False)
    server.directory.mkdir(parents=True)
    (server.directory / "numpy.py").write_text("raise SystemExit('imported from the wrong place')\n")
    server.start(environment={"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "PYTHONVERBOSE": "1"})
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert "wrong place" not in server.log


@pytest.mark.parametrize("megabytes", [1, 10])
def test_backend_memory_limit_at_store_and_at_run_time(make_server: Servers, megabytes: int) -> None:
    server = make_server("BACKEND_MEMORY_LIMIT", megabytes)
    exceeded = "Onnxruntime memory limit exceeded, memory allocation failed."
    with server.wire() as wire:
        error = wire("AI.MODELSTORE", "large", "ONNX", "CPU", "BLOB", models.weighted(megabytes * 3))
        assert isinstance(error, Error)
        assert f"Exception during initialization: {exceeded}" in error.text
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.expanding(megabytes * 3)) == OK
        put(wire, "x", np.ones(1, np.float32))
        error = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        assert isinstance(error, Error)
        assert exceeded in error.text
        assert wire("EXISTS", "y") == 0
        # What fits goes on working.
        assert wire("AI.MODELSTORE", "small", "ONNX", "CPU", "BLOB", models.expanding(megabytes / 3)) == OK
        assert wire("AI.MODELEXECUTE", "small", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
