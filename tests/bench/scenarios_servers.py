"""The same models, beside other model servers: a request brings its input and takes its output back.

What redis-server with the module is asked for is a DAG of AI.TENSORSET, AI.MODELEXECUTE and AI.TENSORGET, which is what
a client sends that keeps nothing in the server.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from . import models
from .http_load import Post, timed_wrk
from .load import ROOT, Command, Load, percentile, timed_benchmark
from .models import BenchModel
from .plan import Plan, ratios
from .report import at_least
from .servers import Server, free_port

CLIENTS = (1, 8, 50)
ENVIRONMENT = ROOT / ".venv" / "other-servers"
PROGRAMS = Path(__file__).parent / "other_servers"
LONGEST_WORD = 100_000  # bytes, of an argument of redis-benchmark
OURS = "redis-server with the module"

Measure = Callable[[float, int], Load]
"""Seconds and clients to a load."""


def raw(model: BenchModel) -> Post:
    return Post("/run", input_of(model), "application/octet-stream")


def as_v2(model: BenchModel) -> Post:
    numbers = np.frombuffer(input_of(model), np.float32).tolist()
    tensor = {"name": "x", "shape": list(model.input_shape), "datatype": "FP32", "data": numbers}
    return Post("/v2/models/model/infer", json.dumps({"inputs": [tensor]}).encode(), "application/json")


def as_base64(model: BenchModel) -> Post:
    return Post("/predict", json.dumps({"x": base64.b64encode(input_of(model)).decode()}).encode(), "application/json")


OTHERS: dict[str, tuple[str, Callable[[BenchModel], Post]]] = {
    "Starlette on uvicorn": ("uvicorn_server.py", raw),
    "MLServer": ("mlserver_server.py", as_v2),
    "LitServe": ("litserve_server.py", as_base64),
}


def input_of(model: BenchModel) -> bytes:
    """An input without zero bytes, which redis-benchmark would end a word at."""
    return b"\x3f" * len(model.input_bytes)


def run(plan: Plan) -> None:
    if not (ENVIRONMENT / "bin" / "python").exists():
        raise RuntimeError("the other servers are not installed: make compare")
    _compare(plan, "tiny model (30-16-2)", models.tiny())
    _compare(plan, "0.2 ms model (250 layers of 96)", models.medium())
    _compare(plan, "convolutional model of about 9 ms, 602 KB input", models.convolutional())


class OtherServer:
    """A context manager: the process of another server, which has answered a request when it is entered."""

    def __init__(self, program: str, model: BenchModel, post: Post) -> None:
        self.program, self.model, self.post = program, model, post
        self.port = free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="redisai-bench-")

    def __enter__(self) -> OtherServer:
        path = Path(self.directory.name, "model.onnx")
        path.write_bytes(self.model.blob)
        shape = ",".join(map(str, self.model.input_shape))
        self.log = Path(self.directory.name, "log")
        with self.log.open("wb") as log:
            # Some start processes of their own, which end with the session.
            self.process = subprocess.Popen(
                [ENVIRONMENT / "bin" / "python", self.program, str(self.port), str(path), shape],
                cwd=PROGRAMS,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(time.monotonic() + 60)
        except BaseException:
            self._end()
            raise
        return self

    def _wait(self, deadline: float) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.post.path}", self.post.body)
        request.add_header("Content-Type", self.post.content_type)
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(request, timeout=10):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise RuntimeError(f"{self.program} did not start: {self.log.read_text(errors='replace')[-1000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.directory.cleanup()

    def measure(self, seconds: float, clients: int) -> Load:
        return timed_wrk(self.port, self.post, seconds=seconds, clients=clients)


def _ours(server: Server, model: BenchModel) -> Measure:
    """Stores the model; how its requests are measured."""
    server("AI.MODELSTORE", "model", "ONNX", "CPU", "BLOB", model.blob)
    shape = tuple(map(str, model.input_shape))
    before = ("AI.DAGEXECUTE", "ROUTING", "model", "|>", "AI.TENSORSET", "x", "FLOAT", *shape, "BLOB")
    execution = ("AI.MODELEXECUTE", "model", "INPUTS", "1", "x", "OUTPUTS", "1", "y")
    after = ("|>", *execution, "|>", "AI.TENSORGET", "y", "BLOB")
    data = input_of(model)
    for _ in range(100):
        server(*before, data, *after)
    if len(data) > LONGEST_WORD:
        return partial(_threads, server, (*before, data, *after))
    command = Command("DAG", (*before, data.decode(), *after))
    return lambda seconds, clients: timed_benchmark(server, command, seconds=seconds, clients=clients)


def _threads(server: Server, words: tuple[str | bytes, ...], seconds: float, clients: int) -> Load:
    """What redis-benchmark cannot send: each client is a thread of this process, and spends little beside the runs."""
    latencies: list[float] = []
    start = time.perf_counter()

    def client() -> None:
        connection = server.connect()
        while time.perf_counter() < start + seconds:
            sent = time.perf_counter()
            connection(*words)
            latencies.append((time.perf_counter() - sent) * 1e6)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - start
    return Load(len(latencies) / spent, percentile(latencies, 50), percentile(latencies, 99), len(latencies))


def _compare(plan: Plan, group: str, model: BenchModel) -> None:
    """All servers run at the same time, since starting them takes seconds; those that are not asked sleep."""
    servers = {name: OtherServer(program, model, request(model)) for name, (program, request) in OTHERS.items()}
    with Server() as server, ExitStack() as started:
        for other in servers.values():
            started.enter_context(other)
        measures: dict[str, Measure] = {OURS: _ours(server, model)}
        measures |= {name: other.measure for name, other in servers.items()}
        for clients in CLIENTS:
            results = plan.alternate({name: partial(each, plan.seconds, clients) for name, each in measures.items()})
            _report(plan, f"beside other servers: {group}, {clients} client{'s' if clients > 1 else ''}", results)


def _report(plan: Plan, group: str, results: dict[str, list[Load]]) -> None:
    for name, loads in results.items():
        plan.report.median(group, name, [load.rate for load in loads], "req/s")
    for name, loads in results.items():
        plan.report.median(group, f"{name}, p50", [load.p50 for load in loads], "us")
    rates = {name: [load.rate for load in loads] for name, loads in results.items()}
    best = max(OTHERS, key=lambda name: statistics.median(rates[name]))
    plan.report.median(group, "module / fastest other", ratios(rates[OURS], rates[best]), "x", at_least(1))
