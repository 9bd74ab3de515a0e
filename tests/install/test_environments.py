"""The module finds the Python of the environment that it is told, however that was made."""

from __future__ import annotations

import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import OK, Server


@pytest.mark.parametrize("symlinks", [True, False], ids=["symlinks", "copies"])
def test_a_virtual_environment(make_server: Callable[..., Server], tmp_path: Path, symlinks: bool) -> None:
    venv.create(tmp_path / "venv", symlinks=symlinks)
    place = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    Path(place, "packages.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")) + "\n")
    server = make_server(start=False)
    server.start(environment={"REDISAI_PYTHON": str(tmp_path / "venv" / "bin" / "python3")})
    with server.wire() as wire:
        assert wire("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 1) == OK
