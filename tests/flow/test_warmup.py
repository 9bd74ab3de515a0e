"""AI.MODELSTORE ... WARMUP n: the model runs before it takes the place of the old one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import torch
from onnx import TensorProto, helper

import models
import tensorflow_models
import torch_models
from harness import OK, Error, Server, Wire, as_dict, put, wait_until
from harness.wire import encode


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers("MODEL_EXECUTION_TIMEOUT", 1000)


def store(wire: Wire, backend: str, blob: bytes, *options: str | int, runs: int = 2) -> object:
    return wire("AI.MODELSTORE", "m", backend, "CPU", "WARMUP", runs, *options, "BLOB", blob)


def test_warm_up_is_not_counted_and_leaves_a_model_that_works(wire: Wire) -> None:
    assert store(wire, "ONNX", models.linear(), runs=3) == OK
    assert as_dict(wire("AI.INFO", "m"))["calls"] == 0
    put(wire, "x", np.ones((2, 4), np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK


@pytest.mark.parametrize("dtype", list(models.ONNX_TYPES))
def test_every_dtype_has_zeros(wire: Wire, dtype: str) -> None:
    assert store(wire, "ONNX", models.identity(dtype)) == OK


def counting_shapes(shape: list[int | str]) -> bytes:
    """A model that fails unless its input has exactly two rows."""
    two = models.constant("two", np.zeros((2, 3), np.float32))
    nodes = [helper.make_node("Concat", ["x", "two"], ["y"], axis=1)]
    inputs, outputs = [models.value("x", TensorProto.FLOAT, shape)], [models.value("y", TensorProto.FLOAT, None)]
    return models.build(nodes, inputs, outputs, [two])


def test_inputs_have_the_declared_shapes(wire: Wire) -> None:
    assert store(wire, "ONNX", counting_shapes([2, "n"])) == OK


def test_a_warm_up_that_fails_is_an_error_and_the_old_model_stays(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "old", "BLOB", models.linear()) == OK
    reply = store(wire, "ONNX", counting_shapes(["n", "m"]))
    assert isinstance(reply, Error) and reply.text.startswith("ERR WARMUP failed: ")
    assert as_dict(wire("AI.MODELGET", "m", "META"))["tag"] == b"old"


def test_a_warm_up_that_does_not_end_is_ended(wire: Wire) -> None:
    reply = store(wire, "ONNX", models.spin_at_zero(), runs=1)
    assert isinstance(reply, Error) and reply.text.startswith("ERR WARMUP failed: ")


def declared_matmul() -> object:
    """y[n, 1] = x[n, 4] @ 1: a vector would be an error."""
    return tf.matmul(tf.compat.v1.placeholder(tf.float32, [None, 4], name="x"), tf.ones((4, 1)), name="y")


def test_tf(wire: Wire) -> None:
    names = ("INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert store(wire, "TF", tensorflow_models.graph(declared_matmul), *names) == OK
    assert store(wire, "TF", tensorflow_models.identity("STRING"), *names) == OK


def test_tflite(wire: Wire) -> None:
    assert store(wire, "TFLITE", tensorflow_models.lite_linear()) == OK


def test_torch_models_do_not_declare_shapes(wire: Wire) -> None:
    reply = store(wire, "TORCH", torch_models.saved(torch.nn.Linear(2, 1)))
    assert isinstance(reply, Error) and reply.text.startswith("ERR WARMUP needs the shapes of the inputs")
    assert store(wire, "TORCH", torch_models.saved(torch.nn.Linear(2, 1)), runs=0) == OK


@pytest.mark.parametrize("runs", ["-1", "x", ""])
def test_bad_numbers(wire: Wire, runs: str) -> None:
    reply = wire("AI.MODELSTORE", "m", "ONNX", "CPU", "WARMUP", runs, "BLOB", models.linear())
    assert reply == Error("ERR Invalid argument for WARMUP")


def test_there_are_at_most_a_thousand_runs(wire: Wire) -> None:
    for runs in (1001, 2**62):
        refused = Error("ERR Invalid argument for WARMUP, which must be at most 1000")
        assert store(wire, "ONNX", models.linear(), runs=runs) == refused
    assert store(wire, "ONNX", models.linear(), runs=1000) == OK


def slow() -> bytes:
    """A run takes about 50 ms: a thousand of them take longer than any test waits."""
    return models.spin_at_zero(int(models.turns_for(0.05)))


def test_a_warm_up_that_takes_long_is_cut_short_and_that_is_no_error(server: Server, wire: Wire) -> None:
    assert store(wire, "ONNX", slow(), runs=1000) == OK
    assert "of 1000 runs: it takes too long" in server.log
    wire("MULTI")
    assert store(wire, "ONNX", slow(), runs=1000).text == "QUEUED"  # type: ignore[attr-defined]
    assert wire("EXEC") == [OK]


@pytest.fixture
def patient(make_server: Callable[..., Server]) -> Server:
    """A server that lets a run take longer than any test waits."""
    return make_server("MODEL_EXECUTION_TIMEOUT", 600_000)


@pytest.mark.parametrize("model", [slow, models.spin_at_zero])
def test_a_warm_up_ends_when_its_client_is_gone(patient: Server, model: Callable[[], bytes]) -> None:
    with patient.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK
        for leave in ("close", "unblock"):
            with patient.wire() as client:
                identity = client("CLIENT", "ID")
                client.send("AI.MODELSTORE", "m", "ONNX", "CPU", "WARMUP", 1000, "BLOB", model())
                assert not client.has_reply(0.5)
                if leave == "unblock":
                    assert wire("CLIENT", "UNBLOCK", identity) == 1
            assert wire("AI.MODELSTORE", "other", "ONNX", "CPU", "BLOB", models.linear()) == OK
            put(wire, "x", np.ones((2, 4), np.float32))
            assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK, "the old one"
    assert "it takes too long" not in patient.log


def write_aof(server: Server, *commands: tuple[str | int | bytes, ...]) -> None:
    server.directory.mkdir(parents=True)
    (server.directory / "appendonly.aof").write_bytes(b"".join(map(encode, [("SELECT", 0), *commands])))


def test_more_runs_in_an_aof_than_are_taken_now(make_server: Callable[..., Server]) -> None:
    server = make_server(start=False, appendonly="yes")
    write_aof(server, ("AI.MODELSTORE", "m", "ONNX", "CPU", "WARMUP", 2**62, "BLOB", models.linear()))
    with server.start().wire() as wire:
        put(wire, "x", np.ones((2, 4), np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        wait_until(lambda: not as_dict(wire("AI.INFO"))["Models loading"])


def test_a_warm_up_in_the_background_ends_when_the_model_is_deleted(make_server: Callable[..., Server]) -> None:
    server = make_server("MODEL_EXECUTION_TIMEOUT", 600_000, start=False, appendonly="yes")
    stores = [("m", "ONNX", "CPU", "WARMUP", 1000, "BLOB", slow()), ("n", "ONNX", "CPU", "BLOB", models.linear())]
    write_aof(server, *[("AI.MODELSTORE", *store) for store in stores])
    with server.start().wire() as wire:
        assert wire("AI.MODELDEL", "m") == OK
        wait_until(lambda: as_dict(wire("AI.INFO"))["Models ready"] == 1)
    assert "it takes too long" not in server.log


def test_a_replica_and_an_aof_take_it(make_server: Callable[..., Server]) -> None:
    master = make_server(appendonly="yes")
    replica = make_server(replicaof=("127.0.0.1", master.port))
    with master.wire() as wire:
        master.wait_for_replica(replica)
        assert store(wire, "ONNX", models.linear()) == OK
        master.wait_for_replica(replica)
        with replica.wire() as mirror:
            assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
    with master.restart().wire() as wire:
        put(wire, "x", np.ones((2, 4), np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
