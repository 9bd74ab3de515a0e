"""What the module costs before it is used: start-up time, memory, and an idle server's CPU."""

from __future__ import annotations

import time
from functools import partial

from . import models
from .plan import Plan
from .report import at_most
from .scenarios_models import store
from .servers import CpuTime, Server

STARTS_PER_REPETITION = 3


def run(plan: Plan) -> None:
    _start_up(plan)
    _idle(plan)


def _start_up(plan: Plan) -> None:
    def start(module: bool) -> tuple[float, float]:
        with Server(module=module) as server:
            time.sleep(0.1)
            return server.ready_seconds * 1e3, server.resident_bytes() / 1e6

    names = {"plain redis-server": False, "with the module": True}
    pairs = [plan.alternate({name: partial(start, module) for name, module in names.items()})]
    pairs += [
        plan.alternate({name: partial(start, module) for name, module in names.items()})
        for _ in range(STARTS_PER_REPETITION - 1)
    ]
    samples = {name: [sample for results in pairs for sample in results[name]] for name in names}
    for index, (group, unit, bound) in enumerate((("time until PONG", "ms", 15.0), ("resident memory", "MB", 12.0))):
        values = {name: [sample[index] for sample in results] for name, results in samples.items()}
        for name, numbers in values.items():
            plan.report.median(group, name, numbers, unit)
        extra = [a - b for a, b in zip(values["with the module"], values["plain redis-server"], strict=True)]
        plan.report.median(group, "with the module, above plain", extra, unit, at_most(bound))


def _idle(plan: Plan) -> None:
    with Server(module=False) as plain, Server() as fresh, Server() as used:
        store(used, "tiny", models.tiny())
        time.sleep(1)
        servers = {"plain redis-server": plain, "with the module": fresh, "after a model was executed": used}

        before = {name: server.cpu_time() for name, server in servers.items()}
        start = time.monotonic()
        time.sleep(max(3.0, plan.repetitions * plan.seconds))
        seconds = time.monotonic() - start
        after = {name: server.cpu_time() for name, server in servers.items()}
    spent: dict[str, CpuTime] = {name: after[name] - before[name] for name in servers}
    for name, cpu in spent.items():
        plan.report.value("idle server", f"{name}: CPU", cpu.process / seconds * 100, "% of core")
        plan.report.value("idle server", f"{name}: context switches", cpu.switches / seconds, "/s")
    base = spent["plain redis-server"]
    for name in list(servers)[1:]:
        percent = (spent[name].process - base.process) / seconds * 100
        switches = (spent[name].switches - base.switches) / seconds
        plan.report.value("idle server", f"{name}: CPU above plain", percent, "% of core", at_most(0.1))
        plan.report.value("idle server", f"{name}: switches above plain", switches, "/s", at_most(2))
