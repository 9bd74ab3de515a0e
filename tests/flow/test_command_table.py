"""What every redis-server knows about the commands and types: flags, key positions, names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Status, Wire, put, wait_until


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Callable[..., Server]) -> Server:
    return module_servers(binary=redis_binary)


WRITE_OOM = {"write", "denyoom"}
GETKEYS = "movablekeys"

COMMANDS = {
    "ai.tensorset": (WRITE_OOM, (1, 1, 1)),
    "ai.tensorget": ({"readonly"}, (1, 1, 1)),
    "ai.modelstore": (WRITE_OOM, (1, 1, 1)),
    "ai.modelset": (WRITE_OOM, (1, 1, 1)),
    "ai.modelget": ({"readonly"}, (1, 1, 1)),
    "ai.modeldel": ({"write"}, (1, 1, 1)),
    "ai.modelexecute": (WRITE_OOM | {GETKEYS}, (4, 4, 1)),
    "ai.modelrun": (WRITE_OOM | {GETKEYS}, (3, 3, 1)),
    "ai._modelscan": ({"readonly"}, (0, 0, 0)),
    "ai.info": ({"readonly"}, (1, 1, 1)),
    "ai.config": ({"write"}, (0, 0, 0)),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_info(wire: Wire, name: str) -> None:
    flags, keys = COMMANDS[name]
    (entry,) = wire("COMMAND", "INFO", name)
    assert entry[0] == name.encode()
    assert entry[1] == -1, "arity is checked by the command itself"
    assert {flag.text for flag in entry[2]} - {"module"} == flags
    assert tuple(entry[3:6]) == keys


EXECUTE = "AI.MODELEXECUTE"
GETKEYS_EXAMPLES = [
    ((EXECUTE, "m", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c"), ["m", "a", "b", "c"]),
    ((EXECUTE, "m", "INPUTS", 2, "a", "b", "OUTPUTS", 1, "c", "TIMEOUT", 5), ["m", "a", "b", "c"]),
    ((EXECUTE, "m", "INPUTS", 1, "INPUTS", "OUTPUTS", 2, "OUTPUTS", "x"), ["m", "INPUTS", "OUTPUTS", "x"]),
    ((EXECUTE, "m", "any", 1, "a", "words", 1, "c"), ["m", "a", "c"]),
    ((EXECUTE, "m", "INPUTS", "x", "a", "OUTPUTS", 1, "c"), ["m"]),
    ((EXECUTE, "m", "INPUTS", 1, "a", "OUTPUTS", "x", "c"), ["m"]),
    ((EXECUTE, "m", "INPUTS", 1, "a", "OUTPUTS", 2, "c"), ["m"]),
    ((EXECUTE, "m", "INPUTS", 1, "a"), ["m"]),
    ((EXECUTE, "m", "INPUTS", 2**62, "a", "OUTPUTS", 1, "c"), ["m"]),
    ((EXECUTE, "m", "INPUTS", -5, "a", "OUTPUTS", 1, "c"), ["m"]),
    ((EXECUTE, "m", "INPUTS", 1, "a", "OUTPUTS", 2**62, "c"), ["m"]),
    (("AI.MODELRUN", "m", "INPUTS", "a", "b", "OUTPUTS", "c"), ["m", "a", "b", "c"]),
    (("AI.MODELRUN", "m", "timeout", 5, "inputs", "a", "outputs", "c", "d"), ["m", "a", "c", "d"]),
    (("AI.MODELRUN", "m", "any", "a", "b", "c"), ["m", "a", "b", "c"]),
    (("AI.MODELRUN", "m", "INPUTS", "a", "OUTPUTS", "OUTPUTS", "c"), ["m", "a", "OUTPUTS", "c"]),
    (("AI.MODELRUN", "m", "TIMEOUT"), ["m"]),
    (("AI.TENSORSET", "k", "FLOAT", 1), ["k"]),
    (("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "x"), ["m"]),
    (("AI.MODELSET", "m", "ONNX", "CPU", "BLOB", "x"), ["m"]),
]


@pytest.mark.parametrize(("command", "keys"), GETKEYS_EXAMPLES)
def test_command_getkeys(wire: Wire, command: tuple[str | int, ...], keys: list[str]) -> None:
    assert wire("COMMAND", "GETKEYS", *command) == [key.encode() for key in keys]


def test_getkeys_of_too_few_arguments_is_an_error(wire: Wire) -> None:
    assert isinstance(wire("COMMAND", "GETKEYS", EXECUTE, "m", "INPUTS"), Error)


def test_type_names(wire: Wire) -> None:
    put(wire, "t", np.ones(1, np.float32))
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert wire("TYPE", "t") == Status("AI_TENSOR")
    assert wire("TYPE", "m") == Status("AI__MODEL")


def test_module_list(wire: Wire) -> None:
    (module,) = [entry for entry in wire("MODULE", "LIST") if entry[1] == b"ai"]
    assert module[0] == b"name"
    assert module[2] == b"ver"
    assert module[3] > 0


def test_commands_that_may_use_memory_are_refused_when_there_is_none(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
    put(wire, "t", np.ones(1, np.float32))
    wire("CONFIG", "SET", "maxmemory", 1)
    try:
        for command in (
            ("AI.TENSORSET", "k", "FLOAT", 1),
            ("AI.MODELSTORE", "k", "ONNX", "CPU", "BLOB", models.identity()),
            (EXECUTE, "m", "INPUTS", 1, "t", "OUTPUTS", 1, "k"),
        ):
            assert wire(*command).text.startswith("OOM")
        assert wire("AI.TENSORGET", "t", "META")[1] == b"FLOAT"
        assert wire("AI.MODELDEL", "m") == OK
    finally:
        wire("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ((EXECUTE, "m:1", "INPUTS", 1, "t:1", "OUTPUTS", 1, "t:2"), True),
        ((EXECUTE, "x", "INPUTS", 1, "t:1", "OUTPUTS", 1, "t:2"), False),
        ((EXECUTE, "m:1", "INPUTS", 1, "x", "OUTPUTS", 1, "t:2"), False),
        ((EXECUTE, "m:1", "INPUTS", 1, "t:1", "OUTPUTS", 1, "x"), False),
        (("AI.TENSORSET", "t:1", "FLOAT", 1), True),
        (("AI.TENSORSET", "x", "FLOAT", 1), False),
        (("AI.MODELGET", "m:1", "META"), True),
        (("AI.MODELGET", "x", "META"), False),
    ],
)
def test_acl_key_patterns_apply_to_every_key(
    server: Server, wire: Wire, command: tuple[str | int, ...], allowed: bool
) -> None:
    assert wire("AI.MODELSTORE", "m:1", "ONNX", "CPU", "BLOB", models.identity()) == OK
    put(wire, "t:1", np.ones(1, np.float32))
    wire("ACL", "SETUSER", "ann", "reset", "on", "nopass", "+@all", "~m:*", "~t:*")
    with server.wire() as connection:
        assert connection("AUTH", "ann", "x") == OK
        reply = connection(*command)
    if allowed:
        assert not isinstance(reply, Error)
    else:
        assert reply.text.startswith("NOPERM")


def test_write_commands_are_refused_on_a_read_only_replica(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
    put(wire, "t", np.ones(1, np.float32))
    wire("REPLICAOF", "127.0.0.1", 1)
    try:
        for command in (
            ("AI.TENSORSET", "k", "FLOAT", 1),
            ("AI.MODELSTORE", "k", "ONNX", "CPU", "BLOB", models.identity()),
            ("AI.MODELDEL", "m"),
            (EXECUTE, "m", "INPUTS", 1, "t", "OUTPUTS", 1, "k"),
            ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
            ("AI.CONFIG", "MODEL_CHUNK_SIZE", 5),
        ):
            assert wire(*command).text.startswith("READONLY")
        assert wire("AI.TENSORGET", "t", "META")[1] == b"FLOAT"
        assert wire("AI.MODELGET", "m", "META")[1] == b"ONNX"
        assert wire("AI.INFO", "m")[1] == b"m"
        assert wire("AI.INFO", "m", "RESETSTAT") == OK
        assert wire("AI._MODELSCAN") == [[b"m", b""]]
    finally:
        wire("REPLICAOF", "NO", "ONE")


@pytest.fixture(scope="module")
def cluster(redis_binary: RedisBinary, module_servers: Callable[..., Server]) -> Server:
    """One node that owns all slots."""
    node = module_servers(binary=redis_binary, cluster_enabled="yes")
    with node.wire() as wire:
        for start in range(0, 16384, 2048):
            wire("CLUSTER", "ADDSLOTS", *range(start, start + 2048))
        wait_until(lambda: b"cluster_state:ok" in wire("CLUSTER", "INFO"))
    return node


def test_keys_of_two_slots_are_refused_in_a_cluster(cluster: Server) -> None:
    with cluster.wire() as wire:
        assert wire("AI.MODELSTORE", "{x}m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(wire, "{x}t", np.ones(1, np.float32))
        assert wire(EXECUTE, "{x}m", "INPUTS", 1, "{x}t", "OUTPUTS", 1, "{x}u") == OK
        for model, source, target in (("{y}m", "{x}t", "{x}u"), ("{x}m", "{y}t", "{x}u"), ("{x}m", "{x}t", "{y}u")):
            reply = wire(EXECUTE, model, "INPUTS", 1, source, "OUTPUTS", 1, target)
            assert reply.text.startswith("CROSSSLOT")


def test_keys_of_a_dag_in_two_slots_are_refused_in_a_cluster(cluster: Server) -> None:
    with cluster.wire() as wire:
        assert wire("AI.MODELSTORE", "{x}m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(wire, "{x}t", np.ones(1, np.float32))
        words = (
            "AI.DAGEXECUTE LOAD 1 {x}t PERSIST 1 {x}u ROUTING {x} |> AI.MODELEXECUTE {x}m INPUTS 1 {x}t OUTPUTS 1 {x}u"
        )
        assert wire(*words.split()) == [OK]
        for key in ("LOAD 1 {x}", "PERSIST 1 {x}", "ROUTING {x}", "AI.MODELEXECUTE {x}"):
            reply = wire(*words.replace(key, key.replace("{x}", "{y}")).split())
            assert reply.text.startswith("CROSSSLOT")
        assert wire(*words.replace("{x}u", "y").replace("PERSIST 1 y", "PERSIST 1 {x}t").split()) == [OK], (
            "a local name"
        )
