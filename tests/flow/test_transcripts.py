"""The examples of the command reference: what is typed gives what the page shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transcripts
from harness import Server, Wire
from redisai_py.codegen.commands import COMMANDS

FILES = sorted(transcripts.FOLDER.glob("*.txt"))

pytestmark = transcripts.needs_redis_cli


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers("FLOWS", str(transcripts.FLOW))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_server_replies_as_the_transcript_shows(server: Server, wire: Wire, tmp_path: Path, file: Path) -> None:
    terminal = transcripts.Terminal(tmp_path / "terminal", server.port)
    for exchange in transcripts.read(file.read_text()):
        actual = terminal.type(exchange)
        assert exchange.matches(actual), f"{exchange.typed}\n{actual}"


def test_every_command_has_a_transcript_that_uses_it() -> None:
    assert {file.stem for file in FILES} >= {command.name for command in COMMANDS}
    for command in COMMANDS:
        assert command.name.upper() in (transcripts.FOLDER / f"{command.name}.txt").read_text()
