"""The same binary on every redis-server that is installed: a tour of the essentials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Status, Wire, as_dict, assert_tensor, put, wait_until
from harness.tensors import DTYPES, SAMPLES

Servers = Callable[..., Server]


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


def store(wire: Wire, key: str, *options: str | int, blob: bytes | None = None) -> None:
    assert wire("AI.MODELSTORE", key, "ONNX", "CPU", *options, "BLOB", blob or models.two_outputs()) == OK


def execute(wire: Wire, key: str = "m") -> object:
    return wire("AI.MODELEXECUTE", key, "INPUTS", 2, "x", "x", "OUTPUTS", 2, "sum", "difference")


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensor_round_trip(wire: Wire, dtype: str) -> None:
    put(wire, "t", SAMPLES[dtype])
    assert_tensor(wire, "t", SAMPLES[dtype])


@pytest.mark.parametrize("protocol", [2, 3])
def test_store_execute_and_read(server: Server, wire: Wire, protocol: int) -> None:
    with server.wire(protocol=protocol) as connection:
        store(connection, "m", "TAG", "v1")
        put(connection, "x", np.array([1.5, 2], np.float32))
        assert execute(connection) == OK
        assert_tensor(connection, "sum", np.array([3, 4], np.float32))
        values = connection("AI.TENSORGET", "sum", "VALUES")
        assert [float(element) for element in values] == [3, 4]
        assert as_dict(connection("AI.INFO", "m"))["calls"] == 1
        assert connection("AI._MODELSCAN") == [[b"m", b"v1"]]


def test_errors(server: Server, wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k") == server.arity_error("AI.TENSORSET")
    assert wire("AI.TENSORSET", "k", "FLOAT", -1) == Error("ERR invalid or negative value found in tensor shape")
    assert execute(wire) == Error("ERR model key is empty")
    assert isinstance(wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"), Error)


def test_shapes_that_no_memory_can_hold(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "k", "INT8", 2**60) == Error("ERR invalid or negative value found in tensor shape")


def test_batches_and_timeouts(server: Server, wire: Wire) -> None:
    store(wire, "m", "BATCHSIZE", 2, "MINBATCHSIZE", 2, blob=models.batch_size())
    put(wire, "x", np.zeros((1, 1), np.float32))
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1)
    assert wire(*request, "y", "TIMEOUT", 50) == Status("TIMEDOUT")
    with server.wire() as first, server.wire() as second:
        first.send(*request, "y")
        wait_until(lambda: server.blocked_clients() == 1)
        second.send(*request, "z")
        assert (first.read(), second.read()) == (OK, OK)
    assert wire("AI.TENSORGET", "y", "VALUES") == [2]


def test_copy_rename_memory_and_delete(wire: Wire) -> None:
    store(wire, "m")
    put(wire, "t", SAMPLES["STRING"])
    for key in ("m", "t"):
        assert wire("COPY", key, f"{key}2") == 1
        wire("RENAME", f"{key}2", f"{key}3")
        assert wire("MEMORY", "USAGE", key) > 0
    assert_tensor(wire, "t3", SAMPLES["STRING"])
    assert sorted(wire("AI._MODELSCAN")) == [[b"m", b""], [b"m3", b""]]
    assert wire("UNLINK", "m", "m3", "t", "t3") == 4
    assert wire("AI._MODELSCAN") == []


def test_transactions_and_lua(wire: Wire) -> None:
    forbidden = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")
    put(wire, "x", np.ones(1, np.float32))
    wire("MULTI")
    store_command = ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs())
    wire(*store_command)
    execute(wire)
    assert wire("EXEC") == [OK, forbidden]
    assert wire("EVAL", "return redis.call('AI.TENSORGET', 'x', 'META')", 0) == [b"dtype", b"FLOAT", b"shape", [1]]


def test_disconnected_client_is_forgotten(server: Server, wire: Wire) -> None:
    store(wire, "spin", blob=models.spin())
    put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
    with server.wire() as leaver:
        leaver.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "endless", "OUTPUTS", 1, "y")
        wait_until(lambda: server.blocked_clients() == 1)
    wait_until(lambda: server.blocked_clients() == 0)
    assert wire("EXISTS", "y") == 0


@pytest.mark.parametrize("how", ["RDB", "AOF", "rewritten AOF"])
def test_save_and_restart(redis_binary: RedisBinary, make_server: Servers, how: str) -> None:
    server = make_server(binary=redis_binary, appendonly="no" if how == "RDB" else "yes")
    with server.wire() as wire:
        store(wire, "m", "TAG", "v1")
        put(wire, "x", np.ones(2, np.float32))
        put(wire, "strings", SAMPLES["STRING"])
        assert execute(wire) == OK
        if how == "RDB":
            assert wire("DEBUG", "RELOAD") == OK
            assert wire("SAVE") == OK
        if how == "rewritten AOF":
            wire("BGREWRITEAOF")
            wait_until(lambda: b"aof_rewrite_in_progress:0" in wire("INFO", "persistence"))
    with server.restart().wire() as wire:
        assert_tensor(wire, "sum", np.full(2, 2, np.float32))
        assert_tensor(wire, "strings", SAMPLES["STRING"])
        assert wire("AI._MODELSCAN") == [[b"m", b"v1"]]
        assert execute(wire) == OK


def test_replica(redis_binary: RedisBinary, make_server: Servers) -> None:
    master = make_server(binary=redis_binary)
    with master.wire() as wire:
        store(wire, "before")
        put(wire, "x", np.ones(2, np.float32))
        replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
        master.wait_for_replica(replica)
        store(wire, "m")
        assert execute(wire) == OK
        master.wait_for_replica(replica)
        with replica.wire() as connection:
            assert_tensor(connection, "sum", np.full(2, 2, np.float32))
            assert connection("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
            assert execute(connection).text.startswith("READONLY")


@pytest.mark.parametrize("by", ["SHUTDOWN", "SIGTERM"])
def test_shutdown_while_busy(redis_binary: RedisBinary, make_server: Servers, by: str) -> None:
    server = make_server(binary=redis_binary)
    with server.wire() as wire, server.wire() as busy:
        store(wire, "spin", blob=models.spin())
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        busy.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "endless", "OUTPUTS", 1, "y")
        wait_until(lambda: server.blocked_clients() == 1)
        server.stop(by=by)
