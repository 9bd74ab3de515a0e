"""The C API for other modules, used by the module in tests/consumer: from the event loop, with Redis' lock held all
the time, and from threads. The checks themselves are in C; here are the values that they work on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from torch import Tensor, nn

import models
import torch_models
from consumers import check, consumer_path, load_consumer
from harness import OK, Error, RedisBinary, Server, Wire, as_dict, assert_tensor, payload, put, wait_until

Servers = Callable[..., Server]

SOURCE = """
def double(x):
    return 2 * x

def add_all(first, rest: List[Tensor]):
    total = first
    for each in rest:
        total = total + each
    return total

def fail(x):
    raise RuntimeError("on purpose")
    return x

def note():
    redis.execute("SET", "consumer:note", "written")
"""

PLACES = ["LOOP", "THREAD"]


class Total(nn.Module):
    """y[1] of any a and b: not a row for each row."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum().reshape(1)


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    """With one worker for each device: what a callback holds up, nobody else would run."""
    server = module_servers("THREADS_PER_QUEUE", 1, binary=redis_binary)
    with server.wire() as wire:
        load_consumer(wire)
    return server


@pytest.fixture(autouse=True)
def values(server: Server, wire: Wire) -> Iterator[None]:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert wire("AI.MODELSTORE", "torch", "TORCH", "CPU", "BLOB", torch_models.saved(torch_models.Multiply())) == OK
    assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", SOURCE) == OK
    put(wire, "a", np.array([1, 2, 3], np.float32))
    put(wire, "b", np.array([10, 20, 30], np.float32))
    yield
    server.wait_for_rest()
    assert wire("FLUSHALL") == OK
    wait_until(lambda: server.live_objects() == {"tensors": 0, "models": 0, "jobs": 0})


def calls(wire: Wire, key: str) -> int:
    return int(as_dict(wire("AI.INFO", key))["calls"])


@pytest.mark.parametrize("where", PLACES)
def test_errors(wire: Wire, where: str) -> None:
    check(wire, where, "errors")


@pytest.mark.parametrize("where", PLACES)
def test_tensors(wire: Wire, where: str) -> None:
    check(wire, where, "tensors")
    assert_tensor(wire, "consumer:strings", np.array([b"third", b"first"], object))


