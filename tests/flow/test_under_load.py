"""Forks, rewrites, power cuts and mass deletion while workers are busy.

``REDISAI_TEST_BGSAVES`` and ``REDISAI_TEST_REWRITES`` raise the number of
rounds; the release run uses 200 and 50.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, assert_tensor, get, put, wait_until
from harness.tensors import SAMPLES, blob_of, tensorset

Servers = Callable[..., Server]

BGSAVES = int(os.environ.get("REDISAI_TEST_BGSAVES", "15"))
REWRITES = int(os.environ.get("REDISAI_TEST_REWRITES", "6"))


def prepare(server: Server) -> None:
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BATCHSIZE", 8, "BLOB", models.linear()) == OK
        assert wire("AI.MODELSTORE", "big", "ONNX", "CPU", "BLOB", models.weighted(4)) == OK
        put(wire, "x", np.ones((4, 4), np.float32))


@contextmanager
def load(server: Server, clients: int = 4) -> Iterator[list[int]]:
    """Clients that execute, store and read until the block ends; gives their turns.

    The first unexpected reply fails the block. A client whose server goes away stops.
    """
    stopping = threading.Event()
    turns = [0] * clients
    failures: list[object] = []

    def work(number: int) -> None:
        commands = [
            tensorset(f"t{number}", SAMPLES["DOUBLE"]),
            ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, f"y{number}"),
            tensorset(f"s{number}", SAMPLES["STRING"]),
        ]
        with suppress(ConnectionError), server.wire() as wire:
            while not stopping.is_set() and not failures:
                replies = wire.pipeline(*commands)
                if turns[number] % 50 == 0:
                    store = ("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.linear())
                    replies.append(wire(*store))
                if replies != [OK] * len(replies):
                    failures.append(replies)
                turns[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: min(turns) > 0 or failures)
        yield turns
    finally:
        stopping.set()
        for thread in threads:
            thread.join(30)
    assert not failures, failures[0]
    assert not any(thread.is_alive() for thread in threads), "a client was left waiting"


def persistence_idle(wire: Wire) -> bool:
    info = wire("INFO", "persistence")
    busy = (b"rdb_bgsave_in_progress:1", b"aof_rewrite_in_progress:1", b"aof_rewrite_scheduled:1")
    return not any(line in info for line in busy)


def test_bgsave_under_load_never_hangs(make_server: Servers) -> None:
    server = make_server()
    prepare(server)
    with load(server) as turns, server.wire() as wire:
        for _ in range(BGSAVES):
            before = sum(turns)
            assert not isinstance(wire("BGSAVE"), Error)
            wait_until(lambda: persistence_idle(wire), 30)
            assert b"rdb_last_bgsave_status:ok" in wire("INFO", "persistence")
            wait_until(lambda: sum(turns) > before)  # noqa: B023 - called in this round only
    with server.restart().wire() as wire:
        assert_tensor(wire, "t0", SAMPLES["DOUBLE"])
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK


def test_aof_rewrite_under_load_never_hangs(make_server: Servers) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no")
    prepare(server)
    with load(server) as turns, server.wire() as wire:
        for _ in range(REWRITES):
            before = sum(turns)
            assert not isinstance(wire("BGREWRITEAOF"), Error)
            wait_until(lambda: persistence_idle(wire), 30)
            assert b"aof_last_bgrewrite_status:ok" in wire("INFO", "persistence")
            wait_until(lambda: sum(turns) > before)  # noqa: B023 - called in this round only
    with server.restart().wire() as wire:
        for number in range(4):
            assert_tensor(wire, f"s{number}", SAMPLES["STRING"])
            assert get(wire, f"y{number}").shape == (4, 3)
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK


def test_bgsave_while_a_model_is_stored_and_a_backend_imported(make_server: Servers) -> None:
    for _ in range(3):
        server = make_server()
        with server.wire() as wire, server.wire() as storing:
            storing.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.slow_to_load(100))
            while not storing.has_reply():
                wire("BGSAVE")
                wait_until(lambda: persistence_idle(wire), 30)
            assert storing.read() == OK


def write_until_killed(server: Server, start: int, acknowledged: list[int]) -> None:
    """Stores inputs and outputs, numbered from ``start``, until the server goes away."""
    with suppress(ConnectionError), server.wire() as wire:
        for number in count(start):
            put(wire, f"in{number}", np.full((1, 4), number, np.float32))
            assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, f"in{number}", "OUTPUTS", 1, f"out{number}") == OK
            acknowledged.append(number)


def test_kill_9_under_load_loses_no_acknowledged_write(make_server: Servers) -> None:
    server = make_server(appendonly="yes", appendfsync="always")
    acknowledged: list[int] = []
    for start in (0, 1_000_000, 2_000_000):
        prepare(server)
        threads = [
            threading.Thread(target=write_until_killed, args=(server, start + part * 100_000, acknowledged))
            for part in range(4)
        ]
        for thread in threads:
            thread.start()
        target = len(acknowledged) + 200
        wait_until(lambda: len(acknowledged) > target)  # noqa: B023 - called in this round only
        server.kill()
        for thread in threads:
            thread.join(30)
        server.start()
        with server.wire() as wire:
            keys = set(wire("KEYS", "*"))
            assert not [number for number in acknowledged if not {b"in%d" % number, b"out%d" % number} <= keys]
            last = acknowledged[-1]
            assert wire("AI.TENSORGET", f"in{last}", "BLOB") == blob_of(np.full((1, 4), last, np.float32))


@pytest.mark.parametrize("how", [("FLUSHALL", "ASYNC"), ("FLUSHALL",), ("UNLINK",), ("DEL",)])
def test_thousands_of_values_are_freed(server: Server, wire: Wire, how: tuple[str, ...]) -> None:
    for number in range(3000):
        wire.send("AI.TENSORSET", f"t{number}", "FLOAT", 5000)
        wire.send("AI.TENSORSET", f"s{number}", "STRING", 2, "VALUES", "a", "b")
    assert [wire.read() for _ in range(6000)] == [OK] * 6000
    for number in range(40):
        assert wire("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.linear()) == OK
    used = int(server.info("memory")["used_memory"])
    assert used > 60e6
    command = how if how[0] == "FLUSHALL" else (*how, *wire("KEYS", "*"))
    assert wire(*command) in (OK, 6040)
    wait_until(lambda: int(server.info("memory")["used_memory"]) < used - 55e6)
    wait_until(lambda: int(server.info("memory").get("lazyfree_pending_objects", 0)) == 0)
    assert wire("AI._MODELSCAN") == []


def test_flushall_under_load(make_server: Servers) -> None:
    """Models and inputs vanish and come back under the feet of their clients."""
    server = make_server()
    prepare(server)
    stopping = threading.Event()
    odd: list[object] = []
    allowed = (Error("ERR model key is empty"), Error("ERR tensor key is empty or in a different shard"))

    def execute() -> None:
        with server.wire() as wire:
            while not stopping.is_set():
                reply = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
                if reply != OK and reply not in allowed:
                    odd.append(reply)

    threads = [threading.Thread(target=execute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        with server.wire() as wire:
            wire("FLUSHALL", "ASYNC" if number % 2 else "SYNC")
        prepare(server)
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not odd


def test_memory_does_not_grow_with_requests(server: Server, wire: Wire) -> None:
    prepare(server)

    def used() -> int:
        return int(server.info("memory")["used_memory"])

    def rounds(count: int) -> None:
        execute = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        failing = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "y", "OUTPUTS", 1, "z")
        for _ in range(count):
            wire.pipeline(*[execute, failing, tensorset("t", SAMPLES["STRING"])] * 20)
            wire("AI.MODELSTORE", "again", "ONNX", "CPU", "BLOB", models.linear())
            wire("AI.MODELSTORE", "rejected", "ONNX", "CPU", "BLOB", "junk")

    rounds(20)
    before = used()
    rounds(60)
    assert used() - before < 300_000
