"""SET and GET against AI.TENSORSET and AI.TENSORGET."""

from __future__ import annotations

from functools import partial

from .load import Command, Load, timed_benchmark
from .plan import Plan, ratios
from .report import Goal, at_least, at_most
from .servers import Server

# name, dimensions, clients
SIZES = (("120 B", ("30",), 50), ("600 KB", ("1", "3", "224", "224"), 8))
PIPELINES = (1, 16)

RATIO_GOALS = {
    ("120 B", 16, "AI.TENSORSET"): 0.65,
    ("120 B", 16, "AI.TENSORGET"): 0.75,
    ("600 KB", 1, "AI.TENSORSET"): 0.90,
    ("600 KB", 1, "AI.TENSORGET"): 0.90,
}
TIME_GOALS = {"AI.TENSORSET": 0.8, "AI.TENSORGET": 0.7}
PLAIN = {"AI.TENSORSET": "SET", "AI.TENSORGET": "GET"}


def run(plan: Plan) -> None:
    with Server() as server:
        for size, dimensions, clients in SIZES:
            for pipeline in PIPELINES:
                _measure_rates(plan, server, size, dimensions, clients, pipeline)
        _measure_time_inside(plan, server)


def _commands(dimensions: tuple[str, ...]) -> list[Command]:
    elements = 1
    for dimension in dimensions:
        elements *= int(dimension)
    # Any four letters are a FLOAT.
    payload = b"wxyz" * elements
    return [
        Command("SET", ("SET", "string"), payload),
        Command("AI.TENSORSET", ("AI.TENSORSET", "tensor", "FLOAT", *dimensions, "BLOB"), payload),
        Command("GET", ("GET", "string")),
        Command("AI.TENSORGET", ("AI.TENSORGET", "tensor", "META", "BLOB")),
    ]


def _store(server: Server, commands: list[Command]) -> None:
    for command in commands:
        if command.payload is not None:
            server(*command.words, command.payload)


def _measure_rates(
    plan: Plan, server: Server, size: str, dimensions: tuple[str, ...], clients: int, pipeline: int
) -> None:
    commands = _commands(dimensions)
    _store(server, commands)

    def measure(command: Command) -> Load:
        return timed_benchmark(server, command, seconds=plan.seconds, clients=clients, pipeline=pipeline)

    loads = plan.alternate({command.name: partial(measure, command) for command in commands})
    group = f"tensors of {size}, pipeline {pipeline}, {clients} clients"
    rates = {name: [load.rate for load in results] for name, results in loads.items()}
    for name, samples in rates.items():
        plan.report.median(group, name, samples, "req/s")
    for name, plain in PLAIN.items():
        bound = RATIO_GOALS.get((size, pipeline, name))
        goal: Goal | None = at_least(bound) if bound else None
        plan.report.median(group, f"{name} / {plain}", ratios(rates[name], rates[plain]), "x", goal)


def _measure_time_inside(plan: Plan, server: Server) -> None:
    commands = _commands(SIZES[0][1])
    _store(server, commands)

    def measure(command: Command) -> float:
        server("CONFIG", "RESETSTAT")
        timed_benchmark(server, command, seconds=plan.seconds / 2, clients=50, pipeline=16)
        return server.microseconds_per_call(command.words[0])

    times = plan.alternate({command.name: partial(measure, command) for command in commands})
    for name, samples in times.items():
        bound = TIME_GOALS.get(name)
        goal = at_most(bound) if bound else None
        plan.report.median("time inside the command, 120 B (commandstats)", name, samples, "us", goal)
