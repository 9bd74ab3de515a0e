"""What a worker, a backend and the watchdog know of a run (docs/backends.md).

Plain Python, for those who try a backend without a server; compiled for workers, with the types of ``run.pxd``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Lock
from typing import Any


class Run:
    """One call of a session, as the watchdog sees it; each worker has one of its own, for all its calls.

    For backends:

    - ``terminate``: set, in every call, by a backend that can end a running model, to a function that does it;
      it is called from another thread.
    - ``state``: objects of the backends, under keys of their own, which survive from call to call.
    - ``alone``: nothing else runs or waits on this device; a long run may as well use all cores.
    - ``core``: the one that the worker is on, for a run that is ``alone``; else, or where that is unknown, -1.
    - ``has_room``: at least half of the cores have nothing to do; a pool of threads that runs share may as well use
      them.
    - ``away``: the worker does not count as attentive; another one serves the queue meanwhile.
    - ``wide``: set by a session that uses several cores because of ``alone`` or ``has_room``; how long that takes is no
      measure of its other runs.
    - ``retune``: set by a session that wants its ``retune(blob)`` called, on another thread, with the model's bytes.
    - ``prefer``: set by a session that has something on this thread which others have not, such as a pool; under light
      load this worker then gets the next request.

    For the watchdog: ``started`` and ``deadline``, when the call has to be ended (monotonic seconds; infinity between
    calls); ``overdue``, which it calls, once for a call, when that was expected to be short and has lasted so many
    seconds; ``ended``, which it calls after ``terminate``; ``batch`` and ``requests``, what runs; and ``lock``, held
    while a call ends and while it is terminated, so that the next call is never hit instead.
    """

    def __init__(self) -> None:
        self.terminate: Callable[[], None] | None = None
        self.state: dict[Any, Any] = {}
        self.alone = False
        self.core = -1
        self.has_room = False
        self.away = False
        self.wide = False
        self.retune = False
        self.prefer = False
        self.started = 0.0
        self.deadline = inf
        self.overdue: Callable[[float], None] = lambda seconds: None
        self.ended: Callable[[], None] = lambda: None
        self.batch: Any = None
        self.requests: list[Any] = []
        self.lock = Lock()
