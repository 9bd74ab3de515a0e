"""AI.MODELSTORE ... WARMUP n: runs of a model before anybody can use it.

The first runs of a session are slow: a framework allocates, chooses kernels, and
compiles. So they are done on zeros of the shapes that the model declares for its
inputs, before the new model takes the place of the old one.
"""

from __future__ import annotations

import time
from math import inf
from typing import Any

from redisai_py.backend import BackendError, Run

from . import buffers, native, watchdog
from .errors import error_text

LARGEST_RANK = 64

_run = Run()
watchdog.watch(_run)


def warm_up(session: Any, blob: bytes, runs: int) -> None:
    """Runs a session so many times; raises BackendError for a model that this is not possible with."""
    inputs = example_inputs(session)
    _run.alone = True
    for _ in range(runs):
        (result,) = _execute(session, inputs)
        if isinstance(result, Exception):
            raise BackendError("ERR WARMUP failed: " + error_text(result).decode(errors="replace"))
        if _run.retune:  # it may well be a heavy one
            _run.retune = False
            session.retune(blob)


def _execute(session: Any, inputs: list[Any]) -> list[Any]:
    with _run.lock:
        _run.deadline = time.monotonic() + native.execution_limit()
    _run.away = True
    native.arm_watchdog(_run.deadline)
    try:
        results: list[Any] = session.execute([inputs], _run)
    except Exception as error:
        return [error]
    finally:
        with _run.lock:
            _run.deadline = inf
            _run.terminate = None
    return results


def example_inputs(session: Any) -> list[Any]:
    """Zeros of the declared dtypes and shapes, where what is not known is 1."""
    declared = getattr(session, "declared_inputs", None)
    if declared is None:
        raise BackendError("ERR WARMUP needs the shapes of the inputs, and models of this backend do not declare them")
    for dtype, shape in declared:
        if dtype is None or len(shape) > LARGEST_RANK:
            raise BackendError("ERR WARMUP needs inputs of dtypes that tensors have")
    return [buffers.zeros(dtype, tuple(dim if dim and dim > 0 else 1 for dim in shape)) for dtype, shape in declared]
