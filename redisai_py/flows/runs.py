"""Runs that flows started: the futures that wait for them."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

from redisai_py.worker import buffers
from redisai_py.worker.core import address, ffi, lib, text

Finish = Callable[[Any], list[Any]]
"""Takes the finished context apart; returns the outputs, or raises."""

_numbers = itertools.count(1)
_waiting: dict[int, tuple[asyncio.Future[Any], Finish]] = {}
_models: list[tuple[Any, int]] = []  # runs to be started: contexts and numbers
_loop: asyncio.AbstractEventLoop | None = None
_thread = 0


def serve_on(loop: asyncio.AbstractEventLoop) -> None:
    """Called by the thread of the loop, once."""
    global _loop, _thread
    _loop, _thread = loop, threading.get_ident()


def start_model(context: Any, finish: Finish) -> asyncio.Future[Any]:
    """Starts a run of a model, or, on the loop, all of this turn together: their worker is woken once."""
    number, future = expect(finish)
    assert _loop is not None
    if threading.get_ident() != _thread:
        lib.RAI_ModelRunAsync(context, lib.rai_flow_run_finished, ffi.cast("void *", number))
        return future
    if not _models:
        _loop.call_soon(_start_models)
    _models.append((context, number))
    return future


def _start_models() -> None:
    contexts, numbers = zip(*_models, strict=True)
    _models.clear()
    lib.rai_flow_run_models(ffi.new("RAI_ModelRunCtx *[]", contexts), numbers, len(numbers))


def expect(finish: Finish) -> tuple[int, asyncio.Future[Any]]:
    """The number of a run, private data for its callback, and the future of its outputs; called from any thread."""
    assert _loop is not None, "flows are not served"
    number = next(_numbers)
    future = _loop.create_future()
    _waiting[number] = future, finish
    return number, future


def forget(number: int) -> None:
    """The run was not started after all."""
    del _waiting[number]


def finished(number: int, context: Any) -> None:
    """Called by the loop's thread when the run is over."""
    future, finish = _waiting.pop(number)
    context = ffi.cast("RAI_OnFinishCtx *", context)
    try:
        outputs = finish(context)
    except Exception as error:
        if not future.done():
            future.set_exception(error.with_traceback(None))  # this frame has the future: a cycle, with all tensors
    else:
        if not future.done():
            future.set_result(outputs)


class Error:
    """An RAI_Error for one call; ``raise_if_set`` raises its text as an exception of a class."""

    def __init__(self) -> None:
        holder = ffi.new("RAI_Error **")
        lib.RAI_InitError(holder)
        self.error = ffi.gc(holder[0], lib.RAI_FreeError)

    @property
    def text(self) -> str:
        if lib.RAI_GetErrorCode(self.error) == lib.RedisAI_ErrorCode_OK:
            return ""
        return text(lib.RAI_GetErrorOneLine(self.error))

    def raise_if_set(self, kind: type[Exception]) -> None:
        if self.text:
            raise kind(self.text)


def tensors_of(count: int, tensor_at: Callable[[int], Any]) -> list[Any]:
    """Outputs as ``buffers.Tensor``; None for one that was not produced."""
    pointers = [tensor_at(i) for i in range(count)]
    return [None if pointer == ffi.NULL else buffers.borrow_tensor(address(pointer)) for pointer in pointers]
