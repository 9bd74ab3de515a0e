"""Which redis-server and which module are found, and what is said when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from redisai_py import locate


def program(directory: Path, name: str = "redis-server", *, mode: int = 0o755) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\necho 'Redis server v=9.8.7 sha=0'\n")
    path.chmod(mode)
    return path


@pytest.fixture
def no_carriers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "CARRIER_PACKAGES", ())


def test_option_wins_over_environment_and_path(tmp_path: Path) -> None:
    option, variable, on_path = (program(tmp_path / name) for name in ("option", "variable", "path"))
    environ = {"REDISAI_REDIS_SERVER": str(variable), "PATH": str(on_path.parent)}
    assert locate.find_redis_server(str(option), environ) == option
    assert locate.find_redis_server(None, environ) == variable
    assert locate.find_redis_server(None, {"PATH": str(on_path.parent)}) == on_path


def test_symbolic_link_keeps_its_name(tmp_path: Path) -> None:
    target = program(tmp_path, "redis-check-rdb")
    link = tmp_path / "redis-server"
    link.symlink_to(target)
    assert locate.find_redis_server(None, {"PATH": str(tmp_path)}) == link


@pytest.mark.usefixtures("no_carriers")
def test_absence_names_the_ways_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(locate.LocateError, match="apt-get install redis-server"):
        locate.find_redis_server(None, {"PATH": str(tmp_path)})


def test_wrong_choice_is_not_replaced_by_another(tmp_path: Path) -> None:
    program(tmp_path)
    with pytest.raises(locate.LocateError, match="REDISAI_REDIS_SERVER is /nowhere"):
        locate.find_redis_server(None, {"REDISAI_REDIS_SERVER": "/nowhere", "PATH": str(tmp_path)})


def test_carried_server_is_made_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path / "carrier" / "bin", mode=0o644)
    (tmp_path / "carrier" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate.carried_redis_server("carrier") == path
    assert locate.redis_version(path) == "9.8.7"
    assert "carrier" not in sys.modules
    assert locate.carried_redis_server("no_such_carrier") is None


def test_module_is_found_through_the_environment_or_missed_with_a_reason(tmp_path: Path) -> None:
    module = tmp_path / "redisai.so"
    with pytest.raises(locate.LocateError, match="REDISAI_MODULE"):
        locate.find_module({"REDISAI_MODULE": str(module)})
    module.touch()
    assert locate.find_module({"REDISAI_MODULE": str(module)}) == module


def test_frameworks_are_not_imported() -> None:
    before = set(sys.modules)
    for backend in locate.BACKENDS:
        locate.framework_version(backend)
    assert not {"torch", "tensorflow", "ai_edge_litert", "tflite_runtime"} & (set(sys.modules) - before)


def test_entry_points_are_found_by_the_name_of_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "other_torch-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other-torch\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{locate.ENTRY_POINTS}]\ntorch = other_torch:Engine\n")
    assert locate.find_entry_point("TORCH") is None
    monkeypatch.syspath_prepend(str(tmp_path))
    found = locate.find_entry_point("TORCH")
    assert found is not None
    assert found.value == "other_torch:Engine"
    assert locate.find_entry_point("ONNX") is None


@pytest.mark.parametrize(
    ("backend", "module", "missing"),
    [("TORCH", "torch", True), ("TFLITE", "ai_edge_litert.interpreter", True), ("TF", "torch", False)],
)
def test_a_missing_framework_is_told_from_other_failures(backend: str, module: str, missing: bool) -> None:
    (known,) = [known for known in locate.BACKENDS if known.name == backend]
    assert known.is_missing(ModuleNotFoundError(f"No module named {module!r}", name=module)) == missing
    assert not known.is_missing(ImportError(module, name=module))
