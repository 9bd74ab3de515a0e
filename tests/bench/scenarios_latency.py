"""GET and PING while something else goes on: nothing may stop the event loop.

A client on the same machine takes part in the fight for the cores, as every client of such a machine does. The receipt
of a model's bytes is the event loop's own work and is reported, but not judged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from . import models
from .load import Command, Prober, latencies_within, percentile, redis_benchmark
from .models import BenchModel
from .plan import Plan
from .report import Goal, at_most
from .scenarios_models import store
from .servers import Server

# A p99.9 is good up to this many times the idle one of the same run, or up to so many microseconds.
IDLE_FACTOR = 3
GOOD_ENOUGH = 5000.0


@dataclass(frozen=True)
class Latencies:
    """Microseconds of every probe during a phase, and, around a store, during receipt and deletion of the model."""

    during: list[float]
    receipt: list[float] = field(default_factory=list)
    deletion: list[float] = field(default_factory=list)


def run(plan: Plan) -> None:
    phases: dict[str, Callable[[], Latencies]] = {}
    with Server() as server:
        server("SET", "string", "x" * 120)
        heavy = store(server, "convolutional", models.convolutional())
        medium = store(server, "medium", models.medium())
        large = models.megabytes_400()
        small = models.megabytes_16()
        phases["idle"] = partial(_idle, plan, server)
        phases["(a) a 400 MB model is being stored"] = partial(_storing, server, large, "GET", "string")
        phases["(b) 9 ms inference saturates the workers"] = partial(_inference, plan, server, heavy, 8)
        phases["(b) 0.2 ms inference saturates the workers"] = partial(_inference, plan, server, medium, 50)
        phases["(c) a backend is being imported"] = _importing
        results = plan.alternate(phases)
        stores = [_storing(server, small, "PING") for _ in range(plan.repetitions * 4)]
    idle = percentile(_merge(results["idle"]), 99.9)
    limit = max(IDLE_FACTOR * idle, GOOD_ENOUGH)
    for name, phase in results.items():
        group = f"GET while {name}" if name != "idle" else "GET while the server is idle"
        _report(plan, group, phase, None if name == "idle" else at_most(limit))
    group = "PING while a 16 MB model is being stored"
    beyond = _merge(stores)
    plan.report.value(group, "longest, beyond the receipt of the bytes", max(beyond) / 1e3, "ms", at_most(5))
    _report_around_store(plan, group, stores)


def _merge(results: Sequence[Latencies]) -> list[float]:
    return [latency for one in results for latency in one.during]


def _report(plan: Plan, group: str, results: Sequence[Latencies], goal: Goal | None) -> None:
    latencies = _merge(results)
    for percent in (50.0, 99.0):
        plan.report.value(group, f"p{percent:g}", percentile(latencies, percent), "us")
    plan.report.value(group, "p99.9", percentile(latencies, 99.9), "us", goal)
    plan.report.value(group, "longest", max(latencies) / 1e3, "ms")
    plan.report.value(group, "probes", len(latencies), "")
    _report_around_store(plan, group, results)


def _report_around_store(plan: Plan, group: str, results: Sequence[Latencies]) -> None:
    """Rows for the receipt and the deletion of a model; none when nothing was stored."""
    for name, phase in (
        ("during the receipt", [latency for one in results for latency in one.receipt]),
        ("while the model is deleted", [latency for one in results for latency in one.deletion]),
    ):
        if phase:
            plan.report.value(group, f"longest, {name}", max(phase) / 1e3, "ms")


def _idle(plan: Plan, server: Server) -> Latencies:
    with Prober(server, "GET", "string") as prober:
        start = time.monotonic()
        time.sleep(plan.seconds)
        end = time.monotonic()
    return Latencies(latencies_within(prober.probes, start, end))


def _storing(server: Server, model: BenchModel, *probe: str) -> Latencies:
    connection = server.connect()
    with Prober(server, *probe) as prober:
        start = time.monotonic()
        connection.send("AI.MODELSTORE", "stored", "ONNX", "CPU", "BLOB", model.blob)
        connection.wait_until_received()
        received = time.monotonic()
        connection.receive()
        end = time.monotonic()
        # What the release of the command's arguments costs belongs to the store.
        time.sleep(0.02)
        end += 0.02
        connection("DEL", "stored")
        time.sleep(0.02)
        deleted = time.monotonic()
    connection.close()
    probes = prober.probes
    receipt = [(one.end - one.start) * 1e6 for one in probes if one.start >= start and one.end <= received]
    return Latencies(latencies_within(probes, received, end), receipt, latencies_within(probes, end, deleted))


def _inference(plan: Plan, server: Server, command: Command, clients: int) -> Latencies:
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            redis_benchmark(server, command, requests=clients * (200 if clients > 8 else 10), clients=clients)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        time.sleep(0.2)
        with Prober(server, "GET", "string") as prober:
            start = time.monotonic()
            time.sleep(plan.seconds)
            end = time.monotonic()
    finally:
        stop.set()
        thread.join()
    return Latencies(latencies_within(prober.probes, start, end))


def _importing() -> Latencies:
    """The first AI.MODELSTORE of a fresh server imports numpy and onnxruntime."""
    model = models.tiny()
    with Server() as server:
        server("SET", "string", "x" * 120)
        with Prober(server, "GET", "string") as prober:
            time.sleep(0.1)
            start = time.monotonic()
            server("AI.MODELSTORE", "first", "ONNX", "CPU", "BLOB", model.blob)
            end = time.monotonic()
    return Latencies(latencies_within(prober.probes, start, end))
