"""Replicas: full sync, the replicated stream, and what a replica may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, payload, put, wait_until
from harness.tensors import DTYPES, SAMPLES

Servers = Callable[..., Server]

BATCHING = ("BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 20)


def make_replica(make: Servers, master: Server, *module_args: str | int, **config: str) -> Server:
    replica = make(*module_args, replicaof=("127.0.0.1", master.port), **config)
    master.wait_for_replica(replica)
    return replica


@pytest.fixture(scope="module")
def replica(server: Server, module_servers: Servers) -> Server:
    return make_replica(module_servers, server, repl_diskless_load="disabled")


@pytest.fixture
def mirror(server: Server, replica: Server, wire: Wire) -> Iterator[Callable[[], Wire]]:
    """Returns a connection to the replica once it has caught up."""
    with replica.wire() as connection:

        def caught_up() -> Wire:
            server.wait_for_replica(replica)
            return connection

        yield caught_up
    replica.check_health()


@contextmanager
def monitor(server: Server) -> Iterator[Callable[[], list[str]]]:
    """Watches a server's commands; the block gets a function that returns their lines."""
    with server.wire() as connection:
        assert connection("MONITOR") == OK

        def lines() -> list[str]:
            found = []
            while connection.has_reply(0.2):
                found.append(connection.read().text)
            return found

        yield lines


def assert_same_digest(wire: Wire, mirror: Callable[[], Wire]) -> None:
    assert mirror()("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_replicated(wire: Wire, mirror: Callable[[], Wire], dtype: str) -> None:
    put(wire, "t", SAMPLES[dtype])
    assert_tensor(mirror(), "t", SAMPLES[dtype])
    assert_same_digest(wire, mirror)


@pytest.mark.parametrize("form", [("VALUES", 1, -2), (), ("BLOB", b"\1\0\2\0")])
def test_every_form_of_tensorset_is_replicated(
    wire: Wire, mirror: Callable[[], Wire], form: tuple[object, ...]
) -> None:
    assert wire("AI.TENSORSET", "t", "INT16", 2, *form) == OK
    assert mirror()("AI.TENSORGET", "t") == wire("AI.TENSORGET", "t")


def test_models_are_replicated_and_deleted(wire: Wire, mirror: Callable[[], Wire]) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "cpu", "TAG", "v1", *BATCHING, "BLOB", models.linear()) == OK
    expected = wire("AI.MODELGET", "m")
    wait_until(lambda: mirror()("AI.MODELGET", "m") == expected)
    assert mirror()("AI._MODELSCAN") == [[b"m", b"v1"]]
    assert_same_digest(wire, mirror)
    assert wire("AI.MODELDEL", "m") == OK
    assert mirror()("EXISTS", "m") == 0


