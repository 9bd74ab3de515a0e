"""AI.MODELEXECUTE: grammar, errors in their order, dtypes, and where outputs go."""

from __future__ import annotations

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, wait_until
from harness.tensors import DTYPES, SAMPLES

NO_MODEL = Error("ERR model key is empty")
NO_TENSOR = Error("ERR tensor key is empty or in a different shard")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
WRONG_ARITY = Error("ERR wrong number of arguments for 'AI.MODELEXECUTE' command")
NO_INPUTS = Error("ERR INPUTS not specified")
NO_OUTPUTS = Error("ERR OUTPUTS not specified")
BAD_INPUT_COUNT = Error("ERR Invalid argument for input_count")
BAD_OUTPUT_COUNT = Error("ERR Invalid argument for output_count")
INPUTS_NOT_POSITIVE = Error("ERR Input count must be a positive integer")
OUTPUTS_NOT_POSITIVE = Error("ERR Output count must be a positive integer")
INPUTS_MISMATCH = Error("Number of keys given as INPUTS here does not match model definition")
OUTPUTS_MISMATCH = Error("Number of keys given as OUTPUTS here does not match model definition")
FEW_INPUTS = Error("ERR number of input keys to AI.MODELEXECUTE command does not match the number of given arguments")
FEW_OUTPUTS = Error("ERR number of output keys to AI.MODELEXECUTE command does not match the number of given arguments")
NO_TIMEOUT_VALUE = Error("ERR No value provided for TIMEOUT")
BAD_TIMEOUT = Error("ERR Invalid value for TIMEOUT")


def unexpected(word: str) -> Error:
    return Error(f"Invalid argument: {word}")


