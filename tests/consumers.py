"""The module in tests/consumer, loaded into servers of tests beside ours."""

from __future__ import annotations

from pathlib import Path

from harness import OK, Server, Wire, module_path
from harness.binaries import REPOSITORY


def consumer_path() -> Path:
    """What was built together with the module under test: beside it, or, for the one in place, in build."""
    beside = module_path().with_name("consumer.so")
    path = beside if beside.exists() else REPOSITORY / "build" / "consumer.so"
    path.chmod(0o755)  # Redis 7 refuses a module without a run bit
    return path


def load_consumer(wire: Wire) -> None:
    reply = wire("MODULE", "LOAD", str(consumer_path()))
    assert reply == OK, reply


def check(wire: Wire, where: str, name: str, *arguments: str | int) -> None:
    """Runs a check of the consumer; ``where`` is LOOP (the event loop) or THREAD."""
    reply = wire("CONSUMER.CHECK", where, name, *arguments)
    assert reply == OK, reply


__all__ = ["Server", "check", "consumer_path", "load_consumer"]
