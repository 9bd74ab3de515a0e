"""Models on a GPU against their own framework in a plain loop: ``--only gpu``, on a machine that has one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import framework_models, plain_loop
from .load import timed_benchmark
from .plan import Plan, ratios
from .scenarios_frameworks import CLIENTS, store
from .servers import Server

NETWORKS = {"tiny": "tiny model (30-16-2)", "photo": "convolutions of 9 ms on one core, 602 KB input"}
BATCH_SIZE = 16


def run(plan: Plan) -> None:
    for backend in plain_loop.LOADERS_ON_GPU:
        for network in NETWORKS:
            with Server() as server:
                _model(plan, server, backend, network)


def _model(plan: Plan, server: Server, backend: str, network: str) -> None:
    model = framework_models.make(backend, network)
    alone = store(server, "alone", model, device="GPU")
    commands = {f"{clients} clients": (alone, clients) for clients in CLIENTS}
    if backend == "TORCH" or network == "tiny":  # the ONNX model of a photo takes one, for good
        batched = store(server, "batched", model, "BATCHSIZE", str(BATCH_SIZE), device="GPU")
        commands[f"50 clients, BATCHSIZE {BATCH_SIZE}"] = (batched, 50)

    def rate(name: str) -> float:
        command, clients = commands[name]
        return timed_benchmark(server, command, seconds=plan.seconds, clients=clients).rate

    measurements: dict[str, Callable[[], float]] = {name: partial(rate, name) for name in commands}
    for mode in plain_loop.MODES_ON_GPU:
        measurements[mode] = partial(plain_loop.measure, backend, model.blob, model.input_shape, mode, plan.seconds)
    results = plan.alternate(measurements)
    group = f"{backend} on a GPU: {NETWORKS[network]}"
    for name in commands:
        plan.report.median(group, name, results[name], "req/s")
    for mode in plain_loop.MODES_ON_GPU:
        plan.report.median(group, f"plain loop, {mode}", results[mode], "run/s")
    above = [1e6 / a - 1e6 / b for a, b in zip(results["1 clients"], results["gpu"], strict=True)]
    plan.report.median(group, "1 client: more than a run of the loop", above, "us")
    best = [max(pair) for pair in zip(*(results[mode] for mode in plain_loop.MODES_ON_GPU), strict=True)]
    plan.report.median(group, "50 clients / best loop", ratios(results["50 clients"], best), "x")
