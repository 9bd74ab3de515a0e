"""On whose behalf a flow acts: the client that called it, or, for events, the operator."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from redisai_py.worker.core import address, ffi, lib


class Rights:
    """Rights and database, for commands, keys, and the commands of scripts; a ``rai_call`` that Python owns."""

    def __init__(self, call: Any) -> None:
        self.call = ffi.gc(call, lib.rai_call_free)

    @property
    def address(self) -> int:
        return address(self.call)


def of_operator(database: int = 0) -> Rights:
    """The operator wrote the flows: what no client asked for may do everything."""
    rights = Rights(lib.rai_call_new(lib.rai_detached_context(), b"", 0))
    rights.call.database = database
    return rights


current: ContextVar[Rights] = ContextVar("rights")
"""Set while a flow runs, also in the tasks and the thread that it runs in."""


def current_rights() -> Rights:
    """Those of the running flow; the operator's while a file is loaded and in threads that a flow starts."""
    rights = current.get(None)
    if rights is None:
        rights = of_operator()
        current.set(rights)
    return rights
