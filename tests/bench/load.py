"""Load and its measurement: redis-benchmark for rates, a prober process for rare delays."""

from __future__ import annotations

import array
import csv
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .servers import Server

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Command:
    """A command with its name in the report; ``payload`` is a last word of any length.

    No word may hold a zero byte: redis-benchmark would end the word there.
    """

    name: str
    words: tuple[str, ...]
    payload: bytes | None = None

    def __post_init__(self) -> None:
        assert b"\0" not in (self.payload or b"")


@dataclass(frozen=True)
class Load:
    """What redis-benchmark saw: requests per second, and latencies in microseconds."""

    rate: float
    p50: float
    p99: float
    requests: int


def redis_benchmark(server: Server, command: Command, *, requests: int, clients: int, pipeline: int = 1) -> Load:
    """One run of redis-benchmark. Raises RuntimeError if the server answers with an error."""
    program = shutil.which("redis-benchmark")
    if program is None:
        raise RuntimeError("redis-benchmark is missing (Debian: apt-get install redis-tools)")
    arguments = [program, "-p", str(server.port), "-c", str(clients), "-n", str(requests), "-P", str(pipeline), "--csv"]
    arguments += ["--precision", "3", *(["-x"] if command.payload is not None else []), *command.words]
    result = subprocess.run(arguments, input=command.payload or b"", capture_output=True)
    output = result.stdout.decode(errors="replace")
    rows = [row for row in csv.reader(output.splitlines()) if len(row) == 8 and row[1] != "rps"]
    if result.returncode or len(rows) != 1 or "rror" in output:
        raise RuntimeError(f"{command.name}: redis-benchmark failed: {output[-500:]}{result.stderr.decode()[-500:]}")
    _, rate, _, _, p50, _, p99, _ = rows[0]
    return Load(float(rate), float(p50) * 1e3, float(p99) * 1e3, requests)


def timed_benchmark(server: Server, command: Command, *, seconds: float, clients: int, pipeline: int = 1) -> Load:
    """redis-benchmark for about so many seconds; the number of requests comes from a short first run."""
    step = clients * pipeline
    requests, rate = step * 2, 0.0
    while True:
        start = time.monotonic()
        redis_benchmark(server, command, requests=requests, clients=clients, pipeline=pipeline)
        elapsed = time.monotonic() - start
        rate = requests / elapsed
        if elapsed >= min(0.1, seconds / 4):
            break
        requests *= 4
    wanted = math.ceil(rate * seconds / step) * step
    return redis_benchmark(server, command, requests=wanted, clients=clients, pipeline=pipeline)


@dataclass(frozen=True)
class Probe:
    """Start and end of one probed command, in seconds of the monotonic clock."""

    start: float
    end: float


class Prober:
    """A process that sends one command after another on one connection and notes every latency.

    A context manager; ``probes`` is filled when it is left. A process of its own, so that nothing in the benchmark
    disturbs it.
    """

    def __init__(self, server: Server, *words: str) -> None:
        self.probes: list[Probe] = []
        self.directory = tempfile.TemporaryDirectory(prefix="redisai-bench-")
        self.file = Path(self.directory.name, "probes")
        command = [sys.executable, "-m", "tests.bench.prober", str(server.port), str(self.file), *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def __enter__(self) -> Prober:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError("the prober did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.communicate()
        with self.directory:
            numbers = array.array("Q", self.file.read_bytes())
        self.probes = [Probe(a / 1e9, b / 1e9) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]


def latencies_within(probes: Iterable[Probe], start: float, end: float) -> list[float]:
    """Microseconds of the probes that overlap a span of time; what passed before the span does not count."""
    return [(probe.end - max(probe.start, start)) * 1e6 for probe in probes if probe.end > start and probe.start < end]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value with at least so many percent of all values at or below it."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
