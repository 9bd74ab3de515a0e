"""Imports of what is large: one at a time.

Python lets threads import parts of one package side by side, and where the parts need each other both threads fail, for
as long as the process lives. So it is with TensorFlow on one thread and Keras, which is made of it, on another: here,
the backend of a model that was in the file which the server began with, and a flow file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

from .core import lib

LONGEST_WAIT = 20.0  # seconds; a flow file may wait for a run whose backend is not there yet
LOOK = 0.01  # seconds

_lock = Lock()


@contextmanager
def one_at_a_time(*, for_jobs: bool) -> Iterator[None]:
    """Waits until no other thread is inside, or for LONGEST_WAIT.

    ``for_jobs``: and no longer than until somebody waits for a job in place. That may be the event loop, and the flow
    file that is inside may wait for it.
    """
    deadline = monotonic() + LONGEST_WAIT
    while not (alone := _lock.acquire(timeout=LOOK)):
        if monotonic() > deadline or (for_jobs and lib.rai_jobs_in_place()):
            break
    try:
        yield
    finally:
        if alone:
            _lock.release()
