"""Pauses and changes of role while models run: nothing is lost, written twice, or written in the wrong place.

Redis ends a process that replicates during a pause of writes, which CLIENT PAUSE, FAILOVER,
CLUSTER FAILOVER and SHUTDOWN bring about; an execution that began before it may be over in it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, assert_tensor, put, wait_until

Servers = Callable[..., Server]

SCRIPT = """
def count(tensors: List[Tensor], keys: List[str], args: List[str]):
    for i in range(int(args[0])):
        redis.execute("INCR", keys[0])
    return tensors[0]
"""
NEW_ROLE = ("UNBLOCKED", "READONLY", "TRYAGAIN", "MASTERDOWN", "LOADING", "NOREPLICAS")


@pytest.fixture
def pair(redis_binary: RedisBinary, make_server: Servers) -> tuple[Server, Server]:
    """A master and its replica, with a model that runs for as long as its input says."""
    master = make_server(binary=redis_binary)
    with master.wire() as wire:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        assert wire("AI.MODELSTORE", "double", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
        put(wire, "half a second", np.full((1, 1), models.turns_for(0.5), np.float32))
        put(wire, "x", np.ones(2, np.float32))
    replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
    master.wait_for_replica(replica)
    return master, replica


SPIN = ("AI.MODELEXECUTE", "spin", "INPUTS", 1, "half a second", "OUTPUTS", 1, "y")
IN_FLIGHT = {
    "AI.MODELEXECUTE": (SPIN, OK),
    "AI.DAGEXECUTE": (
        ("AI.DAGEXECUTE", "LOAD", 1, "half a second", "PERSIST", 1, "y", "ROUTING", "spin", "|>", *SPIN),
        [OK],
    ),
}


@pytest.mark.parametrize("command", IN_FLIGHT)
def test_what_is_over_in_a_pause_is_stored_and_replicated_after_it(pair: tuple[Server, Server], command: str) -> None:
    master, replica = pair
    words, expected = IN_FLIGHT[command]
    with master.wire() as wire, master.wire() as waiting, replica.wire() as mirror:
        waiting.send(*words)
        wait_until(lambda: master.blocked_clients() == 1)
        assert wire("CLIENT", "PAUSE", 1500, "WRITE") == OK
        assert not waiting.has_reply(1.0)
        assert waiting.read() == expected
        assert_tensor(wire, "y", np.array([[1]], np.int64))
        master.wait_for_replica(replica)
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


@pytest.mark.one_server
def test_a_model_that_is_compiled_in_a_pause_is_stored_after_it(pair: tuple[Server, Server]) -> None:
    master, replica = pair
    with master.wire() as wire, master.wire() as storing:
        storing.send("AI.MODELSTORE", "slow", "ONNX", "CPU", "BLOB", models.slow_to_load(300))
        wait_until(lambda: master.blocked_clients() == 1)
        assert wire("CLIENT", "PAUSE", 1500, "WRITE") == OK
        assert storing.read() in (
            OK,
            Error("TRYAGAIN writes are paused, for a failover or by CLIENT PAUSE; nothing was stored"),
        )
        master.wait_for_replica(replica)
        with replica.wire() as mirror:
            assert mirror("EXISTS", "slow") == wire("EXISTS", "slow")


@pytest.mark.one_server
def test_errors_and_results_that_write_nothing_are_answered_in_a_pause(pair: tuple[Server, Server]) -> None:
    master, _ = pair
    dag = ("AI.DAGEXECUTE_RO", "LOAD", 1, "half a second", "|>", *SPIN, "|>", "AI.TENSORGET", "y", "VALUES")
    with master.wire() as wire, master.wire() as reading:
        reading.send(*dag)
        wait_until(lambda: master.blocked_clients() == 1)
        assert wire("CLIENT", "PAUSE", 20_000, "WRITE") == OK
        assert reading.read() == [OK, [1]]
        assert wire("CLIENT", "UNPAUSE") == OK


def test_a_pause_among_many_short_runs(pair: tuple[Server, Server]) -> None:
    """What cannot be held back any more is refused, and not written; what is acknowledged is on both sides."""
    master, replica = pair
    stored: set[bytes] = set()
    odd: list[object] = []
    stopping = threading.Event()

    def run(number: int) -> None:
        with master.wire() as wire:
            turn = 0
            while not stopping.is_set():
                key = f"y{number}:{turn}"
                reply = wire("AI.MODELEXECUTE", "double", "INPUTS", 2, "x", "x", "OUTPUTS", 2, key, f"{key}'")
                if reply == OK:
                    stored.add(key.encode())
                elif not (isinstance(reply, Error) and reply.text.startswith("TRYAGAIN")):
                    odd.append(reply)
                turn += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    with running(threads, stopping), master.wire() as wire:
        for _ in range(15):
            time.sleep(0.03)
            assert wire("CLIENT", "PAUSE", 30, "WRITE") == OK
            time.sleep(0.03)
    assert not odd
    master.wait_for_replica(replica)
    with master.wire() as wire, replica.wire() as mirror:
        assert {key for key in wire("KEYS", "y*") if not key.endswith(b"'")} == stored
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


@contextmanager
def running(threads: list[threading.Thread], stopping: threading.Event) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a client was left waiting"


def test_failover_while_models_run(pair: tuple[Server, Server]) -> None:
    """What the old master acknowledged is on the new one, and both hold the same."""
    servers = list(pair)
    acknowledged: list[str] = []
    odd: list[object] = []
    stopping = threading.Event()

    def run(number: int) -> None:
        turn = 0
        while not stopping.is_set():
            for server in servers:
                try:
                    with server.wire() as wire:
                        while not stopping.is_set():
                            key = f"y{number}:{turn}"
                            reply = wire("AI.MODELEXECUTE", "double", "INPUTS", 2, "x", "x", "OUTPUTS", 2, key, "d")
                            if reply != OK:
                                break
                            acknowledged.append(key)
                            turn += 1
                except ConnectionError:
                    continue
                if reply != OK and not (isinstance(reply, Error) and reply.text.startswith(NEW_ROLE)):
                    odd.append(reply)

    with running([threading.Thread(target=run, args=(number,)) for number in range(4)], stopping):
        for _ in range(2):
            wait_for_more(acknowledged, 50)
            master, replica = servers
            with master.wire() as wire:
                assert wire("FAILOVER", "TIMEOUT", 10_000) == OK
            wait_until(lambda: replica.info("replication")["role"] == "master", 30)  # noqa: B023 - in this round only
            wait_until(lambda: master.info("replication")["role"] == "slave", 30)  # noqa: B023
            servers.reverse()
            wait_for_more(acknowledged, 50)
    assert not odd, odd[:3]
    master, replica = servers
    master.wait_for_replica(replica)
    with master.wire() as wire, replica.wire() as mirror:
        assert {key.encode() for key in acknowledged} <= set(wire("KEYS", "y*"))
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def wait_for_more(found: list[str], count: int) -> None:
    target = len(found) + count
    wait_until(lambda: len(found) >= target, 30)


@pytest.mark.one_server
def test_a_master_that_becomes_a_replica_writes_nothing_any_more(pair: tuple[Server, Server]) -> None:
    master, replica = pair
    with master.wire() as wire, master.wire() as waiting, replica.wire() as promoted:
        waiting.send(*SPIN)
        wait_until(lambda: master.blocked_clients() == 1)
        assert promoted("REPLICAOF", "NO", "ONE") == OK
        assert wire("REPLICAOF", "127.0.0.1", replica.port) == OK
        reply = waiting.read()
        assert isinstance(reply, Error) and reply.text.startswith("UNBLOCKED")
        wait_until(lambda: idle(master))
        assert wire("EXISTS", "y") == 0
        replica.wait_for_replica(master)
        assert promoted(*SPIN) == OK
        replica.wait_for_replica(master)
        assert promoted("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def idle(server: Server) -> bool:
    """AI.CONFIG is a write command, so a replica does not tell its jobs: the worker's CPU time stands still."""
    field = "ai_queue_CPU_bthread_n1_used_cpu_total"
    before = server.info()[field]
    time.sleep(0.1)
    return server.info()[field] == before


