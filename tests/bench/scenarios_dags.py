"""A DAG against AI.MODELEXECUTE and against a client that fetches what the DAG loads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import onnx
from onnx import TensorProto, helper

from . import models
from .load import Command, Load, timed_benchmark
from .models import BenchModel
from .plan import Plan, ratios
from .report import at_least, at_most
from .servers import Server

CLIENTS = (1, 16, 50)
TRANSACTION, REFERENCE = 30, 256
FLOAT = b"\x3f" * 4  # about 0.75, without a zero byte
OUTPUTS = 2


def run(plan: Plan) -> None:
    with Server() as server:
        _fraud(plan, server)
    with Server() as server:
        _tiny_model(plan, server)


def fraud_network() -> bytes:
    """y[n, 2] of a transaction x[n, 30] and reference data r[n, 256]: joined, then three dense layers."""
    dense = onnx.load_model_from_string(models.perceptron((TRANSACTION + REFERENCE, 64, 16, OUTPUTS)).blob).graph
    join = helper.make_node("Concat", ["transaction", "reference"], ["x"], axis=1)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("transaction", TRANSACTION), ("reference", REFERENCE))
    ]
    graph = helper.make_graph([join, *dense.node], "fraud", inputs, list(dense.output), list(dense.initializer))
    opsets = [helper.make_opsetid("", models.OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=models.IR_VERSION)
    blob: bytes = model.SerializeToString()
    return blob


def text_of(values: int) -> str:
    """So many FLOATs as a word that redis-benchmark can send."""
    return (FLOAT * values).decode()


def _store(server: Server, key: str, blob: bytes, **inputs: int) -> None:
    server("AI.MODELSTORE", key, "ONNX", "CPU", "BLOB", blob)
    for name, width in inputs.items():
        server("AI.TENSORSET", name, "FLOAT", 1, width, "BLOB", FLOAT * width)


def _execute(key: str, *inputs: str) -> tuple[str, ...]:
    return ("AI.MODELEXECUTE", key, "INPUTS", str(len(inputs)), *inputs, "OUTPUTS", "1", "out")


def _set_execute_get(name: str, width: int, execute: tuple[str, ...]) -> tuple[str, ...]:
    """The operations of a DAG whose input comes with the command and whose output comes back."""
    tensorset = ("AI.TENSORSET", name, "FLOAT", "1", str(width), "BLOB", text_of(width))
    return ("|>", *tensorset, "|>", *execute, "|>", "AI.TENSORGET", "out", "VALUES")


def _measure(plan: Plan, server: Server, commands: Mapping[str, Command], clients: int) -> dict[str, list[Load]]:
    def load(command: Command) -> Load:
        return timed_benchmark(server, command, seconds=plan.seconds, clients=clients)

    return plan.alternate({name: partial(load, command) for name, command in commands.items()})


def _rows(plan: Plan, group: str, results: Mapping[str, list[Load]]) -> None:
    for name, loads in results.items():
        plan.report.median(group, name, [load.rate for load in loads], "req/s")
    for name, loads in results.items():
        plan.report.median(group, f"{name} p50", [load.p50 for load in loads], "us")
        plan.report.median(group, f"{name} p99", [load.p99 for load in loads], "us")


def _warm(server: Server, commands: Mapping[str, Command]) -> None:
    for command in commands.values():
        for _ in range(50):
            server(*command.words)


def _fraud(plan: Plan, server: Server) -> None:
    _store(server, "fraud", fraud_network(), transaction=TRANSACTION, reference=REFERENCE)
    server("SET", "fetched", "x" * 4 * REFERENCE)
    execute = _execute("fraud", "transaction", "reference")
    dag = ("AI.DAGEXECUTE_RO", "LOAD", "1", "reference", *_set_execute_get("transaction", TRANSACTION, execute))
    both = _set_execute_get("transaction", TRANSACTION, execute)
    sent = ("|>", "AI.TENSORSET", "reference", "FLOAT", "1", str(REFERENCE), "BLOB", text_of(REFERENCE))
    commands = {
        "DAG that loads the reference data": Command("dag", dag),
        "AI.MODELEXECUTE on stored tensors": Command("execute", execute),
        "GET of the reference data, 1 KB": Command("get", ("GET", "fetched")),
        "DAG that is sent the reference data": Command("sent", ("AI.DAGEXECUTE_RO", "ROUTING", "r", *sent, *both)),
    }
    _warm(server, commands)
    names = list(commands)
    for clients in CLIENTS:
        results = _measure(plan, server, commands, clients)
        group = f"fraud pipeline, {clients} client{'s' if clients > 1 else ''}"
        _rows(plan, group, results)
        rates = {name: [load.rate for load in loads] for name, loads in results.items()}
        plan.report.median(group, "DAG / AI.MODELEXECUTE", ratios(rates[names[0]], rates[names[1]]), "x")
        # Who fetches the data makes two round trips: their times add up.
        fetch = [1 / (1 / get + 1 / sent) for get, sent in zip(rates[names[2]], rates[names[3]], strict=True)]
        plan.report.median(group, "DAG / a client that fetches and sends", ratios(rates[names[0]], fetch), "x")


def _tiny_model(plan: Plan, server: Server) -> None:
    model: BenchModel = models.tiny()
    width = model.input_shape[1]
    _store(server, "tiny", model.blob, x=width)
    server("SET", "string", "x" * 4 * width)
    execute = _execute("tiny", "x")
    commands = {
        "GET": Command("get", ("GET", "string")),
        "execute": Command("execute", execute),
        "DAG": Command("dag", ("AI.DAGEXECUTE_RO", "ROUTING", "r", *_set_execute_get("x", width, execute))),
    }
    _warm(server, commands)
    for clients in (1, 50):
        results = _measure(plan, server, commands, clients)
        group = f"tiny model (30-16-2) as DAG of set, execute, get, {clients} client{'s' if clients > 1 else ''}"
        _rows(plan, group, results)
        if clients == 1:
            above = [a.p50 - b.p50 for a, b in zip(results["DAG"], results["execute"], strict=True)]
            plan.report.median(group, "DAG p50 above execute p50", above, "us", at_most(15))
        else:
            rates = [[load.rate for load in results[name]] for name in ("DAG", "GET")]
            plan.report.median(group, "DAG / GET", ratios(*rates), "x", at_least(0.8))
