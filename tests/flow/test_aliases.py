"""AI.MODELALIAS: a key that stands for a model, on every redis-server."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Status, Wire, as_dict, assert_tensor, put, wait_until

Servers = Callable[..., Server]

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_MODEL = Error("ERR model key is empty")


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


def fill(wire: Wire) -> None:
    """v1 adds, v2 multiplies, and live stands for v1."""
    assert wire("AI.MODELSTORE", "v1", "ONNX", "CPU", "TAG", "one", "BLOB", models.sum_of(2)) == OK
    assert wire("AI.MODELSTORE", "v2", "ONNX", "CPU", "TAG", "two", "BLOB", models.multiply()) == OK
    assert wire("AI.MODELALIAS", "SET", "live", "v1") == OK
    put(wire, "x", np.array([3], np.float32))


def run(wire: Wire, key: str = "live") -> float:
    assert wire("AI.MODELEXECUTE", key, "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == OK
    return float(wire("AI.TENSORGET", "y", "VALUES")[0])


def test_an_alias_can_be_switched(wire: Wire) -> None:
    fill(wire)
    assert run(wire) == 6
    assert wire("AI.MODELALIAS", "SET", "live", "v2") == OK
    assert run(wire) == 9
    assert wire("AI.MODELALIAS", "get", "live") == b"v2"
    assert wire("TYPE", "live") == Status("AI__ALIAS")
    wire("AI.MODELSTORE", "v2", "ONNX", "CPU", "BLOB", models.sum_of(2))
    assert run(wire) == 6, "the key counts, not the model that was there"


def test_it_can_be_used_wherever_a_model_can(wire: Wire) -> None:
    fill(wire)
    assert wire("AI.MODELRUN", "live", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
    dag = "AI.DAGEXECUTE LOAD 1 x |> AI.MODELEXECUTE live INPUTS 2 x x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
    assert wire(*dag.split()) == [OK, [b"6"]]
    assert as_dict(wire("AI.MODELGET", "live", "META"))["tag"] == b"one"
    assert as_dict(wire("AI.INFO", "live"))["calls"] == 2
    assert wire("AI.INFO", "live", "RESETSTAT") == OK
    assert as_dict(wire("AI.INFO", "v1"))["calls"] == 0
    assert sorted(wire("AI._MODELSCAN")) == [[b"v1", b"one"], [b"v2", b"two"]]


def test_scripts_run_models_by_their_alias(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server(binary=redis_binary)
    source = (
        "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n"
        "    return redisAI.model_execute(keys[0], [tensors[0], tensors[0]], 1)[0]\n"
    )
    with server.wire() as wire:
        fill(wire)
        assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", source) == OK
        assert wire("AI.SCRIPTEXECUTE", "s", "f", "KEYS", 1, "live", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        assert_tensor(wire, "y", np.array([6], np.float32))


def test_what_is_refused(server: Server, wire: Wire) -> None:
    fill(wire)
    set_ = ("AI.MODELALIAS", "SET")
    assert wire(*set_, "other", "absent") == NO_MODEL
    assert wire(*set_, "other", "x") == WRONG_TYPE
    assert wire(*set_, "x", "v1") == WRONG_TYPE
    assert wire(*set_, "v2", "v1") == WRONG_TYPE
    assert wire(*set_, "other", "live") == Error("ERR an alias cannot stand for another alias")
    assert wire("AI.MODELALIAS", "GET", "absent") == Error("ERR alias key is empty")
    assert wire("AI.MODELALIAS", "DEL", "absent") == Error("ERR alias key is empty")
    assert wire("AI.MODELALIAS", "GET", "v1") == wire("AI.MODELALIAS", "DEL", "v1") == WRONG_TYPE
    assert wire("AI.MODELALIAS", "MOVE", "live") == Error("ERR unsupported subcommand")
    assert wire("AI.MODELALIAS", "SET", "live") == server.arity_error("AI.MODELALIAS")
    # What is meant for the model itself does not reach through its alias.
    assert wire("AI.MODELDEL", "live") == WRONG_TYPE
    assert wire("AI.MODELSTORE", "live", "ONNX", "CPU", "BLOB", models.multiply()) == WRONG_TYPE
    assert wire("AI.TENSORGET", "live") == WRONG_TYPE
    assert run(wire) == 6


def test_an_alias_of_a_deleted_model_is_empty(wire: Wire) -> None:
    fill(wire)
    wire("AI.MODELDEL", "v1")
    assert wire("AI.MODELEXECUTE", "live", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == NO_MODEL
    assert wire("AI.INFO", "live") == Error("ERR cannot find run info for key")
    assert wire("AI.MODELALIAS", "DEL", "live") == OK
    assert wire("EXISTS", "live") == 0


def test_copy_rename_dump_and_digest(wire: Wire) -> None:
    fill(wire)
    assert wire("COPY", "live", "copy") == 1
    wire("RENAME", "copy", "renamed")
    payload = wire("DUMP", "renamed")
    assert wire("RESTORE", "restored", 0, payload) == OK
    assert run(wire, "renamed") == run(wire, "restored") == 6
    digests = wire("DEBUG", "DIGEST-VALUE", "live", "renamed", "restored")
    assert digests[0] == digests[1] == digests[2]
    assert wire("MEMORY", "USAGE", "live") > 0


@pytest.mark.parametrize("how", ["RDB", "AOF", "rewritten AOF"])
def test_it_is_saved(redis_binary: RedisBinary, make_server: Servers, how: str) -> None:
    server = make_server(binary=redis_binary, appendonly="no" if how == "RDB" else "yes")
    with server.wire() as wire:
        fill(wire)
        assert wire("AI.MODELALIAS", "SET", "live", "v2") == OK
        if how == "RDB":
            assert wire("SAVE") == OK
        if how == "rewritten AOF":
            wire("BGREWRITEAOF")
            wait_until(lambda: b"aof_rewrite_in_progress:0" in wire("INFO", "persistence"))
    with server.restart().wire() as wire:
        assert wire("AI.MODELALIAS", "GET", "live") == b"v2"
        assert run(wire) == 9


def test_it_is_replicated(redis_binary: RedisBinary, make_server: Servers) -> None:
    master = make_server(binary=redis_binary)
    with master.wire() as wire:
        fill(wire)
        replica = make_server(binary=redis_binary, replicaof=("127.0.0.1", master.port))
        master.wait_for_replica(replica)
        wire("AI.MODELALIAS", "SET", "live", "v2")
        wire("AI.MODELALIAS", "SET", "second", "v1")
        wire("AI.MODELALIAS", "SET", "third", "v1")
        wire("AI.MODELALIAS", "DEL", "third")
        master.wait_for_replica(replica)
        with replica.wire() as mirror:
            assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
            dag = "AI.DAGEXECUTE_RO LOAD 1 x |> AI.MODELEXECUTE live INPUTS 2 x x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
            assert mirror(*dag.split()) == [OK, [b"9"]]
            assert mirror("EXISTS", "third") == 0


def test_it_is_switched_in_a_transaction(wire: Wire) -> None:
    fill(wire)
    wire("MULTI")
    wire("AI.MODELALIAS", "SET", "live", "v2")
    wire("AI.MODELALIAS", "SET", "previous", "v1")
    assert wire("EXEC") == [OK, OK]
    assert (run(wire), run(wire, "previous")) == (9, 6)


def test_keys(wire: Wire) -> None:
    assert wire("COMMAND", "GETKEYS", "AI.MODELALIAS", "SET", "a", "b") == [b"a", b"b"]
    assert wire("COMMAND", "GETKEYS", "AI.MODELALIAS", "GET", "a") == [b"a"]
