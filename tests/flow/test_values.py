"""The values are good citizens of the keyspace: on every redis-server, what Redis does with its own types works."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import models
import torch_models
from harness import OK, Error, RedisBinary, Server, Status, Wire, assert_tensor, put, wait_until

Servers = Callable[..., Server]

SCRIPT = "def add(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0] + tensors[1]\n"
STORE_SCRIPT = ("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "add", "SOURCE", SCRIPT)
ONES = np.ones(4, np.float32)


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


@pytest.fixture
def stored(wire: Wire) -> Wire:
    """A model m, a script s and a tensor t."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v1", "BLOB", models.two_outputs()) == OK
    assert wire(*STORE_SCRIPT) == OK
    put(wire, "t", ONES)
    return wire


KEYS = ("m", "s", "t")
TYPES = {"m": "AI__MODEL", "s": "AI_SCRIPT", "t": "AI_TENSOR"}


def digest(wire: Wire, key: str) -> bytes:
    (value,) = wire("DEBUG", "DIGEST-VALUE", key)
    return value.text if isinstance(value, Status) else value


@pytest.mark.parametrize("key", KEYS)
def test_a_copy_equals_its_original_until_it_is_changed(stored: Wire, key: str) -> None:
    assert stored("COPY", key, "copy") == 1
    assert digest(stored, "copy") == digest(stored, key)
    assert stored("COPY", key, "copy") == 0
    assert stored("COPY", key, "copy", "REPLACE") == 1
    assert stored("COPY", key, "copy", "DB", 1) == 1


@pytest.mark.parametrize("key", KEYS)
def test_digests_tell_values_apart(stored: Wire, key: str) -> None:
    before = digest(stored, key)
    stored(*STORE_SCRIPT[:3], "TAG", "other", *STORE_SCRIPT[3:])
    stored("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v2", "BLOB", models.two_outputs())
    put(stored, "t", ONES * 2)
    assert digest(stored, key) != before


@pytest.mark.parametrize("key", KEYS)
def test_rename_move_and_expire(stored: Wire, key: str) -> None:
    before = digest(stored, key)
    stored("RENAME", key, "renamed")
    stored("EXPIRE", "renamed", 100)
    assert stored("MOVE", "renamed", 2) == 1
    assert stored("EXISTS", "renamed") == 0
    stored("SELECT", 2)
    assert stored("TTL", "renamed") > 90
    stored("PERSIST", "renamed")
    assert digest(stored, "renamed") == before
    stored("PEXPIRE", "renamed", 1)
    wait_until(lambda: stored("EXISTS", "renamed") == 0)
    stored("SELECT", 0)


@pytest.mark.parametrize("key", KEYS)
def test_dump_and_restore(stored: Wire, key: str) -> None:
    payload = stored("DUMP", key)
    assert stored("RESTORE", "restored", 100_000, payload) == OK
    assert stored("TTL", "restored") > 90
    stored("PERSIST", "restored")
    assert digest(stored, "restored") == digest(stored, key)
    assert isinstance(stored("RESTORE", "broken", 0, payload[:-12] + payload[-10:]), Error)


@pytest.mark.parametrize("key", KEYS)
def test_type_scan_and_object(stored: Wire, key: str) -> None:
    assert stored("TYPE", key) == Status(TYPES[key])
    cursor, found = b"0", []
    while True:
        cursor, some = stored("SCAN", cursor, "TYPE", TYPES[key])
        found += some
        if cursor == b"0":
            break
    assert found == [key.encode()]
    assert stored("OBJECT", "ENCODING", key) in (b"raw", b"unknown")
    assert stored("OBJECT", "REFCOUNT", key) == 1
    assert stored("OBJECT", "IDLETIME", key) >= 0


def test_memory_usage_counts_data_blob_and_session(wire: Wire) -> None:
    wire("AI.TENSORSET", "t", "DOUBLE", 1000)
    assert 8000 <= wire("MEMORY", "USAGE", "t") < 8600
    blob = models.linear(500, 500)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
    assert wire("MEMORY", "USAGE", "m") >= 2 * len(blob)  # ours and onnxruntime's
    blob = torch_models.saved(torch.nn.Linear(1000, 1))
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == OK
    assert wire("MEMORY", "USAGE", "m") >= len(blob) + 4 * 1000


@pytest.mark.parametrize("command", ["UNLINK", "FLUSHALL ASYNC"])
def test_large_values_are_freed_elsewhere(server: Server, wire: Wire, command: str) -> None:
    def freed() -> int:
        return int(server.info("memory").get("lazyfreed_objects", 0))

    before = freed()
    wire("AI.TENSORSET", "t", "DOUBLE", 1_000_000)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear(1500, 1500)) == OK
    wire("UNLINK", "t", "m") if command == "UNLINK" else wire(*command.split())
    wait_until(lambda: freed() >= before + 2)
    wait_until(lambda: server.live_objects()["tensors"] == server.live_objects()["models"] == 0)