@pytest.fixture(autouse=True)
def model_and_inputs(wire: Wire) -> None:
    """``m`` takes ``a`` and ``b`` and gives their sum and their difference."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    put(wire, "b", np.array([10, 20], np.float32))


def store(wire: Wire, key: str, blob: bytes) -> None:
    assert wire("AI.MODELSTORE", key, "ONNX", "CPU", "BLOB", blob) == OK


@pytest.mark.parametrize("command", ["AI.MODELEXECUTE", "ai.modelexecute"])
@pytest.mark.parametrize("arguments", [(), ("m",), ("m", "INPUTS", 1, "a", "OUTPUTS", 1)])
def test_arity_error_is_always_spelled_the_same(wire: Wire, command: str, arguments: tuple[str, ...]) -> None:
    assert wire(command, *arguments) == WRONG_ARITY


ERRORS = [
    (("INPUTX", "x", "a", "b", "OUTPUTS", 2, "c", "d"), NO_INPUTS),
    ((2, "a", "b", "OUTPUTS", 2, "c", "d"), NO_INPUTS),
    (("OUTPUTS", 2, "c", "d", "INPUTS", 2, "a", "b"), NO_INPUTS),
    (("INPUTS", "x", "a", "b", "OUTPUTS", 2, "c", "d"), BAD_INPUT_COUNT),
    (("INPUTS", "2.0", "a", "b", "OUTPUTS", 2, "c", "d"), BAD_INPUT_COUNT),
    (("INPUTS", "+2", "a", "b", "OUTPUTS", 2, "c", "d"), BAD_INPUT_COUNT),
    (("INPUTS", 0, "OUTPUTS", 2, "c", "d"), INPUTS_NOT_POSITIVE),
    (("INPUTS", -2, "a", "b", "OUTPUTS", 2, "c", "d"), INPUTS_NOT_POSITIVE),
    (("INPUTS", 1, "a", "OUTPUTS", 2, "c", "d"), INPUTS_MISMATCH),
    (("INPUTS", 3, "a", "b", "a", "OUTPUTS", 2, "c", "d"), INPUTS_MISMATCH),
    (("INPUTS", 2**62, "a", "b", "OUTPUTS", 2, "c", "d"), INPUTS_MISMATCH),
    (("INPUTS", 2, "a", "b", "c", "d", "e", "f"), NO_OUTPUTS),
    (("INPUTS", 2, "a", "b", "INPUTS", 2, "c", "d"), NO_OUTPUTS),
    (("INPUTS", 2, "a", "b", "OUTPUTS", "x", "c", "d"), BAD_OUTPUT_COUNT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", "2.0", "c", "d"), BAD_OUTPUT_COUNT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 0, "c", "d"), OUTPUTS_NOT_POSITIVE),
    (("INPUTS", 2, "a", "b", "OUTPUTS", -1, "c", "d"), OUTPUTS_NOT_POSITIVE),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 1, "c"), OUTPUTS_MISMATCH),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 3, "c", "d", "e"), OUTPUTS_MISMATCH),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c"), FEW_OUTPUTS),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "e"), unexpected("e")),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "BATCHSIZE", 3), unexpected("BATCHSIZE")),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "TIMEOUT"), NO_TIMEOUT_VALUE),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "timeout", "x"), BAD_TIMEOUT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "TIMEOUT", 0), BAD_TIMEOUT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "TIMEOUT", -1), BAD_TIMEOUT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "TIMEOUT", "1.5"), BAD_TIMEOUT),
    (("INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "TIMEOUT", 5000, "more"), unexpected("more")),
    # input keys come last, in order
    (("INPUTS", 2, "absent", "b", "OUTPUTS", 2, "c", "d", "extra"), unexpected("extra")),
    (("INPUTS", 2, "absent", "b", "OUTPUTS", 2, "c", "d"), NO_TENSOR),
    (("INPUTS", 2, "a", "absent", "OUTPUTS", 2, "c", "d"), NO_TENSOR),
    (("INPUTS", 2, "a", "string", "OUTPUTS", 2, "c", "d"), WRONG_TYPE),
    (("INPUTS", 2, "string", "absent", "OUTPUTS", 2, "c", "d"), WRONG_TYPE),
    (("INPUTS", 2, "absent", "string", "OUTPUTS", 2, "c", "d"), NO_TENSOR),
    (("INPUTS", 2, "a", "m", "OUTPUTS", 2, "c", "d"), WRONG_TYPE),
]


@pytest.mark.parametrize(("arguments", "error"), ERRORS)
def test_bad_arguments(wire: Wire, arguments: tuple[str | int, ...], error: Error) -> None:
    wire("SET", "string", "v")
    assert wire("AI.MODELEXECUTE", "m", *arguments) == error
    assert wire("EXISTS", "c", "d", "e") == 0
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 0, "what is refused by the parser counts nothing"


@pytest.mark.parametrize(
    ("inputs", "arguments", "error"),
    [
        (5, ("INPUTS", 5, "a", "a", "a", "a"), FEW_INPUTS),
        (4, ("INPUTS", 4, "a", "a", "a", "a"), NO_OUTPUTS),
        (3, ("INPUTS", 3, "a", "a", "a", "OUTPUTS"), BAD_OUTPUT_COUNT),
        (3, ("INPUTS", 3, "a", "a", "a", "OUTPUTS", 1), FEW_OUTPUTS),
    ],
)
def test_arguments_that_end_too_early(wire: Wire, inputs: int, arguments: tuple[str | int, ...], error: Error) -> None:
    store(wire, "many", models.sum_of(inputs))
    assert wire("AI.MODELEXECUTE", "many", *arguments) == error


def test_the_model_key_comes_before_the_rest_of_the_grammar(wire: Wire) -> None:
    junk = ("INPUTX", "x", "a", "OUTPUTX", "y", "c")
    assert wire("AI.MODELEXECUTE", "absent", *junk) == NO_MODEL
    assert wire("AI.MODELEXECUTE", "a", *junk) == WRONG_TYPE


def test_a_message_with_a_line_break_stays_one_line(wire: Wire) -> None:
    error = wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d", "two\r\nlines")
    assert error == unexpected("two  lines")


def test_outputs_are_stored_in_order(wire: Wire) -> None:
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d") == OK
    assert_tensor(wire, "c", np.array([11, 22], np.float32))
    assert_tensor(wire, "d", np.array([-9, -18], np.float32))


@pytest.mark.parametrize("protocol", [2, 3])
def test_reply_is_a_status(server: Server, protocol: int) -> None:
    with server.wire(protocol=protocol) as connection:
        reply = connection("ai.modelexecute", "m", "inputs", 2, "a", "b", "outputs", 2, "c", "d", "timeout", 5000)
    assert reply == OK


def test_the_same_key_as_both_inputs_and_as_output(wire: Wire) -> None:
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "a", "c") == OK
    assert_tensor(wire, "a", np.array([2, 4], np.float32))
    assert_tensor(wire, "c", np.array([0, 0], np.float32))


def test_of_two_outputs_with_one_name_the_last_stays(wire: Wire) -> None:
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "c") == OK
    assert_tensor(wire, "c", np.array([-9, -18], np.float32))


def test_output_replaces_a_tensor_and_its_ttl(wire: Wire) -> None:
    put(wire, "c", SAMPLES["STRING"])
    wire("EXPIRE", "c", 100)
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d") == OK
    assert_tensor(wire, "c", np.array([11, 22], np.float32))
    assert wire("TTL", "c") == -1


@pytest.mark.parametrize(("first", "second"), [("c", "other"), ("other", "c"), ("other", "other"), ("m", "c")])
def test_an_output_key_of_another_type_gives_one_error_and_writes_nothing(wire: Wire, first: str, second: str) -> None:
    wire("SET", "other", "v")
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, first, second) == WRONG_TYPE
    assert wire("PING").text == "PONG", "one request, one reply"
    assert wire("EXISTS", "c") == 0
    assert wire("GET", "other") == b"v"
    assert wire("TYPE", "m").text == "AI__MODEL"


def test_everything_happens_in_the_selected_database(server: Server, wire: Wire) -> None:
    with server.wire(db=2) as other:
        assert other("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d") == NO_MODEL
        store(other, "m", models.two_outputs())
        assert other("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d") == NO_TENSOR
        put(other, "a", np.array([5], np.float32))
        assert other("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "c", "d") == OK
        assert_tensor(other, "c", np.array([10], np.float32))
    assert wire("EXISTS", "c", "d") == 0


def test_select_after_the_request_does_not_move_its_outputs(wire: Wire) -> None:
    execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "b", "OUTPUTS", 2, "c", "d")
    assert wire.pipeline(execute, ("SELECT", 1), ("EXISTS", "c", "d")) == [OK, OK, 0]
    assert wire.pipeline(("SELECT", 0), ("EXISTS", "c", "d")) == [OK, 2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_in_and_out(wire: Wire, dtype: str) -> None:
    array = SAMPLES[dtype] if dtype != "STRING" else np.array([[b"the longest", b"b"], [b"", "zwölf".encode()]], object)
    store(wire, "identity", models.identity(dtype))
    put(wire, "x", array)
    assert wire("AI.MODELEXECUTE", "identity", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", array)


def test_a_string_that_is_no_utf_8_is_kept_or_refused(wire: Wire) -> None:
    store(wire, "identity", models.identity("STRING"))
    put(wire, "x", SAMPLES["STRING"])
    if wire("AI.MODELEXECUTE", "identity", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK:
        assert_tensor(wire, "y", SAMPLES["STRING"])
    else:
        assert wire("EXISTS", "y") == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_of_every_dtype_go_in_and_out(wire: Wire, dtype: str) -> None:
    store(wire, "identity", models.identity(dtype))
    assert wire("AI.TENSORSET", "x", dtype, "VALUES", 1) == OK
    assert wire("AI.MODELEXECUTE", "identity", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert wire("AI.TENSORGET", "y") == wire("AI.TENSORGET", "x")


def test_scalar_output_of_a_vector(wire: Wire) -> None:
    store(wire, "sum", models.scalar_sum())
    assert wire("AI.MODELEXECUTE", "sum", "INPUTS", 1, "b", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", np.float32(30))


def test_any_number_of_rows(wire: Wire) -> None:
    store(wire, "linear", models.linear(features=4, classes=3))
    weights = np.add.outer(np.arange(4), np.arange(3) / 10).astype(np.float32)
    for rows in (1, 2, 1000):
        x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
        put(wire, "x", x)
        assert wire("AI.MODELEXECUTE", "linear", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        np.testing.assert_allclose(get(wire, "y"), x @ weights, rtol=1e-5)


def test_sequence_output_is_skipped(server: Server, wire: Wire) -> None:
    store(wire, "m", models.sequence_and_tensor())
    wire("AI.TENSORSET", "list", "INT8", 1, "VALUES", 5)
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 2, "list", "y") == OK
    assert wire("AI.TENSORGET", "list", "VALUES") == [5]
    assert_tensor(wire, "y", np.array([1, 2], np.float32))
    assert "non-tensor output from ONNX models, ignoring (currently unsupported)" in server.log


RUN_ERRORS = {
    "shape": (models.linear(), np.ones((2, 5), np.float32)),
    "rank": (models.linear(), np.ones(4, np.float32)),
    "dtype": (models.linear(), np.ones((2, 4), np.float64)),
    "index": (models.lookup(), np.array([[7]], np.int64)),
    "output dtype": (models.float_8_output(), np.ones(2, np.float32)),
}


@pytest.mark.parametrize(("blob", "x"), RUN_ERRORS.values(), ids=RUN_ERRORS.keys())
def test_failed_run_is_an_error_and_counts_as_one(wire: Wire, blob: bytes, x: np.ndarray) -> None:
    store(wire, "m", blob)
    put(wire, "x", x)
    put(wire, "y", SAMPLES["INT8"])
    assert isinstance(wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y"), Error)
    assert_tensor(wire, "y", SAMPLES["INT8"])
    statistics = as_dict(wire("AI.INFO", "m"))
    assert (statistics["calls"], statistics["errors"], statistics["duration"], statistics["samples"]) == (1, 1, 0, 0)


def test_deleting_model_and_inputs_does_not_disturb_requests_on_their_way(server: Server, wire: Wire) -> None:
    store(wire, "spin", models.spin())
    put(wire, "slow", np.full((1, 1), models.turns_for(0.3), np.float32))
    put(wire, "fast", np.zeros((2, 1), np.float32))
    with server.wire() as first, server.wire() as second:
        first.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "slow", "OUTPUTS", 1, "one")
        wait_until(lambda: server.blocked_clients() == 1)
        second.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "fast", "OUTPUTS", 1, "two")
        wait_until(lambda: second.has_reply() or server.blocked_clients() == 2)
        assert wire("DEL", "spin", "slow", "fast") == 3
        assert first.read() == OK
        assert second.read() == OK
    assert_tensor(wire, "one", np.full((1, 1), 1, np.int64))
    assert_tensor(wire, "two", np.full((2, 1), 2, np.int64))


def test_several_models_are_used_in_turn(wire: Wire) -> None:
    for classes in range(1, 6):
        store(wire, f"m{classes}", models.linear(2, classes))
    put(wire, "x", np.ones((1, 2), np.float32))
    for _ in range(3):
        for classes in range(1, 6):
            assert wire("AI.MODELEXECUTE", f"m{classes}", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
            assert get(wire, "y").shape == (1, classes)


def test_pipelined_requests_of_one_client_see_each_other(wire: Wire) -> None:
    step = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "a", "d")
    assert wire.pipeline(*[step] * 10) == [OK] * 10
    assert_tensor(wire, "a", np.array([1024, 2048], np.float32))
