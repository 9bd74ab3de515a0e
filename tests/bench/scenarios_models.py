"""AI.MODELEXECUTE against GET and PING on the same server, and against onnxruntime in a plain loop."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from . import models, plain_loop
from .load import Command, Load, timed_benchmark
from .models import BenchModel
from .plan import Plan, ratios
from .report import at_least, at_most
from .servers import CpuTime, Server

CLIENTS = (1, 8, 50)
BATCH_SIZE = 32


@dataclass(frozen=True)
class Measured:
    """A load and the CPU time that the server used for it."""

    load: Load
    cpu: CpuTime


def store(server: Server, key: str, model: BenchModel, *options: str) -> Command:
    """Stores a model and an input tensor for it; the command that executes it."""
    server("AI.MODELSTORE", key, "ONNX", "CPU", *options, "BLOB", model.blob)
    server("AI.TENSORSET", f"{key}:in", "FLOAT", *model.input_shape, "BLOB", model.input_bytes)
    command = Command(key, ("AI.MODELEXECUTE", key, "INPUTS", "1", f"{key}:in", "OUTPUTS", "1", f"{key}:out"))
    # The first runs of a session allocate, and the server learns how long the model takes.
    for _ in range(50):
        server(*command.words)
    return command


def run(plan: Plan) -> None:
    with Server() as server:
        _tiny_model(plan, server)
    with Server() as server:
        _medium_model(plan, server)
    with Server() as server:
        _convolutional_model(plan, server)


def _plain_loops(plan: Plan, model: BenchModel) -> dict[str, Callable[[], float]]:
    measure = partial(plain_loop.measure, "ONNX", model.blob, model.input_shape)
    return {mode: partial(measure, mode, plan.seconds) for mode in plain_loop.MODES}


def _best(results: dict[str, list[float]]) -> list[float]:
    """The samples of the plain loop that gets more out of the cores."""
    return max((results[mode] for mode in plain_loop.MODES), key=statistics.median)


def _tiny_model(plan: Plan, server: Server) -> None:
    model = models.tiny()
    execute = store(server, "tiny", model)
    server("SET", "string", "x" * 120)
    commands = {"PING": Command("PING", ("PING",)), "GET": Command("GET", ("GET", "string")), "execute": execute}

    def measure(command: Command, clients: int) -> Measured:
        # The first, short run finds the rate; the CPU time is that of both runs over the requests of both.
        server("CONFIG", "RESETSTAT")
        before = server.cpu_time()
        load = timed_benchmark(server, command, seconds=plan.seconds, clients=clients)
        return Measured(load, server.cpu_time() - before)

    for clients in CLIENTS:
        group = f"tiny model (30-16-2), {clients} client{'s' if clients > 1 else ''}"
        cpu_per_request: dict[str, list[CpuTime]] = {name: [] for name in commands}

        def once(name: str, clients: int = clients, collected: dict[str, list[CpuTime]] = cpu_per_request) -> Measured:
            measured = measure(commands[name], clients)
            calls = _calls(server, commands[name].words[0])
            cpu = measured.cpu
            collected[name].append(CpuTime(cpu.event_loop / calls, cpu.process / calls, cpu.switches))
            return measured

        results = plan.alternate({name: partial(once, name) for name in commands})
        for name, measured in results.items():
            plan.report.median(group, name, [one.load.rate for one in measured], "req/s")
        for name, measured in results.items():
            plan.report.median(group, f"{name} p50", [one.load.p50 for one in measured], "us")
            plan.report.median(group, f"{name} p99", [one.load.p99 for one in measured], "us")
        if clients == 1:
            above = [a.load.p50 - b.load.p50 for a, b in zip(results["execute"], results["GET"], strict=True)]
            plan.report.median(group, "execute p50 above GET p50", above, "us", at_most(30))
        if clients == 50:
            rates = {name: [one.load.rate for one in measured] for name, measured in results.items()}
            plan.report.median(group, "execute / GET", ratios(rates["execute"], rates["GET"]), "x", at_least(0.85))
            cpu = cpu_per_request["execute"]
            event_loop = [one.event_loop * 1e6 for one in cpu]
            process = [one.process * 1e6 for one in cpu]
            plan.report.median(group, "execute: event-loop CPU a request", event_loop, "us", at_most(9))
            plan.report.median(group, "execute: process CPU a request", process, "us", at_most(14))
            event_loop = [one.event_loop * 1e6 for one in cpu_per_request["GET"]]
            plan.report.median(group, "GET: event-loop CPU a request", event_loop, "us")
    loops = plan.alternate(_plain_loops(plan, model))
    for mode, samples in loops.items():
        plan.report.median("tiny model (30-16-2), plain onnxruntime", f"loop, {mode}", samples, "run/s")


def _calls(server: Server, command: str) -> int:
    text = server("INFO", "commandstats")
    assert isinstance(text, bytes)
    for line in text.decode().splitlines():
        if line.lower().startswith(f"cmdstat_{command.lower()}:calls="):
            return int(line.split("=")[1].split(",")[0])
    raise RuntimeError(f"{command} was not called")


def _medium_model(plan: Plan, server: Server) -> None:
    model = models.medium()
    alone = store(server, "medium", model)
    batched = store(server, "batched", model, "BATCHSIZE", str(BATCH_SIZE))

    def rate(command: Command) -> float:
        return timed_benchmark(server, command, seconds=plan.seconds, clients=50).rate

    measurements: dict[str, Callable[[], float]]
    measurements = {"alone": partial(rate, alone), "batched": partial(rate, batched), **_plain_loops(plan, model)}
    results = plan.alternate(measurements)
    group = "0.2 ms model (250 layers of 96), 50 clients"
    report = plan.report
    report.median(group, "without BATCHSIZE", results["alone"], "req/s")
    report.median(group, f"with BATCHSIZE {BATCH_SIZE}", results["batched"], "req/s")
    for mode in plain_loop.MODES:
        report.median(group, f"plain onnxruntime loop, {mode}", results[mode], "run/s")
    report.median(group, "without BATCHSIZE / loop", ratios(results["alone"], _best(results)), "x", at_least(0.8))
    gain = ratios(results["batched"], results["alone"])
    report.median(group, "with BATCHSIZE / without", gain, "x", at_least(3))


def _convolutional_model(plan: Plan, server: Server) -> None:
    model = models.convolutional()
    execute = store(server, "convolutional", model)

    def rate() -> float:
        return timed_benchmark(server, execute, seconds=plan.seconds * 2, clients=8).rate

    results = plan.alternate({"execute": rate, **_plain_loops(plan, model)})
    group = "convolutional model of about 9 ms, 602 KB input, 8 clients"
    plan.report.median(group, "execute, default settings", results["execute"], "req/s")
    for mode in plain_loop.MODES:
        plan.report.median(group, f"plain onnxruntime loop, {mode}", results[mode], "run/s")
    plan.report.median(group, "execute / loop", ratios(results["execute"], _best(results)), "x", at_least(0.92))
