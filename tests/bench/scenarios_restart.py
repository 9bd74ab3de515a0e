"""Restart with many models: the time until commands are accepted, against the same bytes as strings."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

from . import models
from .plan import Plan, ratios
from .report import at_most
from .servers import Server

MODELS = 200
# Weights of a little less than 10 MB.
LAYERS = (64, *(384,) * 17, 16)


def run(plan: Plan) -> None:
    count = 20 if plan.report.quick else MODELS
    blob = models.perceptron(LAYERS).blob
    with tempfile.TemporaryDirectory(prefix="redisai-bench-") as folder:
        files = {name: Path(folder) / name for name in ("strings", "models")}
        for name, file in files.items():
            _save(file, name, blob, count)
        results = plan.alternate({name: partial(_start, file) for name, file in files.items()})
        megabytes = len(blob) / 1e6
        group = f"restart with {count} values of {megabytes:.1f} MB, time until PONG"
        for name, seconds in results.items():
            plan.report.median(group, name, seconds, "s")
        quotients = ratios(results["models"], results["strings"])
        plan.report.median(group, "models / strings", quotients, "", at_most(1.3))
        _background(plan, files["models"], count)


def _save(file: Path, kind: str, blob: bytes, count: int) -> None:
    """Writes an RDB file of so many copies."""
    with Server() as server:
        if kind == "models":
            server("AI.MODELSTORE", "0", "ONNX", "CPU", "BLOB", blob)
        else:
            server("SET", "0", blob)
        for number in range(1, count):
            server("COPY", "0", str(number))
        server("SAVE")
        (Path(server.directory.name) / "dump.rdb").rename(file)


def _start(file: Path) -> float:
    with Server(data=file) as server:
        return server.ready_seconds


def _background(plan: Plan, file: Path, count: int) -> None:
    """How long the models then take to compile, and one that is executed first."""
    model = models.perceptron(LAYERS)
    with Server(data=file) as server:
        start = time.monotonic()
        server("AI.TENSORSET", "x", "FLOAT", *model.input_shape, "BLOB", model.input_bytes)
        server("AI.MODELEXECUTE", str(count - 1), "INPUTS", "1", "x", "OUTPUTS", "1", "y")
        first = time.monotonic() - start
        while _loading(server) > 0:
            time.sleep(0.02)
        every = time.monotonic() - start
    group = "compilation behind it, from PONG on"
    plan.report.value(group, "the first execution is answered", first, "s")
    plan.report.value(group, "all models are ready", every, "s")


def _loading(server: Server) -> int:
    info = server("INFO", "ai")
    assert isinstance(info, bytes)
    (line,) = [line for line in info.decode().splitlines() if line.startswith("ai_models_loading:")]
    return int(line.split(":")[1])
