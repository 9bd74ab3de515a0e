"""AI.MODELRUN, the deprecated form of AI.MODELEXECUTE: grammar, errors in their order, key positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, put, wait_until

NO_MODEL = Error("ERR model key is empty")
NO_TENSOR = Error("ERR tensor key is empty or in a different shard")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
WRONG_ARITY = Error("ERR wrong number of arguments for 'AI.MODELRUN' command")
NO_INPUTS = Error("ERR INPUTS not specified")
INPUTS_MISMATCH = Error("Number of keys given as INPUTS here does not match model definition")
OUTPUTS_MISMATCH = Error("Number of keys given as OUTPUTS here does not match model definition")
BAD_TIMEOUT = Error("ERR Invalid value for TIMEOUT")
FORBIDDEN = Error("ERR Cannot run RedisAI command within a transaction or a LUA script")

RUN = ("AI.MODELRUN", "m", "INPUTS", "a", "b", "OUTPUTS", "c", "d")


@pytest.fixture(autouse=True)
def model_and_inputs(wire: Wire) -> None:
    """``m`` takes ``a`` and ``b`` and gives their sum and their difference."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    put(wire, "b", np.array([10, 20], np.float32))


@pytest.mark.parametrize("command", ["AI.MODELRUN", "ai.modelrun"])
@pytest.mark.parametrize("arguments", [(), ("m",), ("m", "INPUTS", "a", "OUTPUTS"), ("absent", "TIMEOUT", "x", "y")])
def test_arity_error_is_always_spelled_the_same(wire: Wire, command: str, arguments: tuple[str, ...]) -> None:
    assert wire(command, *arguments) == WRONG_ARITY


ERRORS = [
    (("TIMEOUT", "x", "INPUTS", "a", "b", "OUTPUTS", "c", "d"), BAD_TIMEOUT),
    (("timeout", 0, "INPUTS", "a", "b", "OUTPUTS", "c", "d"), BAD_TIMEOUT),
    (("TIMEOUT", -1, "INPUTS", "a", "b", "OUTPUTS", "c", "d"), BAD_TIMEOUT),
    (("TIMEOUT", "1.5", "INPUTS", "a", "b", "OUTPUTS", "c", "d"), BAD_TIMEOUT),
    # the timeout comes before INPUTS
    (("TIMEOUT", "x", "JUNK", "a"), BAD_TIMEOUT),
    (("TIMEOUT", 5, "JUNK", "a", "b", "OUTPUTS", "c", "d"), NO_INPUTS),
    (("TIMEOUT", 5, "TIMEOUT", 5, "INPUTS", "a", "b", "OUTPUTS", "c", "d"), NO_INPUTS),
    (("JUNK", "a", "b", "OUTPUTS", "c", "d"), NO_INPUTS),
    (("OUTPUTS", "c", "d", "INPUTS", "a", "b"), NO_INPUTS),
    (("a", "b", "c", "d"), NO_INPUTS),
    # INPUTS is wrong before the counts, and inputs before outputs
    (("INPUTS", "a", "OUTPUTS", "c", "d"), INPUTS_MISMATCH),
    (("INPUTS", "OUTPUTS", "c", "d"), INPUTS_MISMATCH),
    (("INPUTS", "a", "b", "a", "OUTPUTS", "c"), INPUTS_MISMATCH),
    (("INPUTS", "a", "b", "c", "d"), INPUTS_MISMATCH),
    # a timeout at the end is two more outputs
    (("INPUTS", "a", "b", "OUTPUTS", "c", "d", "TIMEOUT", 5), OUTPUTS_MISMATCH),
    (("INPUTS", "a", "b", "OUTPUTS", "c"), OUTPUTS_MISMATCH),
    (("INPUTS", "a", "b", "OUTPUTS", "c", "d", "e"), OUTPUTS_MISMATCH),
    (("TIMEOUT", 5, "INPUTS", "a", "b", "OUTPUTS"), OUTPUTS_MISMATCH),
    (("INPUTS", "absent", "b", "OUTPUTS", "c", "d", "e"), OUTPUTS_MISMATCH),
    # input keys come last, in order
    (("INPUTS", "absent", "b", "OUTPUTS", "c", "d"), NO_TENSOR),
    (("INPUTS", "a", "string", "OUTPUTS", "c", "d"), WRONG_TYPE),
    (("INPUTS", "string", "absent", "OUTPUTS", "c", "d"), WRONG_TYPE),
    (("INPUTS", "absent", "string", "OUTPUTS", "c", "d"), NO_TENSOR),
]


@pytest.mark.parametrize(("arguments", "error"), ERRORS)
def test_bad_arguments(wire: Wire, arguments: tuple[str | int, ...], error: Error) -> None:
    wire("SET", "string", "v")
    assert wire("AI.MODELRUN", "m", *arguments) == error
    assert wire("EXISTS", "c", "d", "e") == 0
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 0


