"""The TFLITE backend: dtypes, shapes, errors in their words, several runs at once, persistence."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

import damaged_lite_models
import tensorflow_models as models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, wait_until
from harness import payload as rdb

WRONG_TYPE = Error("Input tensor type doesn't match the type expected by the model definition")
# Tensors have no values of these dtypes that a TFLite model takes.
SUPPORTED = ["FLOAT", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "BOOL"]


def store(wire: Wire, blob: bytes, *options: str | int, device: str = "CPU", key: str = "m") -> object:
    return wire("AI.MODELSTORE", key, "TFLITE", device, *options, "BLOB", blob)


def execute(wire: Wire, inputs: list[np.ndarray], outputs: int = 1, key: str = "m") -> object:
    """Runs the model on new tensors; outputs are y0, y1 ..."""
    for number, array in enumerate(inputs):
        put(wire, f"x{number}", array)
    names = [f"x{number}" for number in range(len(inputs))]
    results = [f"y{number}" for number in range(outputs)]
    return wire("AI.MODELEXECUTE", key, "INPUTS", len(names), *names, "OUTPUTS", len(results), *results)


def sample(dtype: str, length: int = 3) -> np.ndarray:
    return np.arange(length).astype(models.TF_TYPES[dtype].as_numpy_dtype)


def test_names_come_from_the_model(wire: Wire) -> None:
    assert store(wire, models.lite_linear(), "TAG", "t") == OK
    meta = as_dict(wire("AI.MODELGET", "m", "META"))
    assert [meta["inputs"], meta["outputs"]] == list(models.lite_names(models.lite_linear()))
    assert (meta["backend"], meta["tag"]) == (b"TFLITE", b"t")
    assert wire("AI.MODELGET", "m", "BLOB") == models.lite_linear()


@pytest.mark.parametrize("device", ["CPU", "cpu:1", "GPU", "gpu:0"])
def test_every_device_is_the_cpu(wire: Wire, device: str) -> None:
    assert store(wire, models.lite_multiply(), device=device) == OK
    assert execute(wire, [np.ones(2, np.float32)] * 2) == OK


@pytest.mark.parametrize("dtype", SUPPORTED)
def test_every_dtype_goes_in_and_out(wire: Wire, dtype: str) -> None:
    blob, x = models.lite_identity(dtype), sample(dtype)
    assert store(wire, blob) == OK
    assert execute(wire, [x]) == OK
    (expected,) = models.run_lite(blob, [x])
    assert_tensor(wire, "y0", expected)


@pytest.mark.parametrize("rows", [1, 2, 1000, 3])
def test_any_number_of_rows(wire: Wire, rows: int) -> None:
    blob = models.lite_linear()
    assert store(wire, blob) == OK
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    assert execute(wire, [x], 2) == OK
    for name, expected in zip(("y0", "y1"), models.run_lite(blob, [x]), strict=True):
        np.testing.assert_allclose(get(wire, name), expected, rtol=1e-5)


def test_shapes_may_change_from_request_to_request(wire: Wire) -> None:
    assert store(wire, models.lite_multiply()) == OK
    for length in (2, 5, 5, 1, 2):
        x = np.arange(length, dtype=np.float32)
        assert execute(wire, [x, x]) == OK
        assert_tensor(wire, "y0", x * x)


def test_scalar_output(wire: Wire) -> None:
    assert store(wire, models.lite_scalar_sum()) == OK
    assert execute(wire, [np.array([1, 2], np.float32)]) == OK
    assert_tensor(wire, "y0", np.float32(3))


def test_an_output_without_elements(wire: Wire) -> None:
    assert store(wire, models.lite_where()) == OK
    for x in ([-1, 2, 3], [-1, -2, -3], [1, -2, 3]):
        assert execute(wire, [np.array(x, np.float32)]) == OK
        assert_tensor(wire, "y0", np.flatnonzero(np.array(x) > 0)[:, None].astype(np.int64))


@pytest.mark.parametrize("size", [2, 300])
def test_runs_of_a_model_with_state_see_what_the_runs_before_left(server: Server, wire: Wire, size: int) -> None:
    """One of them is worth several threads when it is alone."""
    assert store(wire, models.lite_total(size)) == OK
    x = np.ones((size, size), np.float32)
    for runs in range(1, 6):
        assert execute(wire, [x]) == OK
        assert_tensor(wire, "y0", x * (runs + size))
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x0", "OUTPUTS", 1, "y0")

    def send(_: int) -> list[object]:
        with server.wire() as connection:
            return connection.pipeline(*[request] * 5)

    with ThreadPoolExecutor(4) as threads:
        assert all(reply == OK for replies in threads.map(send, range(4)) for reply in replies)
    assert execute(wire, [x]) == OK
    assert_tensor(wire, "y0", x * (26 + size))


def test_outputs_of_requests_that_run_in_a_row_are_kept_apart(server: Server, wire: Wire) -> None:
    assert store(wire, models.lite_multiply()) == OK
    for number in range(40):
        put(wire, f"in{number}", np.full(2, number, np.float32))
    requests = [
        ("AI.MODELEXECUTE", "m", "INPUTS", 2, f"in{number}", f"in{number}", "OUTPUTS", 1, f"out{number}")
        for number in range(40)
    ]

    def send(share: int) -> list[object]:
        with server.wire() as connection:
            return connection.pipeline(*requests[share::4])

    with ThreadPoolExecutor(4) as threads:
        assert all(reply == OK for replies in threads.map(send, range(4)) for reply in replies)
    for number in range(40):
        assert_tensor(wire, f"out{number}", np.full(2, number**2, np.float32))


BROKEN = {"no model": b"no model", "an empty blob": b"", "half a model": None}


@pytest.mark.parametrize("blob", BROKEN.values(), ids=BROKEN.keys())
def test_a_blob_that_is_no_model(wire: Wire, blob: bytes | None) -> None:
    if blob is None:
        blob = models.lite_linear()[: len(models.lite_linear()) // 2]
    assert store(wire, blob) == Error("Failed to load model from buffer")
    assert wire("EXISTS", "m") == 0


@pytest.mark.parametrize("name", damaged_lite_models.DAMAGED)
def test_a_damaged_model(wire: Wire, name: str) -> None:
    assert store(wire, damaged_lite_models.DAMAGED[name]()) == Error("Failed to load model from buffer")
    assert wire("EXISTS", "m") == 0


@pytest.mark.parametrize("name", ["SIGN", "WHILE", "SPLIT"])
def test_a_sound_model_like_the_damaged_ones(wire: Wire, name: str) -> None:
    blob, x = damaged_lite_models.GOOD[name](), np.array([1, -2, 3, -4], np.float32)
    assert store(wire, blob) == OK
    expected = models.run_lite(blob, [x])
    assert execute(wire, [x], len(expected)) == OK
    for number, array in enumerate(expected):
        assert_tensor(wire, f"y{number}", array)


def test_inputs_of_another_dtype(wire: Wire) -> None:
    assert store(wire, models.lite_multiply()) == OK
    x = np.ones(2, np.float32)
    for other in (np.ones(2), np.ones(2, np.int32), np.array([True, False]), np.array([b"a", b"b"], object)):
        assert execute(wire, [x, other]) == WRONG_TYPE
    assert execute(wire, [x, x]) == OK


def test_a_scalar_for_an_input_that_is_declared_as_none(wire: Wire) -> None:
    """LOG_SOFTMAX reads its last dim."""
    assert store(wire, models.convert(tf.nn.log_softmax, tf.TensorSpec([None, 3], tf.float32))) == OK
    assert execute(wire, [np.array(1, np.float32)]) == Error("Failed to resize input tensors")
    assert execute(wire, [np.ones(3, np.float32)]) == OK


def test_an_input_without_elements_would_end_the_process(wire: Wire) -> None:
    assert store(wire, models.lite_where()) == OK
    assert execute(wire, [np.array([-1], np.float32)]) == OK
    assert wire("COPY", "y0", "empty") == 1
    assert store(wire, models.convert(lambda x: tf.reverse(x, [0]), tf.TensorSpec([None, 1], tf.int64))) == OK
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "empty", "OUTPUTS", 1, "y0")
    assert wire(*request) == Error("Failed to resize input tensors")
    assert execute(wire, [np.array([[1], [2]])]) == OK
    assert_tensor(wire, "y0", np.array([[2], [1]]))


def test_a_scalar_input(wire: Wire) -> None:
    blob = models.convert(lambda x: x + 1, tf.TensorSpec([], tf.float32, name="x"))
    assert store(wire, blob) == OK
    for x in (np.float32(1), np.float32(2)):
        assert execute(wire, [np.array(x)]) == OK
        assert_tensor(wire, "y0", x + 1)


def test_a_model_that_takes_no_input_of_length_one(wire: Wire) -> None:
    kernel = np.ones((3, 3, 2, 1), np.float32)
    image = tf.TensorSpec([None, None, None, 2], tf.float32, name="x")
    assert store(wire, models.convert(lambda x: tf.nn.conv2d(x, kernel, 1, "VALID"), image)) == OK
    for rows, columns in ((4, 5), (1, 1), (5, 3), (2, 8), (3, 3)):
        reply = execute(wire, [np.ones((1, rows, columns, 2), np.float32)])
        if min(rows, columns) < 3:
            assert reply == Error("Failed to allocate tensors")
        else:
            assert reply == OK
            assert_tensor(wire, "y0", np.full((1, rows - 2, columns - 2, 1), 18, np.float32))


def test_a_model_that_cannot_be_allocated_is_refused(wire: Wire) -> None:
    kernel = np.ones((200, 200, 2, 1), np.float32)
    image = tf.TensorSpec([None, None, None, 2], tf.float32, name="x")
    blob = models.convert(lambda x: tf.nn.conv2d(x, kernel, 1, "VALID"), image)
    assert store(wire, blob) == Error("Failed to allocate tensors")


def test_shapes_that_do_not_fit_each_other_and_then_ones_that_do(wire: Wire) -> None:
    assert store(wire, models.lite_multiply()) == OK
    x = np.ones(2, np.float32)
    assert execute(wire, [x, np.ones(3, np.float32)]) == Error("Failed to allocate tensors")
    assert execute(wire, [x, x]) == OK
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 1


def test_a_run_that_fails_and_then_one_that_does_not(wire: Wire) -> None:
    assert store(wire, models.lite_gather()) == OK
    assert execute(wire, [np.array([7], np.int32)]) == Error("Failed to invoke TfLite")
    assert execute(wire, [np.array([1], np.int32)]) == OK
    assert_tensor(wire, "y0", np.array([20], np.float32))


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (tf.float64, "Unsupported output data type"),
        (tf.complex64, "Unsupported output data type"),
    ],
)
def test_output_dtypes_that_tensors_do_not_have(wire: Wire, dtype: tf.DType, text: str) -> None:
    assert store(wire, models.lite_cast(dtype)) == OK
    assert execute(wire, [np.ones(2, np.float32)]) == Error(text)


def test_input_dtypes_that_are_not_supported(wire: Wire) -> None:
    assert store(wire, models.lite_cast(tf.float32, tf.float64)) == OK
    assert execute(wire, [np.ones(2)]) == Error("Unsupported input data type")


def test_a_device_that_is_none(wire: Wire) -> None:
    """MODELSTORE knows such devices itself; a payload may hold any."""
    assert wire("RESTORE", "m", 0, rdb.model(4, models.lite_multiply(), backend=1, device="XPU")) == OK
    assert execute(wire, [np.ones(2, np.float32)] * 2) == Error("ERR Unsupported device")


def test_requests_run_as_one_batch(server: Server, wire: Wire) -> None:
    blob = models.lite_linear()
    assert store(wire, blob, "BATCHSIZE", 4, "MINBATCHSIZE", 4) == OK
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    put(wire, "x", x)
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 2)
    with server.wire() as other:
        other.send(*request, "a", "b")
        assert wire(*request, "c", "d") == OK
        assert other.read() == OK
    expected = models.run_lite(blob, [x])
    for names in ("ab", "cd"):
        for name, array in zip(names, expected, strict=True):
            np.testing.assert_allclose(get(wire, name), array, rtol=1e-5)


def test_an_output_that_cannot_be_divided_fails_the_batch(server: Server, wire: Wire) -> None:
    assert store(wire, models.lite_scalar_sum(), "BATCHSIZE", 2, "MINBATCHSIZE", 2) == OK
    put(wire, "x", np.ones(1, np.float32))
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    with server.wire() as other:
        other.send(*request)
        error = Error("ERR Model did not generate the expected batch size")
        assert wire(*request) == error
        assert other.read() == error


def test_requests_that_follow_one_with_wrong_shapes_are_run(wire: Wire) -> None:
    assert store(wire, models.lite_multiply()) == OK
    put(wire, "two", np.array([2, 3], np.float32))
    put(wire, "three", np.ones(3, np.float32))
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "two")
    wrong, right = (*request, "three", "OUTPUTS", 1, "y"), (*request, "two", "OUTPUTS", 1, "y")
    for _ in range(20):
        failed = Error("Failed to allocate tensors")
        assert wire.pipeline(wrong, right, wrong, wrong, right) == [failed, OK, failed, failed, OK]
    assert_tensor(wire, "y", np.array([4, 9], np.float32))


def test_models_survive_reload_restore_and_an_aof_rewrite(make_server: Callable[..., Server]) -> None:
    blob = models.lite_multiply()
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no", save="3600 1")
    x = np.array([2, 3], np.float32)
    with server.wire() as wire:
        assert store(wire, blob, "TAG", "t") == OK
        assert wire("DEBUG", "RELOAD") == OK
        assert execute(wire, [x, x]) == OK
        assert wire("RESTORE", "copy", 0, wire("DUMP", "m")) == OK
        assert execute(wire, [x, x], key="copy") == OK
        assert wire("BGREWRITEAOF").text.startswith("Background")
        with server.client() as client:
            wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    with server.restart().wire() as wire:
        assert execute(wire, [x, x]) == OK
        assert_tensor(wire, "y0", x * x)
        assert as_dict(wire("AI.MODELGET", "copy", "META"))["tag"] == b"t"
        assert wire("AI.MODELGET", "m", "BLOB") == blob


@pytest.mark.parametrize("dims", [7, 10, 11, 16, 64, 1000])
def test_more_dims_than_the_kernels_take_are_refused(wire: Wire, dims: int) -> None:
    assert store(wire, models.lite_identity("FLOAT")) == OK
    assert wire("AI.TENSORSET", "x0", "FLOAT", *[1] * dims, "VALUES", 5) == OK
    text = "Failed to resize input tensors" if dims <= 64 else "ERR models and scripts take tensors of at most 64 dims"
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x0", "OUTPUTS", 1, "y0") == Error(text)
    assert execute(wire, [sample("FLOAT").reshape(3, 1, 1, 1, 1, 1)]) == OK


def test_a_model_that_declares_many_dims_takes_as_many(wire: Wire) -> None:
    assert store(wire, models.lite_double_of_8_dims()) == OK
    x = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1, 1, 1, 1, 1)
    assert execute(wire, [x]) == OK
    assert_tensor(wire, "y0", x + x)
    assert execute(wire, [x[..., None]]) == Error("Failed to resize input tensors")
