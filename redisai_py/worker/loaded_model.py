"""Models as workers know them: a session and how its requests may be batched."""

from __future__ import annotations

from typing import Any


class LoadedModel:
    """A model or script whose session exists. The C model holds a reference; requests borrow it.

    ``min_batch_timeout`` is in seconds, 0 waits for ever. ``execute_natively`` is the
    session's method (``redisai_py.backend.Session``), or None. ``urgent`` is the form that
    requests with PRIORITY HIGH use: it has a line of its own in the scheduler, before
    all others, and its batches do not wait for more rows. ``functions`` holds a
    form of its own for each function of a script: their run times have nothing to do
    with each other, so each has its own line in the scheduler.
    """

    def __init__(
        self,
        backend: str,
        session: Any,
        batch_size: int,
        min_batch_size: int,
        min_batch_timeout: float,
        execute_natively: Any = None,
        is_urgent: bool = False,
    ) -> None:
        self.backend = backend
        self.session = session
        self.execute = session.execute
        self.execute_natively = execute_natively
        self.batch_size = batch_size
        self.min_batch_size = min_batch_size
        self.min_batch_timeout = min_batch_timeout
        self.line: Any = None  # the scheduler's record of this model
        self.is_urgent = is_urgent
        # No form refers to itself: a session must go as soon as its model does.
        self.urgent = None if is_urgent else LoadedModel(backend, session, batch_size, 0, 0.0, execute_natively, True)
        self.functions: dict[str, LoadedModel] = {}
