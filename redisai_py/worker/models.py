"""Models as workers know them: a session and how its requests may be batched."""

from __future__ import annotations

from typing import Any


class LoadedModel:
    """A model or script whose session exists. The C model holds a reference; requests borrow it.

    ``min_batch_timeout`` is in seconds, 0 waits for ever. ``functions`` holds a
    form of its own for each function of a script: their run times have nothing to do
    with each other, so each has its own line in the scheduler.
    """

    __slots__ = (
        "backend",
        "batch_size",
        "execute",
        "execute_natively",
        "functions",
        "line",
        "min_batch_size",
        "min_batch_timeout",
        "session",
    )

    def __init__(
        self, backend: str, session: Any, batch_size: int, min_batch_size: int, min_batch_timeout: float
    ) -> None:
        self.backend = backend
        self.session = session
        self.execute = session.execute
        self.execute_natively = getattr(session, "execute_natively", None)
        self.batch_size = batch_size
        self.min_batch_size = min_batch_size
        self.min_batch_timeout = min_batch_timeout
        self.line: Any = None  # the scheduler's record of this model
        self.functions: dict[str, LoadedModel] = {}
