"""AI.MODELDEL, and AI._MODELSCAN through everything that happens to a key."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, put

MISSING = Error("ERR model key is empty")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_INFO = Error("ERR cannot find run info for key")


def store(wire: Wire, key: str, tag: str = "") -> None:
    assert wire("AI.MODELSTORE", key, "ONNX", "CPU", "TAG", tag, "BLOB", models.multiply()) == OK


def scan(wire: Wire) -> list[list[bytes]]:
    reply = wire("AI._MODELSCAN")
    assert isinstance(reply, list), reply
    return sorted(reply)


@pytest.fixture
def other(server: Server, wire: Wire) -> Iterator[Wire]:
    """A connection that selected database 1."""
    with server.wire(db=1) as connection:
        yield connection


@pytest.mark.parametrize("arguments", [(), ("m", "n")])
def test_modeldel_with_a_wrong_number_of_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.MODELDEL", *arguments) == server.arity_error("AI.MODELDEL")


def test_modeldel_errors(wire: Wire) -> None:
    assert wire("AI.MODELDEL", "absent") == MISSING
    wire("SET", "k", "v")
    put(wire, "t", np.ones(1, np.float32))
    assert wire("AI.MODELDEL", "k") == WRONG_TYPE
    assert wire("AI.MODELDEL", "t") == WRONG_TYPE
    assert wire("EXISTS", "k", "t") == 2


DELETIONS = {
    "AI.MODELDEL": [("AI.MODELDEL", "m")],
    "DEL": [("DEL", "m")],
    "UNLINK": [("UNLINK", "m")],
    "FLUSHDB": [("FLUSHDB",)],
    "FLUSHALL ASYNC": [("FLUSHALL", "ASYNC")],
    "expiry": [("PEXPIRE", "m", 1), ("DEBUG", "SLEEP", "0.01"), ("EXISTS", "m")],
    "overwritten": [("SET", "m", "v"), ("DEL", "m")],
    "renamed over": [("SET", "other", "v"), ("RENAME", "other", "m"), ("DEL", "m")],
}


@pytest.mark.parametrize("commands", DELETIONS.values(), ids=DELETIONS.keys())
def test_deleted_model_is_gone_everywhere(wire: Wire, commands: list[tuple[str | int, ...]]) -> None:
    store(wire, "m", "tag")
    for command in commands:
        assert not isinstance(wire(*command), Error)
    assert wire("AI.MODELGET", "m") == MISSING
    assert wire("AI.INFO", "m") == NO_INFO
    assert scan(wire) == []
    put(wire, "a", np.ones(1, np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "b") == MISSING


def test_modelscan_takes_no_arguments(server: Server, wire: Wire) -> None:
    assert wire("AI._MODELSCAN", "x") == server.arity_error("AI._MODELSCAN")


def test_modelscan_lists_keys_with_their_tags(wire: Wire) -> None:
    assert scan(wire) == []
    store(wire, "a", "one")
    store(wire, "b")
    store(wire, "c", "three")
    put(wire, "t", np.ones(1, np.float32))
    assert scan(wire) == [[b"a", b"one"], [b"b", b""], [b"c", b"three"]]


def test_modelscan_warns_in_the_log(server: Server, wire: Wire) -> None:
    before = server.log.count("MODELSCAN is experimental and might be removed in future versions")
    wire("AI._MODELSCAN")
    after = server.log.count("MODELSCAN is experimental and might be removed in future versions")
    assert after == before + 1


def run_info_key(wire: Wire, key: str) -> object:
    reply = wire("AI.INFO", key)
    return reply if isinstance(reply, Error) else reply[1]


def test_rename_is_followed(wire: Wire) -> None:
    store(wire, "old", "t")
    wire("RENAME", "old", "new")
    assert scan(wire) == [[b"new", b"t"]]
    assert run_info_key(wire, "new") == b"new"
    assert run_info_key(wire, "old") == NO_INFO


def test_rename_over_another_model_is_followed(wire: Wire) -> None:
    store(wire, "old", "t")
    store(wire, "new", "u")
    wire("RENAME", "old", "new")
    assert scan(wire) == [[b"new", b"t"]]


def test_rename_keeps_the_statistics(wire: Wire) -> None:
    store(wire, "old")
    put(wire, "a", np.ones(1, np.float32))
    assert wire("AI.MODELEXECUTE", "old", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK
    wire("RENAME", "old", "new")
    assert wire("AI.INFO", "new")[14:16] == [b"calls", 1]


def test_move_is_followed(wire: Wire, other: Wire) -> None:
    store(wire, "m", "t")
    assert wire("MOVE", "m", 1) == 1
    assert scan(wire) == []
    assert scan(other) == [[b"m", b"t"]]
    assert run_info_key(wire, "m") == NO_INFO
    assert run_info_key(other, "m") == b"m"


def test_copy_is_followed(wire: Wire, other: Wire) -> None:
    store(wire, "m", "t")
    assert wire("COPY", "m", "n") == 1
    assert wire("COPY", "m", "m", "DB", 1) == 1
    assert scan(wire) == [[b"m", b"t"], [b"n", b"t"]]
    assert scan(other) == [[b"m", b"t"]]
    assert run_info_key(wire, "n") == b"n"
    wire("DEL", "m")
    assert scan(wire) == [[b"n", b"t"]]
    assert run_info_key(other, "m") == b"m"


def test_swapdb_is_followed(wire: Wire, other: Wire) -> None:
    store(wire, "m", "zero")
    store(other, "m", "one")
    store(other, "n", "one")
    wire("SWAPDB", 0, 1)
    assert scan(wire) == [[b"m", b"one"], [b"n", b"one"]]
    assert scan(other) == [[b"m", b"zero"]]
    assert run_info_key(other, "n") == NO_INFO


def test_flushdb_is_followed(wire: Wire, other: Wire) -> None:
    store(wire, "m")
    store(other, "m")
    wire("FLUSHDB")
    assert scan(wire) == []
    assert scan(other) == [[b"m", b""]]
    assert run_info_key(wire, "m") == NO_INFO
    wire("FLUSHALL", "ASYNC")
    assert scan(other) == []


def test_same_name_in_two_databases_has_two_entries(wire: Wire, other: Wire) -> None:
    store(wire, "m", "zero")
    store(other, "m", "one")
    put(other, "a", np.ones(1, np.float32))
    assert other("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK
    assert wire("AI.INFO", "m")[8:10] == [b"tag", b"zero"]
    assert wire("AI.INFO", "m")[14:16] == [b"calls", 0]
    assert other("AI.INFO", "m")[14:16] == [b"calls", 1]


def test_restored_model_is_listed(wire: Wire) -> None:
    store(wire, "m", "t")
    wire("RESTORE", "n", 0, wire("DUMP", "m"))
    assert scan(wire) == [[b"m", b"t"], [b"n", b"t"]]