# ---- notifications ---------------------------------------------------------------


@pytest.fixture
def events(server: Server, stored: Wire) -> Iterator[Callable[[int], list[tuple[str, str]]]]:
    """So many (event, key) pairs, in their order."""
    stored("CONFIG", "SET", "notify-keyspace-events", "Edg")
    with server.wire() as subscriber:
        subscriber("PSUBSCRIBE", "__keyevent@0__:*")

        def read(count: int) -> list[tuple[str, str]]:
            messages = [subscriber.read() for _ in range(count)]
            return [(message[2].decode().split(":", 1)[1], message[3].decode()) for message in messages]

        yield read
        assert not subscriber.has_reply(), "more events than expected"
    stored("CONFIG", "SET", "notify-keyspace-events", "")


def test_every_change_is_notified(stored: Wire, events: Callable[[int], list[tuple[str, str]]]) -> None:
    put(stored, "x", ONES)
    stored("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "t", "OUTPUTS", 2, "sum", "difference")
    stored("AI.SCRIPTEXECUTE", "s", "add", "INPUTS", 2, "x", "t", "OUTPUTS", 1, "y")
    dag = "AI.DAGEXECUTE LOAD 1 x PERSIST 1 z |> AI.MODELEXECUTE m INPUTS 2 x x OUTPUTS 2 z w"
    assert stored(*dag.split()) == [OK]
    assert events(5) == [
        ("tensorset", "x"),
        ("modelexecute", "sum"),
        ("modelexecute", "difference"),
        ("scriptexecute", "y"),
        ("dagexecute", "z"),
    ]
    stored("AI.MODELSTORE", "m2", "ONNX", "CPU", "BLOB", models.two_outputs())
    stored(STORE_SCRIPT[0], "s2", *STORE_SCRIPT[2:])
    stored("AI.MODELDEL", "m2")
    stored("AI.SCRIPTDEL", "s2")
    assert events(6) == [
        ("modelstore", "m2"),
        ("scriptstore", "s2"),
        *(("modeldel", "m2"), ("del", "m2")),
        *(("scriptdel", "s2"), ("del", "s2")),
    ]


def test_what_fails_is_not_notified(stored: Wire, events: Callable[[int], list[tuple[str, str]]]) -> None:
    stored("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", "none")
    stored("AI.MODELSTORE", "m2", "ONNX", "CPU", "BLOB", "junk")
    stored("AI.MODELDEL", "absent")
    stored("AI.MODELEXECUTE", "m", "INPUTS", 2, "t", "t", "OUTPUTS", 2, "m", "y")
    assert events(0) == []


# ---- active defragmentation ----------------------------------------------------------


def test_values_move_without_harm(server: Server, wire: Wire) -> None:
    if wire("CONFIG", "SET", "activedefrag", "yes") != OK:
        pytest.skip("this redis-server cannot move memory")
    wire("CONFIG", "SET", "active-defrag-threshold-lower", 1)
    wire("CONFIG", "SET", "active-defrag-ignore-bytes", 1)
    wire("CONFIG", "SET", "active-defrag-cycle-min", 70)
    wire("CONFIG", "SET", "active-defrag-cycle-max", 99)
    try:
        sizes = (3, 40, 150, 700)
        for number in range(4000):
            wire("AI.TENSORSET", f"t{number}", "INT32", sizes[number % 4], "VALUES", *[number] * sizes[number % 4])
            if number % 10 == 0:
                strings = [f"{number} {i}" for i in range(5)]
                wire("AI.TENSORSET", f"s{number}", "STRING", 5, "VALUES", *strings)
                wire("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.multiply())
        for number in range(4000):
            if number % 5:
                wire("DEL", f"t{number}")  # holes everywhere
        wait_until(lambda: int(server.info("stats")["active_defrag_hits"]) > 300, 60)
        for number in range(0, 4000, 5):
            assert_tensor(wire, f"t{number}", np.full(sizes[number % 4], number, np.int32))
        for number in range(0, 4000, 10):
            assert wire("AI.TENSORGET", f"s{number}", "VALUES") == [f"{number} {i}".encode() for i in range(5)]
            assert wire("AI.MODELGET", f"m{number}", "BLOB") == models.multiply()
        put(wire, "x", np.arange(3, dtype=np.float32))
        assert wire("AI.MODELEXECUTE", "m0", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == OK
        assert_tensor(wire, "y", np.array([0, 1, 4], np.float32))
    finally:
        wire("CONFIG", "SET", "activedefrag", "no")