@pytest.mark.parametrize("where", PLACES)
def test_a_key_holds_the_very_tensor(wire: Wire, where: str) -> None:
    check(wire, where, "stored_tensors", "a")
    assert_tensor(wire, "consumer:tensor", np.array([1, 2, 3], np.float32))
    wire("DEL", "a")
    assert_tensor(wire, "consumer:tensor", np.array([1, 2, 3], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_a_key_shows_what_another_module_wrote_into_its_tensor(wire: Wire, where: str) -> None:
    for _ in range(200):  # until the reply is kept
        assert_tensor(wire, "a", np.array([1, 2, 3], np.float32))
    check(wire, where, "changed_tensor", "a")
    assert_tensor(wire, "a", np.array([1, 2, 4], np.float32))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("model", "backend"), [("m", 3), ("torch", 2)])
def test_models_as_values(server: Server, wire: Wire, where: str, model: str, backend: int) -> None:
    check(wire, where, "model_values", model, backend)
    assert as_dict(wire("AI.MODELGET", "consumer:model", "META"))["batchsize"] == 8
    assert wire("AI.MODELGET", "consumer:model", "BLOB") == wire("AI.MODELGET", model, "BLOB")
    assert wire("AI.MODELEXECUTE", "consumer:model", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c") == OK
    assert_tensor(wire, "c", np.array([10, 40, 90], np.float32))
    restored = wire("DUMP", "consumer:model")
    assert wire("RESTORE", "copy", 0, restored) == OK
    assert wire("AI.MODELEXECUTE", "copy", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c") == OK


@pytest.mark.parametrize("where", PLACES)
def test_models_and_scripts_that_are_not_there(wire: Wire, where: str) -> None:
    check(wire, where, "model_errors", "absent", "a")


@pytest.mark.parametrize("where", PLACES)
def test_scripts_as_values(wire: Wire, where: str) -> None:
    check(wire, where, "script_values")
    assert wire("AI.SCRIPTEXECUTE", "consumer:script", "double", "INPUTS", 1, "a", "OUTPUTS", 1, "c") == OK
    assert_tensor(wire, "c", np.array([2, 4, 6], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_a_synchronous_run_is_not_counted(wire: Wire, where: str) -> None:
    check(wire, where, "model_sync", "torch", "a", "b")
    assert_tensor(wire, "consumer:sync", np.array([10, 40, 90], np.float32))
    assert calls(wire, "torch") == 0


@pytest.mark.parametrize("where", PLACES)
def test_a_synchronous_run_does_not_wait_for_a_batch(wire: Wire, where: str) -> None:
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 8)
    blob = torch_models.saved(torch_models.Multiply())
    assert wire("AI.MODELSTORE", "batched", "TORCH", "CPU", *options, "BLOB", blob) == OK
    check(wire, where, "model_sync", "batched", "a", "b")


@pytest.mark.parametrize("where", PLACES)
def test_several_contexts_run_as_one_batch(wire: Wire, where: str) -> None:
    blob = torch_models.saved(Total())
    assert wire("AI.MODELSTORE", "total", "TORCH", "CPU", "BLOB", blob) == OK
    put(wire, "two", np.array([[1, 2], [3, 4]], np.float32))
    put(wire, "one", np.array([[5, 6]], np.float32))
    check(wire, where, "model_batch", "torch", "two", "two", "one", "one", "total")
    assert_tensor(wire, "consumer:batch0", np.array([[1, 4], [9, 16]], np.float32))
    assert_tensor(wire, "consumer:batch1", np.array([[25, 36]], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_an_asynchronous_run(wire: Wire, where: str) -> None:
    check(wire, where, "model_async", "m", "a", "b")
    assert_tensor(wire, "consumer:async", np.array([10, 40, 90], np.float32))
    assert calls(wire, "m") == 1


@pytest.mark.parametrize("where", PLACES)
def test_errors_of_asynchronous_runs(wire: Wire, where: str) -> None:
    assert wire("RESTORE", "broken", 0, payload.model(4, b"no model")) == OK
    put(wire, "five", np.ones(5, np.float32))
    check(wire, where, "async_error", "m", "a", "five", "broken")


def test_runs_join_the_batch_of_commands(server: Server, wire: Wire) -> None:
    """A batch of 2 rows at least: one comes from a command, one from the consumer."""
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 2)
    assert wire("AI.MODELSTORE", "rows", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    put(wire, "row", np.ones((1, 1), np.float32))
    with server.wire() as client:
        client.send("AI.MODELEXECUTE", "rows", "INPUTS", 1, "row", "OUTPUTS", 1, "x")
        wait_until(lambda: server.blocked_clients() == 1)
        assert wire("CONSUMER.RUN", "rows", "row", "y") == OK
        assert client.read() == OK
    assert_tensor(wire, "x", np.array([[2]]))
    assert_tensor(wire, "y", np.array([[2]]))


def test_a_callback_that_waits_for_another_run(wire: Wire) -> None:
    check(wire, "THREAD", "sync_in_callback", "s", "a")
    assert_tensor(wire, "consumer:twice", np.array([4, 8, 12], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_a_callback_that_waits_for_the_lock_of_somebody_who_waits_for_a_run(wire: Wire, where: str) -> None:
    check(wire, where, "lock_in_callback", "m", "a", "b")


@pytest.mark.parametrize("where", PLACES)
def test_many_runs_of_many_threads(wire: Wire, where: str) -> None:
    check(wire, where, "many_runs", "m", "a", "b")
    assert calls(wire, "m") == 1000


@pytest.mark.parametrize("where", PLACES)
def test_scripts(wire: Wire, where: str) -> None:
    check(wire, where, "script_sync", "s", "a")
    assert_tensor(wire, "consumer:double", np.array([2, 4, 6], np.float32))
    assert_tensor(wire, "consumer:sum", np.array([4, 8, 12], np.float32))
    check(wire, where, "script_async", "s", "a")


def test_a_script_that_writes_keys(wire: Wire) -> None:
    check(wire, "THREAD", "script_redis", "s")
    assert wire("GET", "consumer:note") == b"written"


@pytest.mark.parametrize("where", PLACES)
def test_a_dag(wire: Wire, where: str) -> None:
    check(wire, where, "dag", "m", "s", "a")
    assert_tensor(wire, "consumer:dag0", np.array([2, 8, 18], np.float32))
    assert_tensor(wire, "consumer:dag1", np.array([1, 2, 3], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_a_dag_in_words(wire: Wire, where: str) -> None:
    text = (
        "|> AI.TENSORSET x FLOAT 2 VALUES 3 4  |> AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 1 x"
        " |> AI.SCRIPTEXECUTE s add_all INPUTS 3 x x x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
    )
    check(wire, where, "dag_text", text, "|> AI.TENSORSET x BOOL 1 VALUES 1 |> AI.TENSORGET x")
    assert_tensor(wire, "consumer:text", np.array([27, 48], np.float32))


@pytest.mark.parametrize("where", PLACES)
def test_dags_that_cannot_run(wire: Wire, where: str) -> None:
    put(wire, "t", np.ones(1, np.float32))
    check(wire, where, "dag_errors", "m")


@pytest.mark.parametrize("where", PLACES)
def test_a_dag_that_fails(wire: Wire, where: str) -> None:
    check(wire, where, "dag_failure", "m", "s", "a")


# ---- life ------------------------------------------------------------------------------------


def test_a_consumer_without_us_is_told(make_server: Servers, redis_binary: RedisBinary) -> None:
    plain = make_server(module=False, binary=redis_binary)
    with plain.wire() as wire:
        assert isinstance(wire("MODULE", "LOAD", str(consumer_path())), Error)
    assert "RedisAI is not loaded" in plain.log


def test_the_server_stops_while_consumers_wait(make_server: Servers, redis_binary: RedisBinary) -> None:
    server = make_server("MODEL_EXECUTION_TIMEOUT", 600_000, binary=redis_binary)
    with server.wire() as wire, server.wire() as waiting:
        load_consumer(wire)
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        waiting.send("CONSUMER.RUN", "spin", "endless", "y")
        wait_until(lambda: server.blocked_clients() == 1)
        time.sleep(0.05)
        server.stop()
