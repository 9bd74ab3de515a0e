"""Flows and the C API against the commands, a stream in a flow against a client process, and GET meanwhile."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from redisai_py import locate

from . import models
from .load import ROOT, Command, Prober, latencies_within, percentile, timed_benchmark
from .plan import Plan, ratios
from .report import at_least, at_most
from .scenarios_models import store
from .servers import Connection, Server

CLIENTS = (1, 50)
BATCH = 64
ENTRIES_PER_SECOND = 5000  # about what a consumer of a stream handles

FLOWS = f"""
import asyncio
import time

import redisAI


async def run(tensor):
    runner = redisAI.createModelRunner("tiny")
    redisAI.modelRunnerAddInput(runner, "x", tensor)
    redisAI.modelRunnerAddOutput(runner, "y")
    (output,) = await redisAI.modelRunnerRunAsync(runner)
    return output


@redisAI.flow("nothing")
async def nothing():
    return "OK"


@redisAI.flow("run")
async def run_key():
    redisAI.setTensorInKey("tiny:out", await run(redisAI.getTensorFromKey("tiny:in")))
    return "OK"


@redisAI.flow("spin")
def spin(seconds):
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        pass


@redisAI.on_stream("entries", batch={BATCH})
async def handle(entries):
    blobs = [entry.fields["x"].encode(errors="surrogateescape") for entry in entries]
    outputs = await asyncio.gather(*[run(redisAI.createTensorFromBlob("FLOAT", [1, 30], blob)) for blob in blobs])
    redisAI.msetTensorsInKeyspace({{f"out:{{entry.id}}": output for entry, output in zip(entries, outputs)}})
