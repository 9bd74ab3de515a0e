"""Every backend against its own framework in a plain loop, and tiny models and scripts against GET."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial

from . import framework_models, plain_loop
from .framework_models import FrameworkModel
from .load import Command, Load, timed_benchmark
from .plan import Plan, ratios
from .report import Goal, at_least, at_most
from .servers import Server

CLIENTS = (1, 8, 50)
BACKENDS = ("ONNX", "TORCH", "TF", "TFLITE")
# About 1 ms: the first as long as a row takes to go through its weights, the second as long as it takes to compute.
LONGER_NETWORKS = {"dense": "one row through a dense network", "convolutional": "convolutions of about 1 ms"}
BATCH_SIZE = 32
# Of the GET rate, at 50 clients.
TINY_GOALS: dict[str, Goal] = {"TORCH": at_least(0.65), "TF": at_least(0.45)}
SCRIPT_GOAL = at_least(0.70)
SCRIPT = "def add(a, b):\n    return a + b\n"


def run(plan: Plan) -> None:
    for backend in BACKENDS:
        for network in LONGER_NETWORKS:
            with Server() as server:
                _longer_model(plan, server, backend, network)
        with Server() as server:
            _tiny_model(plan, server, backend)
    with Server() as server:
        _script(plan, server)


def store(server: Server, key: str, model: FrameworkModel, *options: str, device: str = "CPU") -> Command:
    """Stores a model and an input for it; the command that executes it, after some runs."""
    server("AI.MODELSTORE", key, model.backend, device, *options, *model.names, "BLOB", model.blob)
    server("AI.TENSORSET", f"{key}:in", "FLOAT", *model.input_shape, "BLOB", b"\x3f" * 4 * math.prod(model.input_shape))
    return warm(
        server, Command(key, ("AI.MODELEXECUTE", key, "INPUTS", "1", f"{key}:in", "OUTPUTS", "1", f"{key}:out"))
    )


def warm(server: Server, command: Command) -> Command:
    for _ in range(50):
        server(*command.words)
    return command


def _load(plan: Plan, server: Server, command: Command, clients: int) -> Load:
    return timed_benchmark(server, command, seconds=plan.seconds, clients=clients)


def _rate(plan: Plan, server: Server, command: Command, clients: int) -> float:
    return _load(plan, server, command, clients).rate


def _between_pauses(server: Server, command: Command, seconds: float) -> float:
    """Requests a second of the median one, of a client that pauses before each."""
    spent: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not spent:
        time.sleep(plain_loop.PAUSE)
        start = time.perf_counter()
        server(*command.words)
        spent.append(time.perf_counter() - start)
    return 1 / statistics.median(spent)


def _longer_model(plan: Plan, server: Server, backend: str, network: str) -> None:
    model = framework_models.make(backend, network)
    execute = store(server, "model", model)
    measurements: dict[str, Callable[[], float]] = {}
    for clients in CLIENTS:
        measurements[f"{clients} clients"] = partial(_rate, plan, server, execute, clients)
    for mode in (*plain_loop.MODES, "gets", "pauses"):
        measurements[mode] = partial(plain_loop.measure, backend, model.blob, model.input_shape, mode, plan.seconds)
    measurements["client with pauses"] = partial(_between_pauses, server, execute, plan.seconds)
    results = plan.alternate(measurements)
    group = f"{backend}: {LONGER_NETWORKS[network]}"
    for clients in CLIENTS:
        plan.report.median(group, f"{clients} clients", results[f"{clients} clients"], "req/s")
    for mode in plain_loop.MODES:
        plan.report.median(group, f"plain loop, {mode}", results[mode], "run/s")
    plan.report.median(group, "plain loop, default, a GET after each run", results["gets"], "run/s")
    above = {
        "1 client: more than a run of the loop": ("1 clients", "default", at_most(60)),
        "1 client: more than a run and its GET of the loop": ("1 clients", "gets", None),
        "loop, a GET after each run: more than a run": ("gets", "default", None),
        "1 client every 10 ms: more than a run of such a loop": ("client with pauses", "pauses", None),
    }
    for name, (longer, shorter, goal) in above.items():
        differences = [1e6 / a - 1e6 / b for a, b in zip(results[longer], results[shorter], strict=True)]
        plan.report.median(group, name, differences, "us", goal)
    best = [max(pair) for pair in zip(results["default"], results["threads"], strict=True)]
    plan.report.median(group, "50 clients / best loop", ratios(results["50 clients"], best), "x", at_least(0.9))


def _tiny_model(plan: Plan, server: Server, backend: str) -> None:
    model = framework_models.make(backend, "tiny")
    server("SET", "string", "x" * 120)
    alone = store(server, "tiny", model)
    commands = {"GET": Command("GET", ("GET", "string")), "execute": alone}
    if backend != "TFLITE":  # its model has one row, for good
        commands[f"BATCHSIZE {BATCH_SIZE}"] = store(server, "batched", model, "BATCHSIZE", str(BATCH_SIZE))
    for clients in CLIENTS:
        results = plan.alternate({name: partial(_load, plan, server, c, clients) for name, c in commands.items()})
        rates = {name: [load.rate for load in loads] for name, loads in results.items()}
        group = f"{backend}: tiny model (30-16-2), {clients} client{'s' if clients > 1 else ''}"
        for name, samples in rates.items():
            plan.report.median(group, name, samples, "req/s")
        if clients == 1:
            above = [a.p50 - b.p50 for a, b in zip(results["execute"], results["GET"], strict=True)]
            plan.report.median(group, "execute p50 above GET p50", above, "us")
        if clients == 50:
            goal = TINY_GOALS.get(backend)
            for name in rates:
                if name != "GET":
                    plan.report.median(group, f"{name} / GET", ratios(rates[name], rates["GET"]), "x", goal)


def _script(plan: Plan, server: Server) -> None:
    server("SET", "string", "x" * 120)
    server("AI.SCRIPTSET", "script", "CPU", "SOURCE", SCRIPT)
    server("AI.TENSORSET", "a", "FLOAT", 1, 30)
    server("AI.TENSORSET", "b", "FLOAT", 1, 30)
    words = ("AI.SCRIPTEXECUTE", "script", "add", "INPUTS", "2", "a", "b", "OUTPUTS", "1", "c")
    commands = {"GET": Command("GET", ("GET", "string")), "execute": warm(server, Command("script", words))}
    results = plan.alternate({name: partial(_rate, plan, server, c, 50) for name, c in commands.items()})
    group = "script of two arguments, 50 clients"
    for name, samples in results.items():
        plan.report.median(group, name, samples, "req/s")
    plan.report.median(group, "execute / GET", ratios(results["execute"], results["GET"]), "x", SCRIPT_GOAL)
