"""Where C threads enter Python. Imported once, by the first worker thread."""

from __future__ import annotations

import gc
import sys
from math import inf
from typing import Any

from . import control, watchdog
from .core import address, ffi, lib, log, text
from .loop import Device

SWITCH_INTERVAL = 0.0005
"""Seconds that Python-busy threads keep the GIL from each other; the default of 5 ms is felt by clients."""

GC_THRESHOLD = 50_000

RETRY = 1_000_000
"""Microseconds until the watchdog looks again when it has failed."""

sys.setswitchinterval(SWITCH_INTERVAL)

# Requests are acyclic, but they are objects that the collector counts: with its
# default threshold it would walk the youngest generation every hundred requests.
gc.set_threshold(GC_THRESHOLD, 20, 20)

_devices: dict[int, Device] = {}


@ffi.def_extern()  # type: ignore[untyped-decorator]
def rai_python_worker(queue: Any) -> None:
    """Serves a queue for as long as the server lives."""
    try:
        if queue == lib.rai_control_queue():
            control.serve(queue)
        else:
            device(queue).serve()
    except BaseException as error:
        log("warning", f"worker of queue {text(lib.rai_queue_name(queue))} ended: {type(error).__name__}: {error}")
        raise


def device(queue: Any) -> Device:
    """The device of a queue; made by its first worker, shared by all of them."""
    key = address(queue)
    return _devices.setdefault(key, Device(key, lib.rai_queue_worker_limit(queue), lib.rai_queue_on_gpu(queue)))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def rai_python_flows() -> None:
    """Serves the flows for as long as the server lives."""
    from redisai_py.flows import loop  # asyncio, and what it brings, only where there are flows

    try:
        loop.serve()
    except BaseException as error:
        log("warning", f"the thread of the flows ended: {type(error).__name__}: {error}")
        raise


@ffi.def_extern()  # type: ignore[untyped-decorator]
def rai_python_watchdog(now_us: int) -> int:
    """Looks at the runs, and at who waits; returns when to look again, in monotonic microseconds."""
    try:
        next_look = min([watchdog.check(), *[device.expire() for device in list(_devices.values())]])
    except Exception as error:  # such as that there is no memory: what it looks after is still there
        log("warning", f"the watchdog failed: {error!r}")
        return now_us + RETRY
    return control.FOR_EVER if next_look == inf else int(next_look * 1e6)
