"""Calling flow functions: coroutines on the loop, everything else on threads."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from redisai_py.worker.core import lib

from .errors import describe
from .registry import Flow
from .rights import Rights, current

THREADS = 32
"""So many plain functions can run at once; a function that never returns keeps one for ever."""

pool = ThreadPoolExecutor(THREADS, "ai-flow")


class FlowExit(Exception):
    """A function raised what would have ended the thread, such as SystemExit, or what no future takes."""


def contained(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Calls a function; an exception that is no Exception becomes one, and StopIteration, which futures refuse."""
    try:
        return function(*arguments)
    except StopIteration as error:
        raise FlowExit(describe(error)) from error
    except Exception:
        raise
    except BaseException as error:
        raise FlowExit(describe(error)) from error


async def run(flow: Flow, *arguments: Any) -> Any:
    """The function's result; raises what it raises, but only Exceptions and CancelledError."""
    if flow.is_async:
        result = flow.function(*arguments)
    else:
        context = contextvars.copy_context()
        call = asyncio.get_running_loop().run_in_executor(pool, context.run, contained, flow.function, arguments)
        result = await call
    if not hasattr(result, "__await__"):
        return result
    try:
        return await result
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise FlowExit(describe(error)) from error


async def call(flow: Flow, rights: Rights, waited: bool, *arguments: Any) -> Any:
    """A counted call on somebody's behalf."""
    current.set(rights)
    lib.rai_flow_begin(flow.record, waited)
    failed = True
    try:
        result = await run(flow, *arguments)
        failed = isinstance(result, BaseException)
        return result
    finally:
        lib.rai_flow_end(flow.record, failed)


async def attempt(flow: Flow, rights: Rights, waited: bool, *arguments: Any) -> BaseException | None:
    """Calls a function in a task that serves events or entries; what it raised, or None.

    Nobody but the function cancels such a task. So that is a failure of the function like any exception, and what
    comes after it does not notice. A task for each call would do the same, but costs as much as all the rest.
    """
    try:
        await call(flow, rights, waited, *arguments)
    except (Exception, asyncio.CancelledError) as error:
        failure: BaseException | None = error
    else:
        failure = None
    if isinstance(failure, asyncio.CancelledError) or may_be_cancelled():
        await revoke_cancellation()
    return failure


def may_be_cancelled() -> bool:
    """Whether somebody cancelled the running task; not known before Python 3.11."""
    task: Any = asyncio.current_task()
    return sys.version_info < (3, 11) or bool(task.cancelling())


async def revoke_cancellation() -> None:
    """Lets the running task go on as if it had not been cancelled."""
    try:
        await asyncio.sleep(0)  # where a cancellation arrives that came after the function's last await
    except asyncio.CancelledError:
        pass
    if sys.version_info >= (3, 11):
        task: Any = asyncio.current_task()
        while task.uncancel():
            pass
