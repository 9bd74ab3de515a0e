"""maxmemory: writes are refused with Redis' error, or values are evicted, and what they used is given back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Wire, assert_tensor, put, wait_until
from harness.tensors import tensorset

Servers = Callable[..., Server]

pytestmark = pytest.mark.one_server

OOM = Error("OOM command not allowed when used memory > 'maxmemory'.")
SOURCE = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"
MEGABYTES = 6
COUNT = 12


def used(server: Server) -> int:
    return int(server.info("memory")["used_memory"])


def evicted(server: Server) -> int:
    return int(server.info("stats")["evicted_keys"])


def limit(server: Server, above: float) -> None:
    with server.wire() as wire:
        assert wire("CONFIG", "SET", "maxmemory", int(used(server) + above)) == OK


def fill(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", SOURCE) == OK
    put(wire, "x", np.ones(2, np.float32))


def test_writes_are_refused_when_memory_is_full(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server(binary=redis_binary)
    execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "y", "z")
    with server.wire() as wire:
        fill(wire)
        assert wire("CONFIG", "SET", "maxmemory", 100_000) == OK
        for write in (
            tensorset("t", np.ones(2, np.float32)),
            ("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB", models.two_outputs()),
            ("AI.MODELSET", "n", "ONNX", "CPU", "BLOB", models.two_outputs()),
            ("AI.SCRIPTSTORE", "t", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", SOURCE),
            ("AI.SCRIPTSET", "t", "CPU", "SOURCE", SOURCE),
            execute,
            ("AI.MODELRUN", "m", "INPUTS", "x", "x", "OUTPUTS", "y", "z"),
            ("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y"),
            ("AI.DAGEXECUTE", "LOAD", 1, "x", "PERSIST", 1, "y", "|>", "AI.TENSORSET", "y", "FLOAT", 1),
        ):
            assert wire(*write) == OOM, write[0]
        assert wire("AI.TENSORGET", "x", "VALUES") == [b"1", b"1"]
        dag = ("AI.DAGEXECUTE_RO", "LOAD", 1, "x", "|>", *execute, "|>", "AI.TENSORGET", "y", "VALUES")
        assert wire(*dag) == [OK, [b"2", b"2"]]
        assert wire("AI.MODELGET", "m", "BLOB") == models.two_outputs()
        # What makes room is not refused.
        assert wire("AI.MODELDEL", "m") == OK
        assert wire("AI.SCRIPTDEL", "s") == OK
        assert wire("CONFIG", "SET", "maxmemory", 0) == OK
        fill(wire)
        assert wire(*execute) == OK


@pytest.fixture
def full(redis_binary: RedisBinary, make_server: Servers) -> Server:
    """A server with models of some megabytes, and no room for another."""
    server = make_server(
        binary=redis_binary, maxmemory_policy="allkeys-lru", maxmemory_samples=64, lazyfree_lazy_eviction="no"
    )
    with server.wire() as wire:
        for number in range(COUNT):
            assert wire("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.weighted(MEGABYTES)) == OK
    wait_until(lambda: server.live_objects()["jobs"] == 0)
    limit(server, above=1e6)
    return server


def framework_memory(server: Server) -> int:
    return int(server.info()["ai_onnxruntime_memory"])


def test_as_many_models_are_evicted_as_room_is_needed(full: Server) -> None:
    """Not more: what an evicted model held must be free when Redis looks whether that was enough."""
    before = framework_memory(full)
    with full.wire() as wire:
        for number in range(4):
            assert wire("SET", f"large:{number}", "x" * 3_000_000) == OK
            assert evicted(full) <= number + 2
        gone = evicted(full)
        assert gone >= 2
        assert wire("DBSIZE") == COUNT + 4 - gone
        assert len(wire("AI._MODELSCAN")) == COUNT - gone
    maxmemory = int(full.info("memory")["maxmemory"])
    assert used(full) <= maxmemory
    # The frameworks' memory goes, too, a little later.
    wait_until(lambda: full.live_objects()["models"] == COUNT - gone)
    wait_until(lambda: framework_memory(full) < before - (gone - 0.5) * MEGABYTES * 1e6)


def test_evicted_by_the_lazy_free_thread(full: Server) -> None:
    """Redis then evicts several at a time, and looks now and then whether that thread has freed enough."""
    with full.wire() as wire:
        assert wire("CONFIG", "SET", "lazyfree-lazy-eviction", "yes") == OK
        wait_until(lambda: wire("SET", "large", "x" * 3_000_000) == OK, 2)
        assert wire("EXISTS", "large") == 1
        wait_until(lambda: full.live_objects()["models"] == len(wire("AI._MODELSCAN")) < COUNT)


def test_a_model_is_evicted_for_a_model(full: Server) -> None:
    with full.wire() as wire:
        for number in range(COUNT, 2 * COUNT):
            reply = wire("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.weighted(MEGABYTES))
            assert reply in (OK, OOM)  # the command itself needs room before it is looked at
        wire("SET", "k", "v")
        names = [key for key, _ in wire("AI._MODELSCAN")]
        assert COUNT - 4 <= len(names) <= COUNT + 1
        wait_until(lambda: full.live_objects()["models"] == len(names))
        wait_until(lambda: framework_memory(full) < (len(names) + 1) * MEGABYTES * 1.2e6)


def test_tensors_and_scripts_are_evicted(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server(
        binary=redis_binary, maxmemory_policy="allkeys-lru", maxmemory_samples=64, lazyfree_lazy_eviction="no"
    )
    with server.wire() as wire:
        for number in range(50):
            source = f"# {'x' * 20_000}\ndef f{number}(a):\n    return a\n"
            assert wire("AI.SCRIPTSET", f"s{number}", "CPU", "SOURCE", source) == OK
        for number in range(200):
            put(wire, f"t{number}", np.zeros(25_000, np.float32))
        limit(server, above=0.5e6)
        for number in range(200):
            put(wire, f"u{number}", np.full(25_000, number, np.float32))
        assert used(server) <= int(server.info("memory")["maxmemory"])
        assert wire("CONFIG", "SET", "maxmemory", 0) == OK  # reading takes memory, too
        left = wire("KEYS", "*")
        assert evicted(server) >= 450 - len(left) > 150
        assert len(wire("AI._SCRIPTSCAN")) == sum(key.startswith(b"s") for key in left) < 50
        for key in left:
            if key.startswith(b"u"):
                assert_tensor(wire, key.decode(), np.full(25_000, int(key[1:]), np.float32))
    wait_until(lambda: server.live_objects()["models"] == len([key for key in left if key.startswith(b"s")]))
    server.wait_for_rest()


def test_a_model_that_runs_may_be_evicted(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server(binary=redis_binary, maxmemory_policy="allkeys-lru")
    with server.wire() as wire, server.wire() as waiting:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "x", np.full((1, 1), models.turns_for(0.3), np.float32))
        waiting.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        wait_until(lambda: server.blocked_clients() == 1)
        assert wire("CONFIG", "SET", "maxmemory", 1) == OK
        wait_until(lambda: wire("DBSIZE") == 0)
        assert wire("CONFIG", "SET", "maxmemory", 0) == OK
        assert waiting.read() == OK
        assert_tensor(wire, "y", np.array([[1]], np.int64))
        wait_until(lambda: server.live_objects() == {**server.live_objects(), "models": 0, "tensors": 1})
