"""What a run found: rows with goals, a table on the screen, a JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from redisai_py import __version__, locate


@dataclass(frozen=True)
class Goal:
    """A bound: ``at_least`` or at most ``bound``."""

    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    return Goal(bound)


@dataclass(frozen=True)
class Row:
    """One measured value: the median of ``samples``, or what the scenario made of them."""

    group: str
    name: str
    value: float
    unit: str
    goal: Goal | None = None
    samples: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "pass" if self.goal.is_met(self.value) else "MISS"


@dataclass
class Report:
    """Collects rows and prints each group when it is complete."""

    quick: bool
    rows: list[Row] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def median(self, group: str, name: str, samples: Sequence[float], unit: str, goal: Goal | None = None) -> None:
        self.rows.append(Row(group, name, statistics.median(samples), unit, goal, tuple(samples)))

    def value(self, group: str, name: str, value: float, unit: str, goal: Goal | None = None) -> None:
        self.rows.append(Row(group, name, value, unit, goal))

    def print_rows(self, rows: Sequence[Row]) -> None:
        group = None
        for row in rows:
            if row.group != group:
                group = row.group
                print(f"\n{group}")
            goal = ""
            if row.goal is not None:
                goal = f"{'>=' if row.goal.at_least else '<='} {_number(row.goal.bound)}"
            print(f"  {row.name:<56} {_number(row.value):>10} {row.unit:<9} {goal:<12} {row.verdict}".rstrip())
        sys.stdout.flush()

    def print_summary(self) -> None:
        with_goal = [row for row in self.rows if row.goal is not None]
        met = sum(row.verdict == "pass" for row in with_goal)
        print(f"\n{met} of {len(with_goal)} goals met" + (" (quick run: too short to judge by)" if self.quick else ""))
        for row in with_goal:
            if row.verdict == "MISS":
                print(f"  missed: {row.group}: {row.name}: {_number(row.value)} {row.unit}")
        for error in self.errors:
            print(f"  failed: {error}")

    def write(self, path: Path) -> None:
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        data = {"machine": describe_machine(), "quick": self.quick, "rows": rows, "errors": self.errors}
        path.write_text(json.dumps(data, indent=1) + "\n")


def describe_machine() -> dict[str, str | int]:
    """What the figures depend on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "redisai_py": __version__,
        "redis": locate.redis_version(locate.find_redis_server()),
        "python": platform.python_version(),
        "onnxruntime": next(map(metadata.version, metadata.packages_distributions()["onnxruntime"])),  # or its -gpu
    }


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
