"""AI.MODELSET, the deprecated form of AI.MODELSTORE: grammar, errors in their order, replication, persistence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, put

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
BAD_BACKEND = Error("ERR unsupported backend")
BAD_DEVICE = Error("ERR Invalid DEVICE")
NO_BATCHING = Error("ERR Auto-batching not supported by the TFLITE backend")
BAD_BATCHSIZE = Error("ERR Invalid argument for BATCHSIZE")
BAD_MINBATCHSIZE = Error("ERR Invalid argument for MINBATCHSIZE")
BAD_MINBATCHTIMEOUT = Error("ERR Invalid argument for MINBATCHTIMEOUT")
NO_BATCHSIZE = Error("ERR MINBATCHSIZE specified without BATCHSIZE")
NO_BATCHSIZE_FOR_TIMEOUT = Error("ERR MINBATCHTIMEOUT specified without BATCHSIZE")
NO_MINBATCHSIZE = Error("ERR MINBATCHTIMEOUT specified without MINBATCHSIZE")
NO_BLOB = Error("ERR Insufficient arguments, missing model BLOB")
NO_SIGNATURE = Error("ERR Insufficient arguments, INPUTS and OUTPUTS not specified")
NO_INPUTS = Error("ERR INPUTS not specified")
NO_OUTPUTS = Error("ERR OUTPUTS not specified")

MODEL = models.multiply()


@pytest.mark.parametrize("arguments", [(), ("m",), ("m", "CAFFE")])
def test_too_few_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.MODELSET", *arguments) == server.arity_error("AI.MODELSET")


ERRORS = [
    # backend before device
    (("CAFFE", "BLOB"), BAD_BACKEND),
    (("", "CPU", "BLOB", MODEL), BAD_BACKEND),
    # device before options
    (("ONNX", "12345678901", "BATCHSIZE", "x", "BLOB", MODEL), BAD_DEVICE),
    *((("ONNX", word, "BLOB", MODEL), BAD_DEVICE) for word in ("INPUTS", "outputs", "TAG", "BATCHSIZE", "blob")),
    (("ONNX", "MINBATCHSIZE", "BLOB", MODEL), BAD_DEVICE),
    (("ONNX", "MINBATCHTIMEOUT", "BLOB", MODEL), BAD_DEVICE),
    # batching
    (("TFLITE", "CPU", "BATCHSIZE", "x", "BLOB", "x"), NO_BATCHING),
    (("TFLITE", "CPU", "TAG", "t", "batchsize"), NO_BATCHING),
    (("ONNX", "CPU", "BATCHSIZE", "x", "MINBATCHSIZE", "x", "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", -1, "BLOB", MODEL), BAD_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE"), BAD_BATCHSIZE),
    (("ONNX", "CPU", "MINBATCHSIZE", "x", "BLOB", MODEL), NO_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 0, "MINBATCHSIZE", "x", "BLOB", MODEL), NO_BATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", "x", "BLOB", MODEL), BAD_MINBATCHSIZE),
    (("ONNX", "CPU", "MINBATCHTIMEOUT", "x", "BLOB", MODEL), NO_BATCHSIZE_FOR_TIMEOUT),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHTIMEOUT", "x", "BLOB", MODEL), NO_MINBATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 0, "MINBATCHTIMEOUT", "x"), NO_MINBATCHSIZE),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", "x", "BLOB", MODEL), BAD_MINBATCHTIMEOUT),
    (("ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT"), BAD_MINBATCHTIMEOUT),
    # the end of the arguments
    (("ONNX", "CPU"), NO_BLOB),
    (("TF", "CPU"), NO_BLOB),
    (("TF", "CPU", "TAG", "t", "BATCHSIZE", 2), NO_BLOB),
    # TF's inputs and outputs
    (("TF", "CPU", "BLOB", "x"), NO_SIGNATURE),
    (("TF", "CPU", "OUTPUTS", "c", "BLOB", "x"), NO_INPUTS),
    (("TF", "CPU", "JUNK"), NO_INPUTS),
    (("TF", "CPU", "INPUTS", "a", "BLOB", "x"), NO_OUTPUTS),
    (("TF", "CPU", "INPUTS", "a", "BLOB", "OUTPUTS", "c"), NO_OUTPUTS),
    (("TF", "CPU", "INPUTS"), NO_OUTPUTS),
    (("TF", "CPU", "INPUTS", "a", "OUTPUTS", "c"), NO_BLOB),
    (("TF", "CPU", "INPUTS", "a", "OUTPUTS", "c", "BLOB"), NO_BLOB),
    # others skip what stands before BLOB
    (("ONNX", "CPU", "INPUTS", "a", "OUTPUTS", "c"), NO_BLOB),
    (("ONNX", "CPU", "JUNK", MODEL), NO_BLOB),
    (("ONNX", "CPU", "BLOB"), NO_BLOB),
    (("ONNX", "CPU", "TAG", "t", "JUNK", "BLOB"), NO_BLOB),
]


@pytest.mark.parametrize(("arguments", "error"), ERRORS)
def test_bad_arguments(wire: Wire, arguments: tuple[str | int | bytes, ...], error: Error) -> None:
    assert wire("AI.MODELSET", "m", *arguments) == error
    assert wire("EXISTS", "m") == 0
    # Errors of the grammar come before the type of the key.
    wire("SET", "other", "v")
    assert wire("AI.MODELSET", "other", *arguments) == error


@pytest.mark.parametrize("device", ["XPU", "", "gpux", "1234567890", " CPU", "GPU1"])
def test_the_backend_judges_the_device(wire: Wire, device: str) -> None:
    assert wire("AI.MODELSET", "m", "ONNX", device, "BLOB", MODEL) == Error("ERR unsupported device")
    assert wire("EXISTS", "m") == 0


@pytest.mark.parametrize("device", ["CPU", "cpu", "CPU:1", "CPUx", "cpu-567890"])
def test_device_is_kept_as_typed(wire: Wire, device: str) -> None:
    assert wire("AI.MODELSET", "m", "ONNX", device, "BLOB", MODEL) == OK
    assert as_dict(wire("AI.MODELGET", "m", "META"))["device"] == device.encode()
    put(wire, "a", np.full(2, 3, np.float32))
    assert wire("AI.MODELRUN", "m", "INPUTS", "a", "a", "OUTPUTS", "c") == OK
    assert_tensor(wire, "c", np.full(2, 9, np.float32))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (b"", 0, 0, 0)),
        (("TAG", "v1"), (b"v1", 0, 0, 0)),
        (("TAG", "BLOB"), (b"BLOB", 0, 0, 0)),
        (("batchsize", 8), (b"", 8, 0, 0)),
        (("BATCHSIZE", "2.0", "MINBATCHSIZE", "1e0", "MINBATCHTIMEOUT", "1e2"), (b"", 2, 1, 100)),
        (("TAG", "t", "BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 5), (b"t", 8, 2, 5)),
        # what other backends skip
        (("INPUTS", "a", "b", "OUTPUTS", "c"), (b"", 0, 0, 0)),
        (("OUTPUTS", "c"), (b"", 0, 0, 0)),
        (("BATCHSIZE", 2, "TAG", "late"), (b"", 2, 0, 0)),
    ],
)
def test_options(wire: Wire, options: tuple[str | int, ...], expected: tuple[bytes, int, int, int]) -> None:
    assert wire("AI.MODELSET", "m", "onnx", "CPU", *options, "blob", MODEL[:9], MODEL[9:]) == OK
    fields = as_dict(wire("AI.MODELGET", "m"))
    assert (fields["tag"], fields["batchsize"], fields["minbatchsize"], fields["minbatchtimeout"]) == expected
    assert (fields["inputs"], fields["outputs"], fields["blob"]) == ([b"a", b"b"], [b"c"], MODEL)
    assert wire("AI._MODELSCAN") == [[b"m", expected[0]]]


def test_rejected_model_keeps_the_key(wire: Wire) -> None:
    assert wire("AI.MODELSET", "m", "ONNX", "CPU", "TAG", "good", "BLOB", MODEL) == OK
    assert isinstance(wire("AI.MODELSET", "m", "ONNX", "CPU", "TAG", "bad", "BLOB", "junk"), Error)
    assert as_dict(wire("AI.MODELGET", "m", "META"))["tag"] == b"good"


def test_key_of_another_type_is_wrong_only_after_the_model_was_accepted(wire: Wire) -> None:
    wire("SET", "k", "v")
    assert wire("AI.MODELSET", "k", "ONNX", "CPU", "BLOB", MODEL) == WRONG_TYPE
    assert wire("AI.MODELSET", "k", "ONNX", "CPU", "BLOB", "junk") not in (OK, WRONG_TYPE)
    assert wire("GET", "k") == b"v"


def test_it_works_in_transactions_and_lua(wire: Wire) -> None:
    store = ("AI.MODELSET", "m", "ONNX", "CPU", "BLOB", MODEL)
    assert wire("MULTI") == OK
    for command in (store, ("AI.MODELGET", "m", "BLOB"), ("AI.MODELDEL", "m")):
        assert wire(*command) == Status("QUEUED")
    assert wire("EXEC") == [OK, MODEL, OK]
    assert wire("EVAL", "return redis.call(unpack(ARGV))", 0, *store) == OK
    assert wire("AI.MODELGET", "m", "BLOB") == MODEL


def test_it_is_replicated_as_itself(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", appendfsync="always", auto_aof_rewrite_percentage=0)
    replica = make_server(replicaof=("127.0.0.1", server.port))
    command = ("AI.MODELSET", "m", "ONNX", "CPUx", "TAG", "t", "JUNK", "BLOB", MODEL)
    with server.wire() as wire, replica.wire() as other:
        server.wait_for_replica(replica)
        put(wire, "a", np.full(2, 3, np.float32))
        assert isinstance(wire("AI.MODELSET", "bad", "ONNX", "CPU", "BLOB", "junk"), Error)
        assert wire(*command) == OK
        server.wait_for_replica(replica)
        fields = as_dict(other("AI.MODELGET", "m"))
        assert (fields["device"], fields["tag"], fields["blob"]) == (b"CPUx", b"t", MODEL)
        assert other("EXISTS", "bad") == 0
    server.restart()
    with server.wire() as wire:
        assert wire("AI.MODELRUN", "m", "INPUTS", "a", "a", "OUTPUTS", "c") == OK
        assert_tensor(wire, "c", np.full(2, 9, np.float32))
    written = b"".join(path.read_bytes() for path in server.directory.rglob("*.aof*") if path.is_file())
    assert b"AI.MODELSET" in written
    assert b"junk" not in written


def test_it_survives_a_save(make_server: Callable[..., Server]) -> None:
    server = make_server(save=("900", "1"))
    with server.wire() as wire:
        assert wire("AI.MODELSET", "m", "ONNX", "CPU", "BATCHSIZE", 4, "BLOB", MODEL) == OK
    server.restart(save=True)
    with server.wire() as wire:
        fields = as_dict(wire("AI.MODELGET", "m"))
        assert (fields["batchsize"], fields["blob"]) == (4, MODEL)
