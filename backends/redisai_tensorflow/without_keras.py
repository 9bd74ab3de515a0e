"""``import tensorflow`` without Keras, which it imports at its end.

That is 2.4 of 6.3 seconds and 100 MB, and only `.keras` archives need it (``keras_archives.py``, which says first where
Keras finds its settings). TensorFlow goes on when Keras cannot be imported, and imports it later for whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from sys import meta_path
from threading import get_ident
from types import ModuleType

# The packages themselves TensorFlow looks for, to know where they are.
CODE_OF_KERAS = {"keras.src", "tf_keras.src"}


class _NotForThisThread(MetaPathFinder):
    def __init__(self) -> None:
        self._thread = get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in CODE_OF_KERAS and get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is imported when it is needed", name=name)
        return None


@contextmanager
def without_keras() -> Iterator[None]:
    """Inside, the thread that is here cannot import Keras, unless it was imported before."""
    finder = _NotForThisThread()
    meta_path.insert(0, finder)
    try:
        yield
    finally:
        meta_path.remove(finder)