def test_a_rejected_model_is_not_replicated(wire: Wire, mirror: Callable[[], Wire]) -> None:
    offset = int(wire("INFO", "replication").decode().split("master_repl_offset:")[1].split()[0])
    assert isinstance(wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"), Error)
    assert mirror()("EXISTS", "m") == 0
    after = int(wire("INFO", "replication").decode().split("master_repl_offset:")[1].split()[0])
    assert after - offset < 200, "only keep-alives"


def test_empty_outputs_are_replicated(wire: Wire, mirror: Callable[[], Wire]) -> None:
    """Clients cannot set empty tensors, but models make them."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.positions()) == OK
    put(wire, "x", np.array([0, 3], np.float32))
    put(wire, "zeros", np.zeros(2, np.float32))
    for source in ("x", "zeros"):
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, source, "OUTPUTS", 1, "y") == OK
        assert_same_digest(wire, mirror)
    assert as_dict(mirror()("AI.TENSORGET", "y"))["shape"] == [1, 0]
    dag = "AI.DAGEXECUTE LOAD 1 zeros PERSIST 1 z ROUTING z |> AI.MODELEXECUTE m INPUTS 1 zeros OUTPUTS 1 z"
    assert wire(*dag.split()) == [OK]
    assert_same_digest(wire, mirror)
    assert isinstance(wire("AI.TENSORSET", "y", "INT64", 1, 0, "BLOB", ""), Error)


def test_outputs_are_replicated_as_tensors(replica: Server, wire: Wire, mirror: Callable[[], Wire]) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    wire("RPUSH", "other", "x")
    mirror()
    with monitor(replica) as seen:
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "sum", "difference") == OK
        # Refused: nothing is written, so nothing is replicated.
        assert isinstance(wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "sum", "other"), Error)
        connection = mirror()
        assert_tensor(connection, "sum", np.array([2, 4], np.float32))
        assert_tensor(connection, "difference", np.array([0, 0], np.float32))
        lines = seen()
    commands = [line.split('"')[1].upper() for line in lines if '"' in line]
    assert commands.count("AI.TENSORSET") == 2
    assert "AI.MODELEXECUTE" not in commands
    assert as_dict(connection("AI.INFO", "m"))["calls"] == 0, "a replica does not run models"
    assert_same_digest(wire, mirror)


def test_a_scalar_output_is_replicated_without_dims(wire: Wire, mirror: Callable[[], Wire]) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.scalar_sum()) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "y") == OK
    assert_tensor(mirror(), "y", np.float32(3))


def test_outputs_are_replicated_into_the_database_of_their_client(
    server: Server, wire: Wire, mirror: Callable[[], Wire]
) -> None:
    with server.wire(db=4) as other:
        assert other("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(other, "x", np.array([1, 2], np.float32))
        assert other("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    connection = mirror()
    assert connection("EXISTS", "y") == 0
    connection("SELECT", 4)
    assert_tensor(connection, "y", np.array([1, 2], np.float32))


def test_batched_outputs_are_replicated(server: Server, wire: Wire, mirror: Callable[[], Wire]) -> None:
    options = ("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    put(wire, "x", np.zeros((1, 1), np.float32))
    connections = [server.wire() for _ in range(4)]
    for number, connection in enumerate(connections):
        connection.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, f"y{number}")
    for connection in connections:
        assert connection.read() == OK
        connection.close()
    for number in range(4):
        assert_tensor(mirror(), f"y{number}", np.array([[4]], np.int64))


def test_transactions_and_lua_are_replicated(wire: Wire, mirror: Callable[[], Wire]) -> None:
    wire("MULTI")
    wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "multi", "BLOB", models.identity())
    wire("AI.TENSORSET", "t", "INT8", 1, "VALUES", 5)
    assert wire("EXEC") == [OK, OK]
    wire("EVAL", "return redis.call('AI.TENSORSET', 'lua', 'INT8', 1, 'VALUES', 6)", 0)
    connection = mirror()
    assert connection("AI.TENSORGET", "t", "VALUES") == [5]
    assert connection("AI.TENSORGET", "lua", "VALUES") == [6]
    assert connection("AI._MODELSCAN") == [[b"m", b"multi"]]


def test_full_sync_of_everything(wire: Wire, server: Server, make_server: Servers) -> None:
    for dtype in DTYPES:
        put(wire, f"tensor:{dtype}", SAMPLES[dtype])
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v1", *BATCHING, "BLOB", models.linear()) == OK
    assert wire("AI.MODELSTORE", "large", "ONNX", "CPU", "BLOB", models.weighted(3)) == OK
    expected = {key: wire("DUMP", key) for key in wire("KEYS", "*")}
    late = make_replica(make_server, server, "MODEL_CHUNK_SIZE", 1000)
    with late.wire() as connection:
        assert sorted(connection("KEYS", "*")) == sorted(expected)
        assert connection("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
        for dtype in DTYPES:
            assert_tensor(connection, f"tensor:{dtype}", SAMPLES[dtype])


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_diskless_full_sync(make_server: Servers, diskless: str) -> None:
    load = "swapdb" if diskless == "yes" else "disabled"
    master = make_server(repl_diskless_sync=diskless)
    with master.wire() as wire:
        put(wire, "t", SAMPLES["STRING"])
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "new", "BLOB", models.identity()) == OK
        replica = make_server(repl_diskless_load=load)
        with replica.wire() as connection:
            # What the replica had before is replaced.
            assert connection("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "old", "BLOB", models.identity()) == OK
            assert connection("AI.MODELSTORE", "gone", "ONNX", "CPU", "BLOB", models.identity()) == OK
            assert connection("REPLICAOF", "127.0.0.1", master.port) == OK
        master.wait_for_replica(replica)
        with replica.wire() as connection:
            assert_tensor(connection, "t", SAMPLES["STRING"])
            assert connection("AI._MODELSCAN") == [[b"m", b"new"]]
            assert connection("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def test_a_promoted_replica_serves_at_once(make_server: Servers) -> None:
    master = make_server()
    replica = make_replica(make_server, master)
    with master.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK
        put(wire, "x", np.ones((2, 4), np.float32))
        master.wait_for_replica(replica)
    master.kill()
    with replica.wire() as connection:
        assert connection("REPLICAOF", "NO", "ONE") == OK
        assert connection("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        assert get(connection, "y").shape == (2, 3)


def test_a_chained_replica_gets_everything(make_server: Servers) -> None:
    master = make_server()
    middle = make_replica(make_server, master, appendonly="yes")
    last = make_replica(make_server, middle)
    with master.wire() as wire, last.wire() as connection:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(wire, "x", np.float32(4))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        master.wait_for_replica(middle)
        middle.wait_for_replica(last)
        assert_tensor(connection, "y", np.float32(4))
    # redis-server refuses to stop while it writes the first AOF after a full sync.
    wait_until(lambda: middle.info("persistence")["aof_rewrite_in_progress"] == "0")
    with middle.restart().wire() as connection:
        master.wait_for_replica(middle)
        assert_tensor(connection, "y", np.float32(4))
    wait_until(lambda: middle.info("persistence")["aof_rewrite_in_progress"] == "0")


def test_a_broken_model_is_replicated_and_the_link_stays_up(make_server: Servers) -> None:
    master = make_server()
    replica = make_replica(make_server, master)
    with master.wire() as wire, replica.wire() as connection:
        assert wire("RESTORE", "broken", 0, payload.model(4, b"no model", tag="t")) == OK
        put(wire, "t", SAMPLES["INT8"])
        master.wait_for_replica(replica)
        assert connection("AI.MODELGET", "broken", "BLOB") == b"no model"
        assert_tensor(connection, "t", SAMPLES["INT8"])
    late = make_replica(make_server, master)
    with late.wire() as connection:
        assert connection("AI.MODELGET", "broken", "BLOB") == b"no model"


def test_the_replica_does_not_stall_while_it_compiles(make_server: Servers) -> None:
    """The stream goes on behind an AI.MODELSTORE that takes long to compile."""
    master = make_server()
    replica = make_replica(make_server, master)
    with master.wire() as wire, replica.wire() as connection:
        start = time.monotonic()
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.slow_to_load(800)) == OK
        stored = time.monotonic()
        put(wire, "t", SAMPLES["INT8"])
        wait_until(lambda: connection("EXISTS", "t") == 1)
        assert time.monotonic() - stored < max(0.1, (stored - start) / 2)
