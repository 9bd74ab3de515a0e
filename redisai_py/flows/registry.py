"""What flow files registered."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redisai_py.worker.core import ffi, lib


class RegistrationError(Exception):
    """A flow cannot be registered; the text says why."""


@dataclass(eq=False)
class Flow:
    """A function, and what starts it. ``record`` is its ``rai_flow``, once its file is loaded."""

    trigger: int
    name: str
    function: Callable[..., Any]
    pattern: str | None = None
    event: str | None = None
    at_once: int = 1
    batch: int = 1
    start: str = "0"
    retry: float | None = None
    record: Any = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise RegistrationError(f"flow '{self.name}' is no function")
        self.is_async = inspect.iscoroutinefunction(self.function)


_lock = threading.Lock()
_loading = threading.local()
_commands: dict[str, Flow] = {}
_by_record: dict[int, Flow] = {}


def register(flow: Flow) -> None:
    """Announces a flow: at once, or, while a file is loaded, when all of the file is known to be good."""
    pending: list[Flow] | None = getattr(_loading, "flows", None)
    if flow.trigger == lib.RAI_FLOW_COMMAND:
        known = [other for other in pending or () if other.trigger == flow.trigger and other.name == flow.name]
        if known or flow.name in _commands:
            raise RegistrationError(f"there is a flow '{flow.name}' already")
    if pending is None:
        announce(flow)
    else:
        pending.append(flow)


def announce(flow: Flow) -> None:
    with _lock:
        texts = [ffi.NULL if text is None else encode(text) for text in (flow.pattern, flow.event)]
        flow.record = lib.rai_flow_register(flow.trigger, encode(flow.name), *texts)
        _by_record[int(ffi.cast("intptr_t", flow.record))] = flow
        if flow.trigger == lib.RAI_FLOW_COMMAND:
            _commands[flow.name] = flow


def encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def command(name: str) -> Flow | None:
    return _commands.get(name)


def by_record(record: Any) -> Flow:
    return _by_record[int(ffi.cast("intptr_t", record))]


def all_flows() -> list[Flow]:
    with _lock:
        return list(_by_record.values())


class Registrations:
    """Collects what this thread registers, a context manager; ``announce`` makes it known."""

    def __init__(self) -> None:
        self.flows: list[Flow] = []

    def __enter__(self) -> Registrations:
        _loading.flows = self.flows
        return self

    def __exit__(self, *exception: object) -> None:
        _loading.flows = None

    def announce(self) -> None:
        for flow in self.flows:
            announce(flow)
