"""``python -m tests.bench``: measures side by side, prints a table, writes a JSON file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from redisai_py import locate

from . import (
    plots,
    scenarios_dags,
    scenarios_flows,
    scenarios_footprint,
    scenarios_frameworks,
    scenarios_gpu,
    scenarios_latency,
    scenarios_models,
    scenarios_restart,
    scenarios_servers,
    scenarios_tensors,
)
from .plan import Plan
from .report import Report, describe_machine

SCENARIOS: dict[str, Callable[[Plan], None]] = {
    "footprint": scenarios_footprint.run,
    "tensors": scenarios_tensors.run,
    "models": scenarios_models.run,
    "frameworks": scenarios_frameworks.run,
    "dags": scenarios_dags.run,
    "flows": scenarios_flows.run,
    "latency": scenarios_latency.run,
    "restart": scenarios_restart.run,
    "servers": scenarios_servers.run,
    "gpu": scenarios_gpu.run,
}
# make compare installs what servers need; few machines have a GPU
UNASKED = [name for name in SCENARIOS if name not in ("servers", "gpu")]


def main() -> int:
    """Exit status 0 if everything could be measured, whether or not the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs: shows that all works, says little else")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="FILE", help="default: bench.json")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the plots of docs/ there, unless --quick")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="measure only this; may be repeated")
    parser.add_argument("--repetitions", type=int, help="default: 5, quick: 2")
    arguments = parser.parse_args()
    try:
        print("module", locate.find_module())
        machine = describe_machine()
    except locate.LocateError as error:
        print(f"tests.bench: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{name} {value}" for name, value in machine.items()))

    report = Report(arguments.quick)
    repetitions = arguments.repetitions or (2 if arguments.quick else 5)
    plan = Plan(report, repetitions, seconds=0.4 if arguments.quick else 2.0)
    start = time.monotonic()
    for name in arguments.only or UNASKED:
        printed = len(report.rows)
        try:
            SCENARIOS[name](plan)
        except Exception as error:
            # The other scenarios are worth having, and so are the rows that this one found.
            report.errors.append(f"{name}: {type(error).__name__}: {error}")
            print(f"\n{report.errors[-1]}", file=sys.stderr)
        report.print_rows(report.rows[printed:])
    report.print_summary()
    report.write(arguments.json)
    print(f"{time.monotonic() - start:.0f} s; written: {arguments.json}")
    if arguments.plots and not arguments.quick:
        print("drawn:", ", ".join(plots.draw(arguments.json, arguments.plots)) or "nothing")
    return 1 if report.errors else 0


if __name__ == "__main__":
    sys.exit(main())
