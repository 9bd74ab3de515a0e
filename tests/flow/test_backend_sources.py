"""Where a backend comes from: an entry point, the default path or a given one; and what is said when it is missing."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import OK, Error, Server, assert_tensor, put

LINE = '{"a": 2, "b": 1}'
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "backends.md"


def example() -> str:
    return EXAMPLE.read_text().split("```python\n")[1].split("```")[0]


@pytest.fixture
def distribution(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Installs a distribution whose entry point TFLITE has a given value; its modules go where it returns.

    A .pth file makes it visible to the embedded interpreter, which looks into its environment only. Left behind by a
    killed test, that file names a directory that does not exist, which Python ignores.
    """
    link = Path(sysconfig.get_path("purelib"), "redisai_py_test.pth")

    def install(value: str) -> Path:
        information = tmp_path / "other_tflite-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-tflite\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[redisai_py.backends]\nTFLITE = {value}\n")
        link.write_text(f"{tmp_path}\n")
        return tmp_path

    try:
        yield install
    finally:
        link.unlink(missing_ok=True)


@pytest.mark.parametrize("value", ["line_backend", "line_backend:Backend"])
def test_an_installed_distribution_replaces_the_default_path(
    make_server: Callable[..., Server], distribution: Callable[[str], Path], value: str
) -> None:
    (distribution(value) / "line_backend.py").write_text(example())
    with make_server() as server, server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TFLITE", "CPU", "BLOB", LINE) == OK
        assert f"TFLITE backend loaded from entry point {value}" in server.log
        put(wire, "x", np.array([1, 2], np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        assert_tensor(wire, "y", np.array([3, 5], np.float32))


def test_a_given_path_comes_before_an_installed_distribution(
    make_server: Callable[..., Server], distribution: Callable[[str], Path], tmp_path: Path
) -> None:
    (distribution("line_backend") / "line_backend.py").write_text("raise RuntimeError")
    (tmp_path / "given.py").write_text(example())
    with make_server("TFLITE", str(tmp_path / "given.py")) as server, server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TFLITE", "CPU", "BLOB", LINE) == OK
        assert f"TFLITE backend loaded from {tmp_path / 'given.py'}" in server.log


def test_an_entry_point_that_fails_is_an_error_with_its_reason_in_the_log(
    make_server: Callable[..., Server], distribution: Callable[[str], Path]
) -> None:
    (distribution("line_backend") / "line_backend.py").write_text("raise RuntimeError('a reason')")
    with make_server() as server, server.wire() as wire:
        reply = wire("AI.MODELSTORE", "m", "TFLITE", "CPU", "BLOB", LINE)
        assert reply == Error("ERR Could not load backend")
        reason = "Could not load TFLITE backend from entry point line_backend: RuntimeError: a reason"
        assert reason in server.log


def test_a_missing_framework_is_named_with_its_remedy(make_server: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / "redisai_torch"
    folder.mkdir()
    # What importing a framework that is not installed raises.
    missing = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')"
    (folder / "redisai_torch.py").write_text(missing)
    remedy = "TORCH needs PyTorch; pip install 'redisai-py[torch]'"
    with make_server("BACKENDSPATH", str(tmp_path)) as server, server.wire() as wire:
        for _ in range(2):
            reply = wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", "x")
            assert reply == Error(f"ERR Could not load backend: {remedy}")
        assert f"ModuleNotFoundError: No module named 'torch' ({remedy})" in server.log
        # Once it is installed the server need not be restarted.
        (folder / "redisai_torch.py").write_text(example())
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", LINE) == OK
    log = make_server("TORCH", str(folder / "absent.py"), start=False).start_refused()
    assert remedy not in log


def test_another_missing_module_is_no_missing_framework(make_server: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / "redisai_torch"
    folder.mkdir()
    (folder / "redisai_torch.py").write_text("import no_such_module_anywhere")
    with make_server("BACKENDSPATH", str(tmp_path)) as server, server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", "x") == Error("ERR Could not load backend")
        assert "No module named 'no_such_module_anywhere'" in server.log
