"""Ends runs that take longer than MODEL_EXECUTION_TIMEOUT, or that nobody waits for any more.

It also notices runs that were expected to be short and are not: the worker that is
stuck in one counts as attentive, so another one has to be called in its place.

The C watchdog thread calls ``check``; it sleeps while nothing runs, and no request with a TIMEOUT waits.
"""

from __future__ import annotations

from math import inf
from time import monotonic

from redisai_py.backend import Run

from . import native
from .core import log

OVERDUE = 0.02
"""Seconds after which a run that was expected to be short is taken for a long one."""

_runs: list[Run] = []
"""One for each worker thread; its deadline is infinity while the worker is idle."""


def watch(run: Run) -> None:
    """Adds a worker's run; it is never removed, since workers live as long as the server."""
    _runs.append(run)


def check() -> float:
    """Ends what has to be ended and returns when to look again (monotonic seconds)."""
    now = monotonic()
    next_look = inf
    for run in list(_runs):
        with run.lock:
            if run.deadline == inf:
                continue
            if not run.away and now >= run.started + OVERDUE:
                run.away = True
                run.overdue(now - run.started)
            requests = run.requests
            if now >= run.deadline or (requests and all(request.abandoned for request in requests)):
                end(run)
                run.deadline = now + native.execution_limit()  # in case the framework does not react: ask again
            next_look = min(next_look, run.deadline if run.away else run.started + OVERDUE)
    return next_look


def end(run: Run) -> None:
    """Asks the backend to end a run; not every framework can."""
    if run.terminate is None:
        return
    try:
        run.terminate()
        run.ended()
    except Exception as error:
        log("warning", f"a running model could not be terminated: {error}")
