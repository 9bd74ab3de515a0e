"""MULTI/EXEC, Lua, WATCH and pipelines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, put
from harness.tensors import tensorset

FORBIDDEN = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")
QUEUED = Status("QUEUED")

ONES = np.ones(2, np.float32)
EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c")
STORE = ("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "t", "BLOB", models.multiply())


def transaction(wire: Wire, *commands: tuple[object, ...]) -> object:
    assert wire("MULTI") == OK
    for command in commands:
        assert wire(*command) == QUEUED
    return wire("EXEC")


def lua(wire: Wire, *command: str | int | bytes) -> object:
    """The command's reply through a script; its error as the script's error."""
    return wire("EVAL", "return redis.pcall(unpack(ARGV))", 0, *command)


def test_tensor_commands_in_a_transaction(wire: Wire) -> None:
    replies = transaction(
        wire,
        tensorset("t", ONES),
        ("AI.TENSORGET", "t", "META"),
        ("AI.TENSORSET", "t", "FLOAT", -1),
        ("AI.TENSORGET", "t", "BLOB"),
    )
    assert replies == [
        OK,
        [b"dtype", b"FLOAT", b"shape", [2]],
        Error("ERR invalid or negative value found in tensor shape"),
        ONES.tobytes(),
    ]


def test_discarded_commands_do_nothing(wire: Wire) -> None:
    wire("MULTI")
    assert wire(*STORE) == QUEUED
    assert wire(*tensorset("t", ONES)) == QUEUED
    assert wire("DISCARD") == OK
    assert wire("DBSIZE") == 0


def test_model_commands_work_in_place_in_a_transaction(wire: Wire) -> None:
    replies = transaction(
        wire,
        STORE,
        ("AI.MODELGET", "m", "BLOB"),
        ("AI._MODELSCAN",),
        ("AI.INFO", "m", "RESETSTAT"),
        ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
    )
    assert replies == [OK, models.multiply(), [[b"m", b"t"]], OK, 535822336]
    put(wire, "a", ONES * 3)
    assert wire(*EXECUTE) == OK
    assert_tensor(wire, "c", ONES * 9)


def test_a_rejected_model_in_a_transaction_is_its_element_only(wire: Wire) -> None:
    rejected, arity, last = transaction(
        wire, ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"), ("AI.MODELSTORE", "m"), ("EXISTS", "m")
    )
    assert isinstance(rejected, Error)
    assert isinstance(arity, Error)
    assert last == 0


def test_modelstore_first_in_its_process_inside_a_transaction(make_server: Callable[..., Server]) -> None:
    """Even the import of the backend happens in place."""
    with make_server().wire() as wire:
        assert transaction(wire, STORE, ("AI.MODELDEL", "m")) == [OK, OK]


def test_modelstore_over_another_type_in_a_transaction(wire: Wire) -> None:
    wrong_type = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert transaction(wire, ("SET", "m", "v"), STORE, ("GET", "m")) == [OK, wrong_type, b"v"]


@pytest.mark.parametrize("arguments", [EXECUTE[1:], (), ("absent",), ("m", "JUNK", "x", "y", "z", "u", "v")])
def test_modelexecute_is_refused_in_a_transaction_before_any_parsing(wire: Wire, arguments: tuple[object, ...]) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES)
    assert transaction(wire, ("AI.MODELEXECUTE", *arguments), ("EXISTS", "c")) == [FORBIDDEN, 0]
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 0


@pytest.mark.parametrize("arguments", [EXECUTE[1:], (), ("absent", "INPUTS")])
def test_modelexecute_is_refused_in_lua_before_any_parsing(wire: Wire, arguments: tuple[str | int, ...]) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES)
    assert lua(wire, "AI.MODELEXECUTE", *arguments) == FORBIDDEN
    assert wire("EXISTS", "c") == 0


def test_other_commands_work_in_lua(wire: Wire) -> None:
    assert lua(wire, *STORE) == OK
    assert lua(wire, *tensorset("a", ONES * 2)) == OK
    assert lua(wire, "AI.TENSORGET", "a", "META") == [b"dtype", b"FLOAT", b"shape", [2]]
    assert lua(wire, "AI.MODELGET", "m", "BLOB") == models.multiply()
    assert lua(wire, "AI.INFO", "m")[:2] == [b"key", b"m"]
    assert lua(wire, "AI._MODELSCAN") == [[b"m", b"t"]]
    assert wire(*EXECUTE) == OK
    assert_tensor(wire, "c", ONES * 4)
    assert lua(wire, "AI.MODELDEL", "m") == OK


def test_a_rejected_model_in_lua_is_an_error_reply(wire: Wire) -> None:
    assert isinstance(lua(wire, "AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"), Error)
    assert wire("EXISTS", "m") == 0


def watched(server: Server, wire: Wire, key: str, *change: object) -> object:
    """EXEC's reply in a connection that watched a key while ``wire`` changed it."""
    with server.wire() as watcher:
        watcher("WATCH", key)
        assert wire(*change) == OK
        return transaction(watcher, ("PING",))


def test_every_write_is_seen_by_watch(server: Server, wire: Wire) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES)
    assert watched(server, wire, "a", *tensorset("a", ONES)) is None
    assert watched(server, wire, "m", *STORE) is None
    assert watched(server, wire, "c", *EXECUTE) is None
    assert watched(server, wire, "m", "AI.MODELDEL", "m") is None


