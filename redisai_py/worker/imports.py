"""Imports of what is large: one at a time.

Python lets threads import parts of one package side by side, and where the parts need each other both threads fail, for
as long as the process lives. So it is with TensorFlow on one thread and Keras, which is made of it, on another: here,
the backend of a model that was in the file which the server began with, and a flow file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

LONGEST_WAIT = 20.0  # seconds; a flow file may wait for a run whose backend is not there yet

_lock = Lock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Waits until no other thread is inside, or for LONGEST_WAIT."""
    alone = _lock.acquire(timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        if alone:
            _lock.release()
