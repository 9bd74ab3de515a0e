"""PRIORITY HIGH: requests that go before what waits for the same device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, put, wait_until

EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1)
SCRIPT = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    """One worker, so that the order is what the scheduler makes it."""
    return module_servers("THREADS_PER_QUEUE", 1, "MODEL_EXECUTION_TIMEOUT", 60_000)


@pytest.fixture(autouse=True)
def stored(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "x", np.zeros((1, 1), np.float32))
    put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))


@contextlib.contextmanager
def busy(server: Server) -> Iterator[None]:
    """The worker runs something until the end of the block."""
    with server.wire() as client:
        client.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "endless", "OUTPUTS", 1, "never")
        wait_until(lambda: server.blocked_clients() == 1)
        wait_until(lambda: "running=1" in server.info("ai")["ai_queue_CPU"])
        yield


def events(subscriber: Wire, count: int) -> list[str]:
    """The keys that were written, in their order."""
    return [subscriber.read()[3].decode() for _ in range(count)]


def order_of(server: Server, wire: Wire, requests: list[tuple[str | int, ...]], outputs: int) -> list[str]:
    """In which order outputs were stored, when all requests waited together."""
    wire("CONFIG", "SET", "notify-keyspace-events", "Ed")
    with contextlib.ExitStack() as stack:
        subscriber = stack.enter_context(server.wire())
        clients = []
        with busy(server):
            for request in requests:
                clients.append(stack.enter_context(server.wire()))
                clients[-1].send(*request)
                wait_until(lambda: server.blocked_clients() == 1 + len(clients))
            subscriber("PSUBSCRIBE", "__keyevent@0__:*")
        order = events(subscriber, outputs)
        for client in clients:
            reply = client.read()
            assert reply == OK or reply == [OK], reply
    wire("CONFIG", "SET", "notify-keyspace-events", "")
    return order


def test_urgent_requests_overtake(server: Server, wire: Wire) -> None:
    requests = [(*EXECUTE, f"normal{i}") for i in range(3)]
    requests += [(*EXECUTE, f"urgent{i}", "PRIORITY", "high") for i in range(2)]
    requests += [(*EXECUTE, "last", "PRIORITY", "NORMAL", "TIMEOUT", 100_000)]
    assert order_of(server, wire, requests, 6) == ["urgent0", "urgent1", "normal0", "normal1", "normal2", "last"]


def test_dags_and_scripts_can_be_urgent(server: Server, wire: Wire) -> None:
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", SCRIPT) == OK
    dag = "AI.DAGEXECUTE LOAD 1 x PERSIST 1 {0} PRIORITY {1} |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 {0}"
    script = "AI.SCRIPTEXECUTE s f INPUTS 1 x PRIORITY {1} OUTPUTS 1 {0}"
    names = (("dag", "NORMAL"), ("script", "NORMAL"), ("urgent-dag", "HIGH"), ("urgent-script", "HIGH"))
    requests = [tuple((dag if "dag" in name else script).format(name, rank).split()) for name, rank in names]
    assert order_of(server, wire, requests, 4)[:2] == ["urgent-dag", "urgent-script"]


def test_urgent_requests_of_a_batched_model_do_not_wait_for_more(wire: Wire) -> None:
    options = ("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    assert wire(*EXECUTE, "y", "PRIORITY", "HIGH") == OK
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("PRIORITY",), "ERR No value provided for PRIORITY"),
        (("PRIORITY", "low"), "ERR Invalid value for PRIORITY, which must be HIGH or NORMAL"),
        (("PRIORITY", "HIGH", "PRIORITY", "HIGH"), "Invalid argument: PRIORITY"),
        (("PRIORITY", "HIGH", "TIMEOUT", 1, "x"), "Invalid argument: x"),
        (("TIMEOUT", 5, "PRIORITY", "HIGH", "TIMEOUT", 5), "Invalid argument: TIMEOUT"),
        (("TIMEOUT", 5, "x"), "Invalid argument: x"),
    ],
)
def test_bad_options(wire: Wire, options: tuple[str | int, ...], error: str) -> None:
    assert wire(*EXECUTE, "y", *options) == Error(error)


def test_bad_priorities_of_dags(wire: Wire) -> None:
    op = "|> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"
    assert wire(*f"AI.DAGEXECUTE LOAD 1 x {op} PRIORITY HIGH".split()) == Error(
        "ERR PRIORITY not allowed within a DAG command"
    )
    assert wire(*f"AI.DAGEXECUTE LOAD 1 x PRIORITY low {op}".split()).text.startswith("ERR Invalid value for PRIORITY")
    assert wire(*f"AI.DAGEXECUTE LOAD 1 x PRIORITY HIGH {op}".split()) == [OK]


def test_priority_is_no_key(wire: Wire) -> None:
    assert wire("COMMAND", "GETKEYS", *EXECUTE, "y", "PRIORITY", "HIGH") == [b"m", b"x", b"y"]
    script = "AI.SCRIPTEXECUTE s f INPUTS 1 x PRIORITY HIGH OUTPUTS 1 y"
    assert wire("COMMAND", "GETKEYS", *script.split()) == [b"s", b"x", b"y"]
    dag = "AI.DAGEXECUTE PRIORITY HIGH LOAD 1 x |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"
    assert wire("COMMAND", "GETKEYS", *dag.split()) == [b"x", b"m"]