def test_writes_of_deprecated_commands_scripts_aliases_and_dags_are_seen_by_watch(server: Server, wire: Wire) -> None:
    source = "def f(a):\n    return a\n"
    model = ("AI.MODELSET", "m", "ONNX", "CPU", "BLOB", models.multiply())
    put(wire, "a", ONES)
    assert watched(server, wire, "m", *model) is None
    assert watched(server, wire, "c", "AI.MODELRUN", "m", "INPUTS", "a", "a", "OUTPUTS", "c") is None
    assert watched(server, wire, "n", "AI.MODELALIAS", "SET", "n", "m") is None
    assert watched(server, wire, "n", "AI.MODELALIAS", "DEL", "n") is None
    assert watched(server, wire, "s", "AI.SCRIPTSET", "s", "CPU", "SOURCE", source) is None
    assert watched(server, wire, "c", "AI.SCRIPTRUN", "s", "f", "INPUTS", "a", "OUTPUTS", "c") is None
    assert watched(server, wire, "s", "AI.SCRIPTDEL", "s") is None
    with server.wire() as watcher:
        watcher("WATCH", "d")
        dag = ("PERSIST", 1, "d", "|>", *tensorset("d", ONES))
        assert wire("AI.DAGEXECUTE", *dag) == [OK]
        assert transaction(watcher, ("PING",)) is None


@pytest.mark.parametrize(
    "command",
    [
        ("AI.TENSORSET", "a", "FLOAT", "two"),
        ("AI.TENSORSET", "text", "FLOAT", 1),
        ("AI.TENSORSET", "absent", "FLOAT", 1, "VALUES", "x"),
        ("AI.MODELDEL", "a"),
        ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"),
        ("AI.MODELSTORE", "text", "ONNX", "CPU", "BLOB", models.multiply()),
        ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "text"),
        ("AI.MODELEXECUTE", "two", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "absent", "text"),
        ("AI.MODELALIAS", "SET", "text", "m"),
    ],
    ids=lambda command: " ".join(map(str, command[:3])),
)
def test_a_command_that_fails_changes_nothing(server: Server, wire: Wire, command: tuple[object, ...]) -> None:
    assert wire(*STORE) == OK
    assert wire("AI.MODELSTORE", "two", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    put(wire, "a", ONES)
    wire("SET", "text", "x")
    with server.wire() as watcher, server.wire(protocol=3) as tracking:
        tracking("CLIENT", "TRACKING", "ON", "BCAST")
        watcher("WATCH", "a", "m", "text", "absent")
        assert isinstance(wire(*command), Error)
        assert transaction(watcher, ("PING",)) == [Status("PONG")]
        assert tracking("PING") == Status("PONG")  # and nothing pushed before it


def test_a_dag_that_may_not_persist_changes_nothing(server: Server, wire: Wire) -> None:
    wire("SET", "text", "x")
    with server.wire() as watcher:
        watcher("WATCH", "absent", "text")
        tensors = (*tensorset("absent", ONES), "|>", *tensorset("text", ONES))
        reply = wire("AI.DAGEXECUTE", "PERSIST", 2, "absent", "text", "|>", *tensors)
        assert isinstance(reply[2], Error)
        assert transaction(watcher, ("PING",)) == [Status("PONG")]


def test_reads_and_untouched_keys_are_not_changes(server: Server, wire: Wire) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES)
    assert watched(server, wire, "a", *EXECUTE) == [Status("PONG")]
    with server.wire() as watcher:
        watcher("WATCH", "a", "m")
        wire("AI.TENSORGET", "a")
        wire("AI.MODELGET", "m")
        wire("AI.INFO", "m")
        assert transaction(watcher, ("PING",)) == [Status("PONG")]


def test_client_side_caching_hears_of_outputs(server: Server, wire: Wire) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES)
    put(wire, "c", ONES)
    with server.wire(protocol=3) as tracking:
        tracking("CLIENT", "TRACKING", "ON")
        tracking("AI.TENSORGET", "c", "META")
        assert wire(*EXECUTE) == OK
        assert tracking.read() == [b"invalidate", [b"c"]]


def test_pipeline_of_stores_executions_and_errors_keeps_its_order(wire: Wire) -> None:
    put(wire, "a", ONES)
    commands = [
        STORE,
        EXECUTE,
        ("AI.MODELEXECUTE", "absent", *EXECUTE[2:]),
        ("PING",),
        ("AI.TENSORGET", "c", "BLOB"),
        ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk"),
        ("AI.MODELDEL", "m"),
    ]
    for _ in range(5):
        replies = wire.pipeline(*commands)
        assert replies[:2] == [OK, OK]
        assert replies[2:5] == [Error("ERR model key is empty"), Status("PONG"), ONES.tobytes()]
        assert isinstance(replies[5], Error)
        assert replies[6] == OK


def test_transaction_after_a_pipelined_execution_sees_its_output(wire: Wire) -> None:
    assert wire(*STORE) == OK
    put(wire, "a", ONES * 3)
    replies = wire.pipeline(EXECUTE, ("MULTI",), ("AI.TENSORGET", "c", "BLOB"), ("EXEC",))
    assert replies == [OK, OK, QUEUED, [(ONES * 9).tobytes()]]