@pytest.mark.one_server
def test_a_script_goes_on_writing_after_a_pause(pair: tuple[Server, Server]) -> None:
    master, replica = pair
    with master.wire() as wire, master.wire() as waiting, replica.wire() as mirror:
        assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "count", "SOURCE", SCRIPT) == OK
        waiting.send(*script_run(300))
        wait_until(lambda: wire("EXISTS", "n") == 1)
        assert wire("CLIENT", "PAUSE", 300, "WRITE") == OK
        assert waiting.read() == OK
        assert wire("GET", "n") == b"300"
        master.wait_for_replica(replica)
        assert mirror("GET", "n") == b"300"
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def script_run(turns: int) -> tuple[str | int, ...]:
    return ("AI.SCRIPTEXECUTE", "s", "count", "KEYS", 1, "n", "INPUTS", 1, "x", "ARGS", 1, turns, "OUTPUTS", 1, "z")


@pytest.mark.one_server
def test_a_script_does_not_write_to_a_server_that_became_a_replica(pair: tuple[Server, Server]) -> None:
    master, replica = pair
    with master.wire() as wire, master.wire() as waiting, replica.wire() as promoted:
        assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "count", "SOURCE", SCRIPT) == OK
        waiting.send(*script_run(1_000_000))
        wait_until(lambda: wire("EXISTS", "n") == 1)
        assert promoted("REPLICAOF", "NO", "ONE") == OK
        assert wire("REPLICAOF", "127.0.0.1", replica.port) == OK
        replica.wait_for_replica(master)
        assert promoted("SET", "n", "of the new master") == OK
        replica.wait_for_replica(master)
        wait_until(lambda: idle(master))
        assert wire("GET", "n") == b"of the new master"
        assert promoted("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


@pytest.mark.one_server
@pytest.mark.parametrize("by", ["SHUTDOWN", "SIGTERM"])
def test_shutdown_that_waits_for_a_replica_while_a_model_runs(pair: tuple[Server, Server], by: str) -> None:
    """Since 7.0 a master pauses writes until its replicas have caught up."""
    master, replica = pair
    with master.wire() as wire, master.wire() as waiting:
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            assert wire("SET", "missing on the replica", "x" * 1000) == OK
            waiting.send(*SPIN)
            wait_until(lambda: master.blocked_clients() == 1)
            waking = threading.Timer(1.0, os.kill, (replica.pid, signal.SIGCONT))
            waking.start()
            master.stop(by=by)
            waking.join()
        finally:
            os.kill(replica.pid, signal.SIGCONT)
