"""What every redis-server tells about the commands, and what it makes of it: docs, ACL rules, RESP3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Status, Wire, as_dict, put
from redisai_py.codegen.commands import ACCESS, COMMANDS, Command
from redisai_py.codegen.syntax import Argument, parse

Servers = Callable[..., Server]

by_name = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


@pytest.fixture
def redis7(server: Server) -> Server:
    if server.binary.version < (7, 0, 0):
        pytest.skip("this redis-server knows no descriptions of commands")
    return server


# ---- COMMAND DOCS and COMMAND INFO -----------------------------------------------------


def described(argument: Argument) -> dict[str, Any]:
    """What COMMAND DOCS says of an argument, positions of key specifications aside."""
    flags = {name for name in ("optional", "multiple", "multiple_token") if getattr(argument, name)}
    fields: dict[str, Any] = {"name": argument.name, "type": argument.type}
    if argument.token:
        fields["token"] = argument.token
    if flags:
        fields["flags"] = flags
    if argument.parts:
        fields["arguments"] = [described(part) for part in argument.parts]
    return fields


def read(reply: list[Any]) -> dict[str, Any]:
    fields = as_dict(reply)
    for name in ("key_spec_index", "display_text"):
        fields.pop(name, None)
    for name in ("name", "type", "token"):
        if name in fields:
            fields[name] = fields[name].decode()
    if "flags" in fields:
        fields["flags"] = {flag.text for flag in fields["flags"]}
    if "arguments" in fields:
        fields["arguments"] = [read(part) for part in fields["arguments"]]
    return fields


@by_name
def test_command_docs_say_what_the_table_says(redis7: Server, wire: Wire, command: Command) -> None:
    name, reply = wire("COMMAND", "DOCS", command.name)
    docs = as_dict(reply)
    assert name.decode() == command.name
    for field in ("summary", "since", "complexity"):
        assert docs[field].decode() == getattr(command, field)
    assert [tuple(part.decode() for part in entry) for entry in docs.get("history", [])] == list(command.history)
    assert [read(part) for part in docs.get("arguments", [])] == [described(part) for part in parse(command.syntax)]


@by_name
def test_command_info_has_redisais_flags_and_positions(wire: Wire, command: Command) -> None:
    (entry,) = wire("COMMAND", "INFO", command.name)
    names = {"deny-oom": "denyoom", "getkeys-api": "movablekeys"}
    assert entry[1] == -1, "the command checks its arity itself, with RedisAI's texts"
    assert {flag.text for flag in entry[2]} - {"module"} == {names.get(flag, flag) for flag in command.flags}
    assert tuple(entry[3:6]) == command.keys


@by_name
def test_key_specifications(redis7: Server, wire: Wire, command: Command) -> None:
    (entry,) = wire("COMMAND", "INFO", command.name)
    assert [tip.text if isinstance(tip, Status) else tip.decode() for tip in entry[7]] == command.tips.split()
    specs = [as_dict(spec) for spec in entry[8]]
    if command.reports_keys:
        assert all("incomplete" in {flag.text for flag in spec["flags"]} for spec in specs)
        specs = specs[1:]  # RedisAI's position
    assert len(specs) == len(command.specs)
    for spec, declared in zip(specs, command.specs, strict=True):
        flags = {flag.text.upper() for flag in spec["flags"]} - {"INCOMPLETE", "VARIABLE_FLAGS"}
        assert flags == set(ACCESS[declared.access])
        search = as_dict(as_dict(spec["begin_search"])["spec"])
        assert declared.begin in (search.get("index"), search.get("keyword", b"").decode())


def test_keys_and_what_is_done_with_them(redis7: Server, wire: Wire) -> None:
    def keys(text: str) -> dict[str, str]:
        reply = wire("COMMAND", "GETKEYSANDFLAGS", *text.split())
        return {key.decode(): flags[0].text for key, flags in reply}

    assert keys("AI.TENSORSET t FLOAT 1") == {"t": "OW"}
    assert keys("AI.TENSORGET t") == {"t": "RO"}
    assert keys("AI.MODELDEL m") == {"m": "RM"}
    execution = {"m": "RO", "a": "RO", "OUTPUTS": "RO", "b": "OW"}
    assert keys("AI.MODELEXECUTE m INPUTS 2 a OUTPUTS OUTPUTS 1 b") == execution
    assert keys("AI.MODELRUN m INPUTS a OUTPUTS b") == {"m": "RO", "a": "RO", "b": "OW"}
    assert keys("AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 1 a ARGS 1 x OUTPUTS 1 b") == {
        "s": "RO",
        "k": "RW",
        "a": "RO",
        "b": "OW",
    }
    assert keys("AI.SCRIPTRUN s f INPUTS a $ c OUTPUTS b") == {"s": "RO", "a": "RO", "c": "RO", "b": "OW"}
    dag = "AI.DAGEXECUTE LOAD 1 a PERSIST 1 b ROUTING r |> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 x"
    assert keys(dag) == {"a": "RO", "b": "OW", "r": "RO", "m": "RO"}


# ---- ACL ---------------------------------------------------------------------------


def test_rules_for_reading_and_writing(redis7: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m:1", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    put(wire, "in:1", np.ones(1, np.float32))
    rules = ("on", "nopass", "+@all", "%R~m:*", "%R~in:*", "%W~out:*")
    assert wire("ACL", "SETUSER", "worker", *rules) == OK
    try:
        with redis7.wire() as worker:
            assert worker("AUTH", "worker", "") == OK
            execute = ("AI.MODELEXECUTE", "m:1", "INPUTS", 2, "in:1", "in:1", "OUTPUTS", 1)
            assert worker(*execute, "out:1") == OK
            assert worker("AI.TENSORGET", "in:1", "META")[1] == b"FLOAT"
            assert worker("AI.TENSORSET", "out:2", "FLOAT", 1) == OK
            dag = "AI.DAGEXECUTE LOAD 1 in:1 PERSIST 1 out:3 |> AI.MODELEXECUTE m:1 INPUTS 2 in:1 in:1 OUTPUTS 1 out:3"
            assert worker(*dag.split()) == [OK]
            for refused in (
                (*execute, "in:1"),
                ("AI.MODELEXECUTE", "m:1", "INPUTS", 2, "out:1", "in:1", "OUTPUTS", 1, "out:1"),
                ("AI.TENSORGET", "out:1"),
                ("AI.TENSORSET", "in:1", "FLOAT", 1),
                ("AI.MODELDEL", "m:1"),
                ("AI.MODELSTORE", "m:1", "ONNX", "CPU", "BLOB", models.multiply()),
                tuple(dag.replace("PERSIST 1 out:3", "PERSIST 1 in:1").split()),
            ):
                assert worker(*refused).text.startswith("NOPERM"), refused
    finally:
        wire("ACL", "DELUSER", "worker")


def test_category(server: Server, wire: Wire) -> None:
    if server.binary.version < (7, 4, 0):
        assert isinstance(wire("ACL", "CAT", "ai"), Error)
        return
    assert {name.decode() for name in wire("ACL", "CAT", "ai")} == {command.name for command in COMMANDS}
    assert wire("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+@ai", "-@write") == OK
    assert wire("ACL", "DRYRUN", "reader", "AI.TENSORGET", "t") == OK
    assert wire("ACL", "DRYRUN", "reader", "AI.TENSORSET", "t", "FLOAT", 1) != OK
    assert wire("ACL", "DRYRUN", "reader", "GET", "t") != OK
    wire("ACL", "DELUSER", "reader")


# ---- RESP3 ---------------------------------------------------------------------------


def test_names_and_values_are_maps_for_clients_of_resp3(redis7: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v1", "BLOB", models.multiply()) == OK
    put(wire, "t", np.array([1.5, -2], np.float32))
    commands = (
        ("AI.TENSORGET", "t"),
        ("AI.TENSORGET", "t", "META"),
        ("AI.TENSORGET", "t", "META", "VALUES"),
        ("AI.MODELGET", "m"),
        ("AI.INFO", "m"),
        ("AI.INFO",),
        ("AI.CONFIG", "GET", "LIVE_OBJECTS"),
    )
    with redis7.wire(protocol=3) as modern:
        for command in commands:
            flat, map_ = wire(*command), modern(*command)
            assert isinstance(flat, list) and isinstance(map_, dict)
            assert list(map_) == flat[::2]
        assert modern("AI.TENSORGET", "t", "VALUES") == [1.5, -2.0]
        dag = "AI.DAGEXECUTE LOAD 1 t |> AI.TENSORGET t META VALUES"
        assert modern(*dag.split()) == [{b"dtype": b"FLOAT", b"shape": [2], b"values": [1.5, -2.0]}]


def test_resp2_is_as_it_was(wire: Wire) -> None:
    put(wire, "t", np.array([1.5, -2], np.float32))
    assert wire("AI.TENSORGET", "t", "META", "VALUES") == [
        *(b"dtype", b"FLOAT"),
        *(b"shape", [2]),
        *(b"values", [b"1.5", b"-2"]),
    ]
