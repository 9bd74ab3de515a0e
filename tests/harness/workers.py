"""Whether workers run something, which clients cannot tell but by the clock."""

from __future__ import annotations

import time

import pytest

from .server import Server, wait_until
from .wire import Error, Wire, as_dict

RUNS = 32
TOO_SLOW = "the shortest of runs takes longer here than a hand-over to a worker is taken to cost"
WORTH_A_TRY = 40
"""Microseconds: what runs on workers take at most for the event loop to try them (module/src/runner.c).

Twice that with one core or two; a machine that is between the two need not be tried by the tests.
"""


def cpu_of_workers(server: Server) -> list[str]:
    """CPU times of the workers, which stand still while all runs are on the event loop."""
    info = server.info("ai")
    return [value for name, value in info.items() if name.startswith("ai_queue_CPU_bthread_")]


def cpu_at_rest(server: Server) -> list[str]:
    """The same once nothing is to do, and they are asleep."""
    server.wait_for_rest()
    before: list[str] = []
    while (now := cpu_of_workers(server)) != before:
        before = now
        time.sleep(0.002)
    return now


def runs_at_once(server: Server, wire: Wire, *command: str | int) -> bool:
    """Whether so many runs need no worker."""
    before = cpu_at_rest(server)
    for _ in range(RUNS):
        assert not isinstance(wire(*command), Error)
    return cpu_of_workers(server) == before


def tried(server: Server) -> int:
    """How many runs were on the event loop."""
    return int(server.info("ai")["ai_queue_CPU"].split("at_once=")[1].split(",")[0])


def becomes_short(server: Server, wire: Wire, key: str, *command: str | int) -> None:
    """Waits until the command needs no worker; skips where the runs of ``key`` take too long for that."""
    before = tried(server)
    try:
        wait_until(lambda: runs_at_once(server, wire, *command), 10, every=0)
    except AssertionError:
        info = as_dict(wire("AI.INFO", key))
        is_slow = info["duration"] >= WORTH_A_TRY * info["calls"]
        assert is_slow or tried(server) > before, "its runs are short, and were never tried on the event loop"
        pytest.skip(TOO_SLOW)


def is_short_too(server: Server, wire: Wire, command: tuple[str | int, ...], *others: tuple[str | int, ...]) -> None:
    """Asserts that the command needs no worker, as the others, which had become short; skips where those do again."""
    if not runs_at_once(server, wire, *command):
        assert not all(runs_at_once(server, wire, *other) for other in others), "the others need none"
        pytest.skip(TOO_SLOW)
