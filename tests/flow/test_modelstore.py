"""AI.MODELSTORE: grammar, errors in their order, and what a store replaces."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, put

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
BAD_BACKEND = Error("ERR unsupported backend")
BAD_DEVICE = Error("ERR Invalid DEVICE")
BAD_BATCHSIZE = Error("ERR Invalid argument for BATCHSIZE")
BAD_MINBATCHSIZE = Error("ERR Invalid argument for MINBATCHSIZE")
BAD_MINBATCHTIMEOUT = Error("ERR Invalid argument for MINBATCHTIMEOUT")
NO_BATCHSIZE = Error("ERR MINBATCHSIZE specified without BATCHSIZE")
NO_MINBATCHSIZE = Error("ERR MINBATCHTIMEOUT specified without MINBATCHSIZE")
NO_BLOB = Error("ERR Insufficient arguments, missing model BLOB")
TF_INPUTS = Error("ERR INPUTS not specified for TF")
TF_OUTPUTS = Error("ERR OUTPUTS not specified for TF")
BAD_INPUT_COUNT = Error("ERR Invalid argument for input_count")
BAD_OUTPUT_COUNT = Error("ERR Invalid argument for output_count")
FEW_INPUTS = Error("ERR number of model inputs does not match the number of given arguments")
FEW_OUTPUTS = Error("ERR number of model outputs does not match the number of given arguments")
INPUTS_FORBIDDEN = Error("ERR INPUTS argument should not be specified for this backend")
EXPECTED_BLOB = Error("ERR Invalid argument, expected BLOB")

MODEL = models.multiply()


def meta(wire: Wire, key: str) -> dict[str, object]:
    return as_dict(wire("AI.MODELGET", key, "META"))


@pytest.mark.parametrize("arguments", [(), ("m",), ("m", "ONNX"), ("m", "ONNX", "CPU"), ("m", "ONNX", "CPU", "BLOB")])
def test_too_few_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.MODELSTORE", *arguments) == server.arity_error("AI.MODELSTORE")


ERRORS = [
    # backend before device
    (("CAFFE", "XPU", "BLOB", MODEL), BAD_BACKEND),
    (("", "CPU", "BLOB", MODEL), BAD_BACKEND),
    (("ONNXX", "CPU", "BLOB", MODEL), BAD_BACKEND),
    # device before options
    (("ONNX", "XPU", "BATCHSIZE", "x", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "CPUx", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "CPU:x", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "CPU:-1", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "CPU1", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "CPU:123456", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", " CPU", "BLOB", MODEL), BAD_DEVICE),
    # batching numbers
    (("ONNX", "CPU", "BATCHSIZE", "x", "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", -1, "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", "1.5", "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", "", "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", "x", "BLOB", MODEL), BAD_MINBATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", -1, "BLOB", MODEL), BAD_MINBATCHSIZE),
    (("ONNX", "CPU", "MINBATCHSIZE", "x", "BLOB", MODEL), BAD_MINBATCHSIZE),
    (("ONNX", "CPU", "MINBATCHSIZE", 2, "BLOB", MODEL), NO_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 0, "MINBATCHSIZE", 2, "BLOB", MODEL), NO_BATCHSIZE),
    (
        ("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", "x", "BLOB", MODEL),
        BAD_MINBATCHTIMEOUT,
    ),
    (
        ("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", -1, "BLOB", MODEL),
        BAD_MINBATCHTIMEOUT,
    ),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHTIMEOUT", 5, "BLOB", MODEL), NO_MINBATCHSIZE),
    (
        ("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 0, "MINBATCHTIMEOUT", 5, "BLOB", MODEL),
        NO_MINBATCHSIZE,
    ),
    # the end of the arguments
    (("ONNX", "CPU", "TAG", "t"), NO_BLOB),
    (("ONNX", "CPU", "BATCHSIZE", 2), NO_BLOB),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2), NO_BLOB),
    (("ONNX", "CPU", "BATCHSIZE", 2, "BLOB"), NO_BLOB),
    (("ONNX", "CPU", "TAG", "t", "BLOB"), NO_BLOB),
    # a fixed order of options, each once
    (("ONNX", "CPU", "BATCHSIZE", 2, "TAG", "t", "BLOB", MODEL), EXPECTED_BLOB),
    (("ONNX", "CPU", "TAG", "t", "TAG", "u", "BLOB", MODEL), EXPECTED_BLOB),
    (("ONNX", "CPU", "BATCHSIZE", 2, "BATCHSIZE", 2, "BLOB", MODEL), EXPECTED_BLOB),
    (("ONNX", "CPU", "JUNK", MODEL), EXPECTED_BLOB),
    # INPUTS and OUTPUTS belong to TF
    (("ONNX", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "c", "BLOB", MODEL), INPUTS_FORBIDDEN),
    (("TORCH", "CPU", "inputs", 1, "a", "BLOB", "x"), INPUTS_FORBIDDEN),
    (("TFLITE", "CPU", "INPUTS", 1, "a", "BLOB", "x"), INPUTS_FORBIDDEN),
    (("ONNX", "CPU", "OUTPUTS", 1, "c", "BLOB", MODEL), EXPECTED_BLOB),
    (("TF", "CPU", "BLOB", "x"), TF_INPUTS),
    (("TF", "CPU", "OUTPUTS", 1, "c"), TF_INPUTS),
    (("TF", "CPU", "INPUTS", "x", "a", "OUTPUTS", 1, "c", "BLOB", "x"), BAD_INPUT_COUNT),
    (("TF", "CPU", "INPUTS", 0, "OUTPUTS", 1, "c", "BLOB", "x"), BAD_INPUT_COUNT),
    (("TF", "CPU", "INPUTS", -1, "a"), BAD_INPUT_COUNT),
    (("TF", "CPU", "INPUTS", "1.5", "a"), BAD_INPUT_COUNT),
    (("TF", "CPU", "INPUTS", 3, "a", "b"), FEW_INPUTS),
    (("TF", "CPU", "INPUTS", 2**62, "a", "b"), FEW_INPUTS),
    (("TF", "CPU", "INPUTS", 1, "a", "b", "OUTPUTS", 1, "c", "BLOB", "x"), TF_OUTPUTS),
    (("TF", "CPU", "INPUTS", 2, "a", "b"), TF_OUTPUTS),
    (("TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", "x", "c", "BLOB", "x"), BAD_OUTPUT_COUNT),
    (("TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", 0, "BLOB", "x"), BAD_OUTPUT_COUNT),
    (("TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", 3, "c", "d"), FEW_OUTPUTS),
    (("TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "c"), EXPECTED_BLOB),
    (("TF", "CPU", "INPUTS", "1.0", "a", "OUTPUTS", "1e0", "c", "JUNK"), EXPECTED_BLOB),
    (("TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "c", "BLOB"), NO_BLOB),
]


@pytest.mark.parametrize(("arguments", "error"), ERRORS)
def test_bad_arguments(wire: Wire, arguments: tuple[str | int | bytes, ...], error: Error) -> None:
    assert wire("AI.MODELSTORE", "m", *arguments) == error
    assert wire("EXISTS", "m") == 0
    # Errors of the grammar come before the type of the key.
    wire("SET", "other", "v")
    assert wire("AI.MODELSTORE", "other", *arguments) == error


@pytest.mark.parametrize("device", ["CPU", "cpu", "Cpu", "CPU:", "CPU:0", "CPU:1", "cpu:12345"])
def test_device_is_kept_as_typed(wire: Wire, device: str) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", device, "BLOB", MODEL) == OK
    assert meta(wire, "m")["device"] == device.encode()
    assert as_dict(wire("AI.INFO", "m"))["device"] == device.encode()
    put(wire, "a", np.ones(2, np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK


@pytest.mark.parametrize("backend", ["ONNX", "onnx", "Onnx"])
def test_backend_in_any_case_is_shown_in_upper_case(wire: Wire, backend: str) -> None:
    assert wire("ai.modelstore", "m", backend, "CPU", "blob", MODEL) == OK
    assert meta(wire, "m")["backend"] == b"ONNX"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime finds a GPU"
)
@pytest.mark.parametrize("device", ["GPU", "gpu:0"])
def test_gpu_without_a_gpu(wire: Wire, device: str) -> None:
    error = wire("AI.MODELSTORE", "m", "ONNX", device, "BLOB", MODEL)
    assert error == Error("ERR GPU requested but ONNX couldn't find CUDA")
    assert wire("EXISTS", "m") == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (b"", 0, 0, 0)),
        (("TAG", "v1"), (b"v1", 0, 0, 0)),
        (("tag", ""), (b"", 0, 0, 0)),
        (("TAG", "BLOB"), (b"BLOB", 0, 0, 0)),
        (("TAG", b"a\0b\r\n"), (b"a\0b\r\n", 0, 0, 0)),
        (("BATCHSIZE", 8), (b"", 8, 0, 0)),
        (("BATCHSIZE", 0), (b"", 0, 0, 0)),
        (("BATCHSIZE", 0, "MINBATCHSIZE", 0, "MINBATCHTIMEOUT", 0), (b"", 0, 0, 0)),
        (("BATCHSIZE", 8, "MINBATCHSIZE", 2), (b"", 8, 2, 0)),
        (("BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50), (b"", 8, 2, 50)),
        (("BATCHSIZE", "2.0", "MINBATCHSIZE", "1e0", "MINBATCHTIMEOUT", "1e2"), (b"", 2, 1, 100)),
        (("TAG", "t", "batchsize", 8, "minbatchsize", 2, "minbatchtimeout", 5), (b"t", 8, 2, 5)),
        (("BATCHSIZE", 2, "MINBATCHSIZE", 4), (b"", 2, 4, 0)),
        (("BATCHSIZE", "1e18", "MINBATCHSIZE", 2**63 - 1), (b"", 10**18, 2**63 - 1, 0)),
    ],
)
def test_options(wire: Wire, options: tuple[str | int, ...], expected: tuple[bytes, int, int, int]) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *options, "BLOB", MODEL) == OK
    fields = meta(wire, "m")
    assert (fields["tag"], fields["batchsize"], fields["minbatchsize"], fields["minbatchtimeout"]) == expected


@pytest.mark.parametrize("size", [1, 7, 30, len(MODEL) - 1])
def test_chunks_are_joined(wire: Wire, size: int) -> None:
    chunks = [MODEL[start : start + size] for start in range(0, len(MODEL), size)]
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", *chunks) == OK
    assert wire("AI.MODELGET", "m", "BLOB") == MODEL


def test_an_empty_chunk_adds_nothing(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "", MODEL, "") == OK
    assert wire("AI.MODELGET", "m", "BLOB") == MODEL


REJECTED = {
    "no model": b"this is no model",
    "an empty blob": b"",
    "half a model": MODEL[: len(MODEL) // 2],
    "external data": models.external_data("weights.bin"),
    "external data outside": models.external_data("../../../../../../etc/passwd"),
}


@pytest.mark.parametrize("blob", REJECTED.values(), ids=REJECTED.keys())
def test_rejected_model_gives_one_line_and_keeps_the_key(wire: Wire, blob: bytes) -> None:
    error = wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob)
    assert isinstance(error, Error)
    assert error.text
    assert wire("EXISTS", "m") == 0
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "good", "BLOB", MODEL) == OK
    assert isinstance(wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "bad", "BLOB", blob), Error)
    assert meta(wire, "m")["tag"] == b"good"
    put(wire, "a", np.ones(2, np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK


def test_external_data_is_named_as_the_reason(wire: Wire) -> None:
    error = wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", REJECTED["external data"])
    assert "external" in error.text.lower()


def test_key_of_another_type_is_wrong_only_after_the_model_was_accepted(wire: Wire) -> None:
    wire("SET", "k", "v")
    assert wire("AI.MODELSTORE", "k", "ONNX", "CPU", "BLOB", MODEL) == WRONG_TYPE
    rejected = wire("AI.MODELSTORE", "k", "ONNX", "CPU", "BLOB", "junk")
    assert isinstance(rejected, Error)
    assert rejected != WRONG_TYPE
    assert wire("GET", "k") == b"v"
    put(wire, "t", np.ones(2, np.float32))
    assert wire("AI.MODELSTORE", "t", "ONNX", "CPU", "BLOB", MODEL) == WRONG_TYPE
    assert_tensor(wire, "t", np.ones(2, np.float32))


def test_storing_again_replaces_the_model_its_statistics_and_its_ttl(wire: Wire) -> None:
    put(wire, "a", np.ones(2, np.float32))
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "one", "BLOB", MODEL) == OK
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 1
    wire("EXPIRE", "m", 100)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "two", "BLOB", models.identity()) == OK
    assert wire("TTL", "m") == -1
    fields = meta(wire, "m")
    assert (fields["tag"], fields["inputs"], fields["outputs"]) == (b"two", [b"x"], [b"y"])
    statistics = as_dict(wire("AI.INFO", "m"))
    assert (statistics["calls"], statistics["tag"]) == (0, b"two")
    assert wire("AI._MODELSCAN") == [[b"m", b"two"]]


def test_model_belongs_to_the_selected_database(server: Server, wire: Wire) -> None:
    with server.wire(db=5) as other:
        assert other("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", MODEL) == OK
        assert other("EXISTS", "m") == 1
        assert wire("EXISTS", "m") == 0
        put(other, "a", np.full(2, 3, np.float32))
        assert other("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK
        assert_tensor(other, "c", np.full(2, 9, np.float32))
        assert wire("EXISTS", "c") == 0


def test_only_the_storing_client_waits(server: Server, wire: Wire) -> None:
    blob = models.slow_to_load(400)
    wire.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob)
    with server.wire() as other:
        assert not wire.has_reply()
        assert other("EXISTS", "m") == 0
    assert wire.read() == OK
    assert wire("EXISTS", "m") == 1


def test_pipelined_store_and_execute_run_in_order(wire: Wire) -> None:
    put(wire, "a", np.full(2, 2, np.float32))
    replies = wire.pipeline(
        ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", MODEL),
        ("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c"),
        ("AI.TENSORGET", "c", "BLOB"),
    )
    assert replies == [OK, OK, np.full(2, 4, np.float32).tobytes()]


def test_copy_of_a_model_runs_on_its_own(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "t", "BLOB", MODEL) == OK
    assert wire("COPY", "m", "n") == 1
    wire("DEL", "m")
    put(wire, "a", np.full(2, 2, np.float32))
    assert wire("AI.MODELEXECUTE", "n", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c") == OK
    assert wire("AI.MODELGET", "n", "BLOB") == MODEL


def test_memory_usage_covers_the_blob(wire: Wire) -> None:
    blob = models.weighted(2)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
    assert wire("MEMORY", "USAGE", "m") >= len(blob)
