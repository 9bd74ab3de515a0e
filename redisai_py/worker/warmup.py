"""AI.MODELSTORE ... WARMUP n: runs of a model before anybody can use it.

The first runs of a session are slow: a framework allocates, chooses kernels, and
compiles. So they are done on zeros of the shapes that the model declares for its
inputs, before the new model takes the place of the old one. Other loads wait
meanwhile, so a warm-up ends early when it takes long, or when nobody wants it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any

from redisai_py.backend import BackendError, Run

from . import buffers, native, watchdog
from .core import lib, log
from .errors import error_text

LARGEST_RANK = 64
LONGEST = 10.0
"""No run begins after so many seconds, or after MODEL_EXECUTION_TIMEOUT if that is less; what was run will do."""

_run = Run()
watchdog.watch(_run)


class Storing:
    """Who waits for the runs: the client of a job that loads a model, as the watchdog asks for it."""

    def __init__(self, job: Any) -> None:
        self.job = job

    @property
    def abandoned(self) -> bool:
        return bool(self.job.cancelled)


def warm_up(session: Any, blob: bytes, job: Any, check_wanted: Callable[[Any], None]) -> None:
    """Runs the session of a job's model as often as its command says.

    Raises BackendError for a model that this is not possible with, and what ``check_wanted`` raises for the job.
    """
    inputs = example_inputs(session)
    runs = job.model.warmup
    end = time.monotonic() + min(LONGEST, native.execution_limit())
    _run.alone = True
    _run.core = lib.rai_current_core()
    for number in range(runs):
        check_wanted(job)
        if number > 0 and time.monotonic() >= end:
            log("notice", f"WARMUP ends after {number} of {runs} runs: it takes too long")
            break
        (result,) = _execute(session, inputs, Storing(job))
        if isinstance(result, Exception):
            raise BackendError("ERR WARMUP failed: " + error_text(result).decode(errors="replace"))
        if _run.retune:  # it may well be a heavy one
            _run.retune = False
            session.retune(blob)


def _execute(session: Any, inputs: list[Any], storing: Storing) -> list[Any]:
    with _run.lock:
        _run.requests = [storing]
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
            _run.requests = []
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