"""


@contextmanager
def flow_server() -> Iterator[Server]:
    """A server with the flows and the consumer of the C API, and the tiny model."""
    consumer = locate.find_module().parents[1] / "build" / "consumer.so"
    with tempfile.TemporaryDirectory(prefix="redisai-bench-") as directory:
        file = Path(directory, "flows.py")
        file.write_text(FLOWS)
        with Server("FLOWS", str(file), "--loadmodule", str(consumer)) as server:
            store(server, "tiny", models.tiny())
            server("AI.FLOW", "run")
            server("SET", "string", "x" * 120)
            yield server


def run(plan: Plan) -> None:
    with flow_server() as server:
        _rates(plan, server)
    _streams(plan)
    _latency(plan)


def _rates(plan: Plan, server: Server) -> None:
    execute_words = ("AI.MODELEXECUTE", "tiny", "INPUTS", "1", "tiny:in", "OUTPUTS", "1", "out")
    commands = {
        "AI.MODELEXECUTE": Command("execute", execute_words),
        "C API, asynchronous": Command("consumer", ("CONSUMER.RUN", "tiny", "tiny:in", "out")),
        "AI.FLOW that runs the model": Command("flow", ("AI.FLOW", "run")),
        "AI.FLOW that returns": Command("nothing", ("AI.FLOW", "nothing")),
    }
    for clients in CLIENTS:
        group = f"tiny model (30-16-2) by several ways, {clients} client{'s' if clients > 1 else ''}"

        def measure(command: Command, clients: int = clients) -> float:
            return timed_benchmark(server, command, seconds=plan.seconds, clients=clients).rate

        rates = plan.alternate({name: partial(measure, command) for name, command in commands.items()})
        for name, samples in rates.items():
            plan.report.median(group, name, samples, "req/s")
        execute = rates["AI.MODELEXECUTE"]
        plan.report.median(group, "C API / command", ratios(rates["C API, asynchronous"], execute), "x", at_least(0.9))
        plan.report.median(group, "AI.FLOW / command", ratios(rates["AI.FLOW that runs the model"], execute), "x")


# ---- streams -----------------------------------------------------------------------------


def fill(connection: Connection, count: int) -> None:
    """Adds entries to a stream that nobody reads."""
    blob = models.tiny().input_bytes
    words = b"*5\r\n$4\r\nXADD\r\n$6\r\nfilled\r\n$1\r\n*\r\n$1\r\nx\r\n$%d\r\n%b\r\n" % (len(blob), blob)
    for start in range(0, count, 1000):
        step = min(1000, count - start)
        connection.socket.sendall(words * step)
        for _ in range(step):
            connection.receive()


def handled(server: Server) -> int:
    return int(server("EVAL", "return redis.call('DBSIZE')", "0"))  # type: ignore[arg-type]


def _seconds_for(server: Server, count: int, begin: Callable[[], object]) -> float:
    """How long it takes after ``begin`` until there are so many keys more."""
    before = handled(server)
    start = time.monotonic()
    begin()
    while handled(server) < before + count:
        time.sleep(0.002)
    return time.monotonic() - start


def _in_flow(plan: Plan) -> float:
    """Entries a second: the stream gets the name that the flow waits for, and an entry that tells of it."""
    count = int(plan.seconds * ENTRIES_PER_SECOND)
    with flow_server() as server:
        fill(server.connection, count)
        server("RENAME", "filled", "entries")
        blob = models.tiny().input_bytes
        return (count + 1) / _seconds_for(server, count + 1, lambda: server("XADD", "entries", "*", "x", blob))


def _in_client(plan: Plan) -> float:
    count = int(plan.seconds * ENTRIES_PER_SECOND)
    with Server() as server:
        store(server, "tiny", models.tiny())
        fill(server.connection, count)
        command = [sys.executable, "-m", "tests.bench.stream_client", str(server.port), "filled", str(BATCH)]
        client = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert client.stdin is not None and client.stdout is not None
        client.stdout.readline()  # it is connected
        pipe = client.stdin
        try:
            return count / _seconds_for(server, count, pipe.close)
        finally:
            client.kill()
            client.wait()


def _streams(plan: Plan) -> None:
    group = f"entries of a stream through the tiny model, {BATCH} at a time"
    rates = plan.alternate({"flow": partial(_in_flow, plan), "client": partial(_in_client, plan)})
    plan.report.median(group, "a flow", rates["flow"], "entries/s")
    plan.report.median(group, "the same as a client process, pipelined", rates["client"], "entries/s")
    plan.report.median(group, "flow / client", ratios(rates["flow"], rates["client"]), "x", at_least(1))


# ---- latency -----------------------------------------------------------------------------


def _probe(server: Server, seconds: float) -> list[float]:
    with Prober(server, "GET", "string") as prober:
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
    return latencies_within(prober.probes, start, end)


def _idle(plan: Plan) -> list[float]:
    with flow_server() as server:
        return _probe(server, plan.seconds)


def _spinning(plan: Plan) -> list[float]:
    with flow_server() as server:
        connections = [server.connect() for _ in range(2)]
        for connection in connections:
            connection.send("AI.FLOW", "spin", "60")
        time.sleep(0.1)
        return _probe(server, plan.seconds)


def _streaming(plan: Plan) -> list[float]:
    with flow_server() as server:
        fill(server.connection, int(20 * plan.seconds * ENTRIES_PER_SECOND))
        server("RENAME", "filled", "entries")
        server("XADD", "entries", "*", "x", models.tiny().input_bytes)
        time.sleep(0.1)
        before = handled(server)
        latencies = _probe(server, plan.seconds)
        if handled(server) == before:
            raise RuntimeError("the stream was over too soon")
        return latencies


def _latency(plan: Plan) -> None:
    phases = {
        "the server is idle": partial(_idle, plan),
        "a flow handles a stream at full speed": partial(_streaming, plan),
        "two flows spin in pure Python": partial(_spinning, plan),
    }
    results = plan.alternate(phases)
    merged = {name: [value for one in samples for value in one] for name, samples in results.items()}
    limit = max(3 * percentile(merged["the server is idle"], 99.9), 5000.0)
    for name, latencies in merged.items():
        group = f"GET while {name}"
        for percent in (50.0, 99.0):
            plan.report.value(group, f"p{percent:g}", percentile(latencies, percent), "us")
        goal = None if name == "the server is idle" else at_most(limit)
        plan.report.value(group, "p99.9", percentile(latencies, 99.9), "us", goal)
        plan.report.value(group, "longest", max(latencies) / 1e3, "ms")
