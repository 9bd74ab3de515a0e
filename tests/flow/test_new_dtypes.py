"""FLOAT16, BFLOAT16, UINT32 and UINT64, which RedisAI has not: in batches, and in the backends that have them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import torch

import models
import tensorflow_models
import torch_models
from harness import OK, Error, Server, Wire, assert_tensor, put, wait_until
from harness.tensors import NUMPY_TYPES
from redisai_py.backend import BFLOAT16

DTYPES = ("FLOAT16", "BFLOAT16", "UINT32", "UINT64")
ONE_TO_SIX = np.array([[1, 2], [3, 4], [5, 6]])


def array_of(dtype: str, numbers: np.ndarray) -> np.ndarray:
    if dtype == "BFLOAT16":
        return torch.from_numpy(numbers).to(torch.bfloat16).view(torch.int16).numpy().view(BFLOAT16)
    return numbers.astype(NUMPY_TYPES[dtype])


def blob_of(backend: str, dtype: str) -> tuple[bytes, tuple[str | int, ...]]:
    """A model that gives its input back, and the options that AI.MODELSTORE needs for it."""
    if backend == "ONNX":
        return models.identity(dtype), ()
    if backend == "TORCH":
        return torch_models.saved(torch_models.Identity()), ()
    return tensorflow_models.identity(dtype), ("INPUTS", 1, "x", "OUTPUTS", 1, "y")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["ONNX", "TORCH", "TF"])
def test_batches_keep_the_dtype(server: Server, wire: Wire, backend: str, dtype: str) -> None:
    blob, names = blob_of(backend, dtype)
    options = ("BATCHSIZE", 3, "MINBATCHSIZE", 3)
    assert wire("AI.MODELSTORE", "m", backend, "CPU", *options, *names, "BLOB", blob) == OK
    whole = array_of(dtype, ONE_TO_SIX)
    put(wire, "a", whole[:1])
    put(wire, "b", whole[1:])
    with server.wire() as other:
        other.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "a", "OUTPUTS", 1, "c")
        wait_until(lambda: server.blocked_clients() == 1)
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "b", "OUTPUTS", 1, "d") == OK
        assert other.read() == OK
    assert_tensor(wire, "c", whole[:1])
    assert_tensor(wire, "d", whole[1:])


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16"])
def test_torch_computes_with_them(wire: Wire, dtype: str) -> None:
    layer = torch.nn.Linear(2, 1).to(getattr(torch, dtype.lower()))
    x = torch.tensor(ONE_TO_SIX, dtype=layer.weight.dtype)
    expected = layer(x).detach().view(torch.int16).numpy().view(NUMPY_TYPES[dtype])
    assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", torch_models.saved(layer)) == OK
    put(wire, "x", array_of(dtype, ONE_TO_SIX))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", expected)


@pytest.mark.parametrize("dtype", ["FLOAT16", "BFLOAT16"])
def test_tf_computes_with_them(wire: Wire, dtype: str) -> None:
    kind = tensorflow_models.TF_TYPES[dtype]
    blob = tensorflow_models.graph(
        lambda: tf.multiply(tensorflow_models.input_of("x", kind), tf.constant(2, kind), name="y")
    )
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "BLOB", blob) == OK
    put(wire, "x", array_of(dtype, ONE_TO_SIX))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", array_of(dtype, 2 * ONE_TO_SIX))


def test_onnx_computes_with_them(wire: Wire) -> None:
    numbers = np.array([1, 2**64 - 1], np.uint64)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.cast("UINT64", "FLOAT16")) == OK
    put(wire, "x", numbers)
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", np.array([1, np.inf], np.float16))


def test_tflite_takes_and_gives_float16(wire: Wire) -> None:
    for key, source, target in (("to", tf.float32, tf.float16), ("from", tf.float16, tf.float32)):
        assert wire("AI.MODELSTORE", key, "TFLITE", "CPU", "BLOB", tensorflow_models.lite_cast(target, source)) == OK
    x = np.array([1.5, 65504], np.float32)
    put(wire, "x", x)
    assert wire("AI.MODELEXECUTE", "to", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", x.astype(np.float16))
    assert wire("AI.MODELEXECUTE", "from", "INPUTS", 1, "y", "OUTPUTS", 1, "z") == OK
    assert_tensor(wire, "z", x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_onnxruntimes_package_has_all_but_bfloat16(make_server: Callable[..., Server], dtype: str) -> None:
    """With BACKEND_MEMORY_LIMIT models do not go through the C API."""
    server = make_server("BACKEND_MEMORY_LIMIT", 100)
    with server.wire() as wire:
        x = array_of(dtype, ONE_TO_SIX)
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity(dtype)) == OK
        put(wire, "x", x)
        reply = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        if dtype == "BFLOAT16":
            assert reply.text == "ERR BFLOAT16 tensors need a server without BACKEND_MEMORY_LIMIT, and the CPU"
        else:
            assert reply == OK
            assert_tensor(wire, "y", x)


@pytest.mark.parametrize("of", ["FLOAT", "BFLOAT16", "STRING"])
def test_tensorflow_has_the_words_for_a_dtype_that_a_graph_does_not_take(wire: Wire, of: str) -> None:
    options = ("INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", *options, "BLOB", tensorflow_models.identity(of)) == OK
    put(wire, "FLOAT", np.ones(2, np.float32))
    put(wire, "BFLOAT16", array_of("BFLOAT16", np.ones(2)))
    put(wire, "STRING", np.array([b"a", b"b"], object))
    words = {"FLOAT": "float", "BFLOAT16": "bfloat16", "STRING": "string"}
    for given, word in words.items():
        reply = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, given, "OUTPUTS", 1, "y")
        if given == of:
            assert reply == OK
        else:
            assert isinstance(reply, Error)
            assert reply.text.startswith(f"Type mismatch: actual {word} vs. expect {words[of]} ")