def test_the_model_key_comes_before_the_rest_of_the_grammar(wire: Wire) -> None:
    assert wire("AI.MODELRUN", "absent", "TIMEOUT", "x", "JUNK", "y") == NO_MODEL
    assert wire("AI.MODELRUN", "a", "TIMEOUT", "x", "JUNK", "y") == WRONG_TYPE


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("timeout", [(), ("TIMEOUT", 5000), ("timeout", "5000")])
def test_outputs_are_stored_in_order(server: Server, wire: Wire, timeout: tuple[str | int, ...], protocol: int) -> None:
    with server.wire(protocol=protocol) as connection:
        assert connection("AI.MODELRUN", "m", *timeout, "inputs", "a", "b", "outputs", "c", "d") == OK
    assert_tensor(wire, "c", np.array([11, 22], np.float32))
    assert_tensor(wire, "d", np.array([-9, -18], np.float32))
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 1


def test_words_after_outputs_are_keys_whatever_they_are(wire: Wire) -> None:
    assert wire("AI.MODELRUN", "m", "INPUTS", "a", "b", "OUTPUTS", "OUTPUTS", "INPUTS") == OK
    assert_tensor(wire, "OUTPUTS", np.array([11, 22], np.float32))
    assert_tensor(wire, "INPUTS", np.array([-9, -18], np.float32))


def test_an_input_key_may_be_named_like_a_keyword(wire: Wire) -> None:
    put(wire, "INPUTS", np.array([1, 1], np.float32))
    put(wire, "TIMEOUT", np.array([2, 2], np.float32))
    assert wire("AI.MODELRUN", "m", "INPUTS", "INPUTS", "TIMEOUT", "OUTPUTS", "c", "d") == OK
    assert_tensor(wire, "c", np.array([3, 3], np.float32))


def test_an_output_key_of_another_type_gives_one_error_and_writes_nothing(wire: Wire) -> None:
    wire("SET", "other", "v")
    assert wire("AI.MODELRUN", "m", "INPUTS", "a", "b", "OUTPUTS", "c", "other") == WRONG_TYPE
    assert wire("EXISTS", "c") == 0
    assert wire("GET", "other") == b"v"


@pytest.mark.parametrize("arguments", [RUN[1:], (), ("absent", "JUNK")])
def test_it_is_refused_in_transactions_and_lua_before_any_parsing(wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("MULTI") == OK
    assert wire("AI.MODELRUN", *arguments) == Status("QUEUED")
    assert wire("EXEC") == [FORBIDDEN]
    assert wire("EVAL", "return redis.pcall(unpack(ARGV))", 0, "AI.MODELRUN", *arguments) == FORBIDDEN
    assert wire("EXISTS", "c", "d") == 0


def test_a_request_that_waited_too_long_is_timed_out(make_server: Callable[..., Server]) -> None:
    with make_server("THREADS_PER_QUEUE", 1) as server, server.wire() as first, server.wire() as second:
        assert first("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(first, "slow", np.full((1, 1), models.turns_for(0.3), np.float32))
        first.send("AI.MODELRUN", "spin", "INPUTS", "slow", "OUTPUTS", "one")
        wait_until(lambda: server.blocked_clients() == 1)
        assert second("AI.MODELRUN", "spin", "TIMEOUT", 1, "INPUTS", "slow", "OUTPUTS", "two") == Status("TIMEDOUT")
        assert first.read() == OK
        assert first("EXISTS", "two") == 0


def test_requests_of_both_forms_share_a_batch(server: Server, wire: Wire) -> None:
    store = ("AI.MODELSTORE", "batch", "ONNX", "CPU", "BATCHSIZE", 4, "MINBATCHSIZE", 4)
    assert wire(*store, "BLOB", models.batch_size()) == OK
    put(wire, "x", np.ones((2, 3), np.float32))
    with server.wire() as other:
        other.send("AI.MODELRUN", "batch", "INPUTS", "x", "OUTPUTS", "y")
        assert wire("AI.MODELEXECUTE", "batch", "INPUTS", 1, "x", "OUTPUTS", 1, "z") == OK
        assert other.read() == OK
    assert_tensor(wire, "y", np.full((2, 1), 4, np.int64))


def test_replicas_and_the_aof_get_the_outputs(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", appendfsync="always")
    replica = make_server(replicaof=("127.0.0.1", server.port))
    with server.wire() as wire, replica.wire() as other:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
        put(wire, "a", np.array([1, 2], np.float32))
        assert wire("AI.MODELRUN", "m", "INPUTS", "a", "a", "OUTPUTS", "c", "d") == OK
        server.wait_for_replica(replica)
        assert_tensor(other, "c", np.array([2, 4], np.float32))
        assert other(*RUN).text.startswith("READONLY")
    server.restart()
    with server.wire() as wire:
        assert_tensor(wire, "c", np.array([2, 4], np.float32))


def test_acl_sees_every_key(server: Server, wire: Wire) -> None:
    assert wire("ACL", "SETUSER", "reader", "on", ">secret", "+@all", "~m", "~a", "~b", "~c") == OK
    with server.wire() as other:
        assert other("AUTH", "reader", "secret") == OK
        assert other(*RUN).text.startswith("NOPERM")
        assert other("AI.MODELRUN", "m", "INPUTS", "a", "x", "OUTPUTS", "c", "c").text.startswith("NOPERM")
        assert other("AI.MODELRUN", "m", "INPUTS", "a", "b", "OUTPUTS", "c", "c") == OK
    assert wire("ACL", "DELUSER", "reader") == 1
