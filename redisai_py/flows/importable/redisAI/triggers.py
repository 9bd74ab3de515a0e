"""What is not part of RedisGears' redisAI: registering flows, commands, the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from redisai_py.flows.commands import CommandError, run
from redisai_py.flows.errors import GearsError
from redisai_py.flows.registry import Flow, register
from redisai_py.flows.rights import current_rights
from redisai_py.worker.core import lib
from redisai_py.worker.core import log as write_log

Function = TypeVar("Function", bound=Callable[..., Any])


def flow(name: str) -> Callable[[Function], Function]:
    """Registers a function for ``AI.FLOW name argument ...``; it gets the arguments as str."""

    def decorate(function: Function) -> Function:
        register(Flow(lib.RAI_FLOW_COMMAND, name, function))
        return function

    return decorate


def on_event(pattern: str, event: str | None = None, at_once: int = 1) -> Callable[[Function], Function]:
    """Registers a function for changes of keys that match a pattern; it gets an ``Event``.

    ``event`` is a name of Redis' keyspace notifications, such as ``hset``; None stands for all. So many as
    ``at_once`` says are handled at the same time; one after the other by default.
    """

    def decorate(function: Function) -> Function:
        name = getattr(function, "__name__", pattern)
        register(Flow(lib.RAI_FLOW_EVENT, name, function, pattern=pattern, event=event, at_once=at_once))
        return function

    return decorate


def on_stream(
    pattern: str, batch: int = 1, name: str | None = None, start: str = "0", retry: float | None = None
) -> Callable[[Function], Function]:
    """Registers a function for new entries of streams whose keys match a pattern; it gets a list of ``Entry``.

    The list holds up to ``batch`` entries of one stream. ``name`` (the function's) names the consumer group that
    remembers the position, ``flow:<name>``. ``start`` is where a stream begins that has no such group yet: ``0``, or
    ``$`` for only what comes later. Entries whose function raised are skipped, unless ``retry`` says after how many
    seconds to try again.
    """

    def decorate(function: Function) -> Function:
        known = name if name is not None else str(getattr(function, "__name__", pattern))
        register(
            Flow(
                lib.RAI_FLOW_STREAM,
                known,
                function,
                pattern=pattern,
                event="xadd",
                batch=batch,
                start=start,
                retry=retry,
            )
        )
        return function

    return decorate


def execute(command: str | bytes, *arguments: Any, raw: bool = False) -> Any:
    """Runs a Redis command, holding Redis' lock for it alone; raises GearsError with its error.

    Arguments are str, bytes, or numbers. Returns None, int, str, or lists of these; with ``raw``, bytes for str.
    """
    words = [_word(word) for word in (command, *arguments)]
    try:
        reply = run(current_rights(), *words)
    except CommandError as error:
        raise GearsError(error.reply) from None
    return reply if raw else _decode(reply)


def _word(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return str(value).encode(errors="surrogateescape")


def _decode(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode(errors="surrogateescape")
    if isinstance(reply, list):
        return [_decode(item) for item in reply]
    return reply


def log(text: str, level: str = "notice") -> None:
    """Writes a line to Redis' log; the level is one of debug, verbose, notice and warning."""
    write_log(level, text)
