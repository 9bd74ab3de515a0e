"""Replicas that come back: partial and full synchronisation, with old data served beside new data that loads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Wire, as_dict, assert_tensor, put, wait_until
from harness.tensors import SAMPLES

Servers = Callable[..., Server]

pytestmark = pytest.mark.one_server

SCRIPT = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"


def fill(wire: Wire, tag: str) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", tag, "BLOB", models.two_outputs()) == OK
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", tag, "ENTRY_POINTS", 1, "f", "SOURCE", SCRIPT) == OK
    put(wire, "x", np.ones(2, np.float32))
    put(wire, "strings", SAMPLES["STRING"])
    execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, f"sum {tag}", f"difference {tag}")
    assert wire(*execute) == OK


@contextmanager
def away(master: Server, replica: Server) -> Iterator[None]:
    """The replica hears nothing of what the block does, and then comes back."""
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        with master.wire() as wire:
            assert wire("CLIENT", "KILL", "TYPE", "REPLICA") == 1
        yield
    finally:
        os.kill(replica.pid, signal.SIGCONT)


def syncs(master: Server) -> tuple[int, int]:
    """Full ones and partial ones."""
    info = master.info("stats")
    return int(info["sync_full"]), int(info["sync_partial_ok"])


def same_data(wire: Wire, mirror: Wire) -> bool:
    return mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def test_partial_resynchronisation(redis_binary: RedisBinary, make_server: Servers) -> None:
    master = make_server(binary=redis_binary, repl_backlog_size="10mb")
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
    with master.wire() as wire:
        fill(wire, "before")
        master.wait_for_replica(replica)
        full, partial = syncs(master)
        with away(master, replica):
            fill(wire, "meanwhile")
            assert wire("AI.MODELDEL", "m") == OK
            assert wire("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
        wait_until(lambda: syncs(master) == (full, partial + 1))
        master.wait_for_replica(replica)
        with replica.wire() as mirror:
            assert same_data(wire, mirror)
            assert mirror("AI._MODELSCAN") == [[b"n", b""]]
            assert_tensor(mirror, "sum meanwhile", np.array([2, 2], np.float32))


FULL_SYNCS = [("yes", "swapdb"), ("yes", "disabled"), ("no", "swapdb"), ("no", "disabled")]


@pytest.mark.parametrize(("diskless", "load"), FULL_SYNCS, ids=[" ".join(how) for how in FULL_SYNCS])
def test_full_resynchronisation(redis_binary: RedisBinary, make_server: Servers, diskless: str, load: str) -> None:
    """In each way that Redis knows: by disk or not, on either side."""
    master = make_server(binary=redis_binary, repl_diskless_sync=diskless, repl_backlog_size="16kb")
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port), repl_diskless_load=load)
    with master.wire() as wire, replica.wire() as mirror:
        fill(wire, "before")
        assert wire("AI.MODELSTORE", "gone", "ONNX", "CPU", "BLOB", models.identity()) == OK
        master.wait_for_replica(replica)
        full, _ = syncs(master)
        with away(master, replica):
            fill(wire, "meanwhile")
            assert wire("DEL", "gone") == 1
            for _ in range(10):
                assert wire("SET", "larger than the backlog", "x" * 100_000) == OK
        wait_until(lambda: syncs(master)[0] == full + 1)
        master.wait_for_replica(replica)
        assert same_data(wire, mirror)
        assert mirror("AI._MODELSCAN") == [[b"m", b"meanwhile"]]
        assert mirror("AI._SCRIPTSCAN") == [[b"s", b"meanwhile"]]
        wait_until(lambda: replica.info()["ai_models_loading"] == "0")
        assert replica.info()["ai_models_ready"] == "2", "what was replaced is counted no more"
        assert mirror("REPLICAOF", "NO", "ONE") == OK
        assert mirror("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "y", "z") == OK
        assert mirror("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK


READ = ("AI.DAGEXECUTE_RO", "LOAD", 1, "x", "|>", "AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "s", "d")


def test_the_old_data_is_served_while_the_new_data_loads(redis_binary: RedisBinary, make_server: Servers) -> None:
    """repl-diskless-load swapdb, of a master that is known."""
    if redis_binary.version < (7, 0, 0):
        pytest.skip("before 7.0 a replica answers LOADING meanwhile")
    master = make_server(binary=redis_binary, repl_diskless_sync="yes", repl_backlog_size="16kb")
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port), repl_diskless_load="swapdb")
    with master.wire() as wire, replica.wire() as mirror:
        fill(wire, "old")
        master.wait_for_replica(replica)
        assert mirror(*READ, "|>", "AI.TENSORGET", "s", "VALUES") == [OK, [b"2", b"2"]]
        assert mirror("CONFIG", "SET", "key-load-delay", 10_000) == OK
        assert mirror("CONFIG", "SET", "loading-process-events-interval-bytes", 1024) == OK
        full, _ = syncs(master)
        with away(master, replica):
            fill(wire, "new")
            put(wire, "x", np.full(2, 3, np.float32))
            for number in range(60):
                assert wire("SET", f"filler {number}", "x" * 2_000) == OK
        seen = 0
        wait_until(lambda: syncs(master)[0] == full + 1)
        wait_until(lambda: replica.info("persistence")["async_loading"] == "1")
        while not is_up(replica):
            replies = mirror.pipeline(
                ("AI._MODELSCAN",), ("AI.TENSORGET", "x", "VALUES"), (*READ, "|>", "AI.TENSORGET", "s", "VALUES")
            )
            # Redis answers no blocked client before the load ends, so it is better not to block one.
            if replies[2] == Error("LOADING Redis is loading the dataset in memory"):
                assert replies[:2] == [[[b"m", b"old"]], [b"1", b"1"]]
                seen += 1
        assert seen > 0
        master.wait_for_replica(replica)
        assert same_data(wire, mirror)
        assert mirror(*READ, "|>", "AI.TENSORGET", "s", "VALUES") == [OK, [b"6", b"6"]]


def is_up(replica: Server) -> bool:
    return replica.info("replication")["master_link_status"] == "up"


def test_a_replica_serves_what_only_reads(redis_binary: RedisBinary, make_server: Servers) -> None:
    master = make_server(binary=redis_binary)
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
    with master.wire() as wire, replica.wire() as mirror:
        fill(wire, "t")
        master.wait_for_replica(replica)
        assert mirror(*READ, "|>", "AI.TENSORGET", "s", "VALUES") == [OK, [b"2", b"2"]]
        assert as_dict(mirror("AI.INFO", "m"))["calls"] == 1
        assert_tensor(mirror, "sum t", np.array([2, 2], np.float32))
        assert as_dict(mirror("AI.SCRIPTGET", "s"))["tag"] == b"t"
        for write in (
            ("AI.TENSORSET", "x", "FLOAT", 1),
            ("AI.MODELDEL", "m"),
            ("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "s", "d"),
            ("AI.DAGEXECUTE", *READ[1:]),
            ("AI.CONFIG", "GET", "BACKENDSPATH"),
        ):
            reply = mirror(*write)
            assert isinstance(reply, Error) and reply.text.startswith("READONLY"), write
        assert same_data(wire, mirror)


def test_wait_holds_for_models_and_their_outputs(redis_binary: RedisBinary, make_server: Servers) -> None:
    master = make_server(binary=redis_binary)
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
    master.wait_for_replica(replica)
    with master.wire() as wire, replica.wire() as mirror:
        for number in range(20):
            fill(wire, str(number))
            assert wire("WAIT", 1, 10_000) == 1
            assert_tensor(mirror, f"difference {number}", np.zeros(2, np.float32))
            assert mirror("AI._MODELSCAN") == [[b"m", str(number).encode()]]
