"""Runs that flows started: the futures that wait for them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from redisai_py.worker import native
from redisai_py.worker.core import address, ffi, lib, text

Finish = Callable[[Any], list[Any]]
"""Takes the finished context apart; returns the outputs, or raises."""

_numbers = itertools.count(1)
_waiting: dict[int, tuple[asyncio.Future[Any], Finish]] = {}
_loop: asyncio.AbstractEventLoop | None = None


def use_loop(loop: asyncio.AbstractEventLoop) -> None:
    global _loop
    _loop = loop


def expect(finish: Finish) -> tuple[Any, asyncio.Future[Any]]:
    """The private data for the callback of a run, and the future of its outputs; called from any thread."""
    assert _loop is not None, "flows are not served"
    number = next(_numbers)
    future = _loop.create_future()
    _waiting[number] = future, finish
    return ffi.cast("void *", number), future


def forget(data: Any) -> None:
    """The run was not started after all."""
    del _waiting[int(ffi.cast("intptr_t", data))]


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
    """Outputs as ``native.Tensor``; None for one that was not produced."""
    pointers = [tensor_at(i) for i in range(count)]
    return [None if pointer == ffi.NULL else native.borrow_tensor(address(pointer)) for pointer in pointers]
