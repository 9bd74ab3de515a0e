"""How thorough a run is, and the loop that lets compared things take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .report import Report

Result = TypeVar("Result")


@dataclass(frozen=True)
class Plan:
    """Repetitions and seconds of each measurement, and the report that takes the results."""

    report: Report
    repetitions: int
    seconds: float

    def alternate(self, measurements: Mapping[str, Callable[[], Result]]) -> dict[str, list[Result]]:
        """Runs all measurements in turn, and again, so that the machine's moods hit each of them alike.

        The turn is reversed every time, so that none always follows the same neighbour.
        """
        results: dict[str, list[Result]] = {name: [] for name in measurements}
        for repetition in range(self.repetitions):
            names = list(measurements)
            for name in reversed(names) if repetition % 2 else names:
                results[name].append(measurements[name]())
        return results


def ratios(numerators: list[float], denominators: list[float]) -> list[float]:
    """Repetition by repetition: both sides of each ratio were measured next to each other."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]
