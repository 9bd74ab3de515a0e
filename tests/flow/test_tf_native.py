"""Small graphs of TensorFlow: run without Python, on workers and, the very short ones, on the event loop.

That they give what TensorFlow gives is tested where the commands are, in test_tf.py: most graphs there are small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from tensorflow.core.framework import graph_pb2  # noqa: E402

import tensorflow_models as models  # noqa: E402
from backends.redisai_tensorflow import predictable  # noqa: E402
from harness import OK, Server, Wire, as_dict, assert_tensor, get, put  # noqa: E402
from harness.workers import becomes_short, runs_at_once, tried  # noqa: E402

from .tensorflow_requests import assert_error, store  # noqa: E402

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
WEIGHTS = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")


def relu_layer(padding: int = 0) -> bytes:
    """y = relu(x @ WEIGHTS + 1), and a constant of so many bytes that y needs, too."""

    def build() -> None:
        ballast = tf.reduce_sum(tf.constant(np.zeros(padding, np.int8)))
        y = tf.nn.relu(tf.matmul(models.input_of("x"), WEIGHTS) + 1)
        tf.add(y, tf.cast(ballast, tf.float32), name="y")

    return models.graph(build)


def expected(x: np.ndarray) -> np.ndarray:
    return np.maximum(x @ WEIGHTS + 1, 0)


def powers(count: int) -> bytes:
    """y = x to a power, a chain of so many products of matrices."""

    def build() -> None:
        x = y = models.input_of("x")
        for _ in range(count):
            y = tf.matmul(y, x)
        tf.identity(y, name="y")

    return models.graph(build)


def test_a_short_graph_runs_on_the_event_loop(server: Server, wire: Wire) -> None:
    assert store(wire, relu_layer(), ["x"], ["y"]) == OK
    put(wire, "x", X)
    becomes_short(server, wire, "m", *EXECUTE)
    put(wire, "x", -X)
    assert wire(*EXECUTE) == OK
    np.testing.assert_allclose(get(wire, "y"), expected(-X), atol=1e-6)


@pytest.mark.parametrize(
    ("files", "feeds"),
    [
        (lambda: models.saved_model(models.Affine), {"x": X, "offset": np.ones((2, 2), np.float32)}),
        (models.saved_model_of_tensorflow_1, {"x": X}),
    ],
    ids=["TensorFlow 2", "TensorFlow 1"],
)
def test_a_saved_model_does_too(
    server: Server, wire: Wire, files: Callable[[], Mapping[str, bytes]], feeds: Mapping[str, np.ndarray]
) -> None:
    """What restores its variables, and calls of functions, are no obstacles."""
    assert store(wire, models.zipped(files()), list(feeds), ["y"]) == OK
    for name, array in feeds.items():
        put(wire, name, array)
    becomes_short(server, wire, "m", "AI.MODELEXECUTE", "m", "INPUTS", len(feeds), *feeds, "OUTPUTS", 1, "y")
    assert_tensor(wire, "y", models.run_saved_model(files(), feeds)["y"])


def test_its_errors_are_those_of_tensorflow(server: Server, wire: Wire) -> None:
    assert store(wire, relu_layer(), ["x"], ["y"]) == OK
    put(wire, "x", X)
    put(wire, "wrong", X[:, :3])
    put(wire, "wrong_type", X.astype(np.int8))
    assert wire("AI.TENSORSET", "text", "STRING", 1, "VALUES", "a") == OK
    wrong = ("wrong", "wrong_type", "text")
    commands = [("AI.MODELEXECUTE", "m", "INPUTS", 1, key, "OUTPUTS", 1, "z") for key in wrong]
    before = [wire(*command) for command in commands]
    becomes_short(server, wire, "m", *EXECUTE)
    assert [wire(*command) for command in commands] == before
    for error, part in zip(before, ("Matrix size-incompatible", "int8", "string"), strict=True):
        assert_error(error, part)
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 6
    assert wire("EXISTS", "z") == 0


def filled() -> bytes:
    """y has as many elements as x says."""
    return models.graph(lambda: tf.fill([models.input_of("x", tf.int64)], 1.0, name="y"))


def filled_in_a_function() -> bytes:
    fill = tf.function(lambda x: tf.fill([x], 1.0), autograph=False)
    return models.graph(lambda: tf.identity(fill(models.input_of("x", tf.int64)), name="y"))


@pytest.mark.parametrize("build", [models.spin, filled, filled_in_a_function])
def test_what_does_not_follow_from_the_shapes_never_runs_there(
    server: Server, wire: Wire, build: Callable[[], bytes]
) -> None:
    assert store(wire, build(), ["x"], ["y"]) == OK
    put(wire, "x", np.int64(3))
    before = tried(server)
    for _ in range(8):
        assert not runs_at_once(server, wire, *EXECUTE)
    assert tried(server) == before


DECIDED: dict[str, Callable[[Any, Any], Any]] = {
    "Reshape": lambda x, s: tf.reshape(x, s),
    "ExpandDims": lambda x, s: x + tf.expand_dims(x, s),
    "Slice": lambda x, s: tf.slice(x, s, s),
    "StridedSlice": lambda x, s: tf.strided_slice(x, s, s + s),
    "TopKV2": lambda x, s: tf.raw_ops.TopKV2(input=x, k=s)[0],
    "Sum": lambda x, s: tf.reduce_sum(x, s),
    "ConcatV2": lambda x, s: tf.raw_ops.ConcatV2(values=[x, x], axis=s),
    "Conv2D": lambda x, s: tf.nn.conv2d(x, tf.cast(s, tf.float32), strides=1, padding="VALID"),
}


@pytest.mark.parametrize("way", ["graph", "function"])
@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize("operation", DECIDED)
def test_what_decides_a_shape_must_be_constant(operation: str, fed: bool, way: str) -> None:
    constant = np.ones((2, 2, 1, 1), np.int32) if operation == "Conv2D" else np.array([0], np.int32)
    if operation in ("TopKV2", "ConcatV2", "ExpandDims"):
        constant = constant[0]

    def build() -> None:
        x = models.input_of("x")
        if fed:
            run, inputs = DECIDED[operation], (x, models.input_of("s", tf.int32))
        else:
            run, inputs = lambda x: DECIDED[operation](x, tf.constant(constant)), (x,)
        run = tf.function(run, autograph=False) if way == "function" else run
        tf.identity(run(*inputs), name="y")

    graph_def = graph_pb2.GraphDef.FromString(models.graph(build))
    # s + s is a constant only once TensorFlow has computed it.
    assert predictable.is_predictable(graph_def, ["y:0"]) == (not fed and operation not in ("StridedSlice", "Conv2D"))


def test_strings_and_shapes_that_smaller_inputs_make_larger() -> None:
    def joined() -> None:
        tf.identity(models.input_of("x", tf.string), name="y")

    def gathered() -> None:
        tf.gather_nd(models.input_of("x"), models.input_of("i", tf.int32), name="y")

    def squeezed() -> None:
        tf.squeeze(models.input_of("x"), name="y")

    for build in (joined, gathered, squeezed):
        assert not predictable.is_predictable(graph_pb2.GraphDef.FromString(models.graph(build)), ["y:0"])
    assert predictable.is_predictable(graph_pb2.GraphDef.FromString(relu_layer()), ["y:0"])


def test_a_large_graph_is_run_by_the_package(server: Server, wire: Wire) -> None:
    assert store(wire, relu_layer(2 << 20), ["x"], ["y"]) == OK
    put(wire, "x", X)
    before = tried(server)
    for _ in range(8):
        assert not runs_at_once(server, wire, *EXECUTE)
    assert tried(server) == before
    np.testing.assert_allclose(get(wire, "y"), expected(X), atol=1e-6)


@pytest.mark.parametrize("limits", [(), ("INTER_OP_PARALLELISM", 2)])
def test_a_run_that_cannot_be_ended_harms_nobody_else(
    make_server: Callable[..., Server], limits: tuple[str | int, ...]
) -> None:
    """TensorFlow ends loops only. The session is replaced below the others, who may be on the event loop."""
    options = ("MODEL_EXECUTION_TIMEOUT", 1000, "THREADS_PER_QUEUE", 2, *limits)
    with make_server(*options) as server, server.wire() as wire, server.wire() as long:
        assert store(wire, powers(60), ["x"], ["y"]) == OK
        put(wire, "long", np.eye(1500, dtype=np.float32))
        put(wire, "x", np.eye(2, dtype=np.float32))
        long.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "long", "OUTPUTS", 1, "z")
        start = time.monotonic()
        while not long.has_reply(0.0):
            assert wire(*EXECUTE) == OK
        took = time.monotonic() - start
        long.read()
        for _ in range(100):
            assert wire(*EXECUTE) == OK
        assert_tensor(wire, "y", np.eye(2, dtype=np.float32))
        if took < 1.5:
            pytest.skip("this machine is too fast for the test")


def test_the_watchdog_does_not_wait_for_a_run_that_cannot_be_ended(make_server: Callable[..., Server]) -> None:
    with make_server("MODEL_EXECUTION_TIMEOUT", 1000, "THREADS_PER_QUEUE", 2) as server, server.wire() as wire:
        assert store(wire, powers(400), ["x"], ["y"]) == OK
        assert store(wire, models.spin(), ["x"], ["y"], key="spin") == OK
        put(wire, "x", np.eye(3000, dtype=np.float32))
        put(wire, "turns", np.int64(models.FOREVER))
        with server.wire() as long:
            long.send(*EXECUTE)
            for _ in range(2):
                assert_error(wire("AI.MODELEXECUTE", "spin", "INPUTS", 1, "turns", "OUTPUTS", 1, "z"), "cancelled")
        server.stop()


def test_other_runs_of_a_session_that_is_closed_are_run_again(make_server: Callable[..., Server]) -> None:
    """Whichever session they meet, and in whatever batch."""
    with make_server("MODEL_EXECUTION_TIMEOUT", 1000) as server, server.wire() as wire:
        assert store(wire, models.spin(), ["x"], ["y"]) == OK
        put(wire, "x", np.int64(models.FOREVER))
        put(wire, "short", np.int64(1))
        others = [server.wire() for _ in range(4)]
        for number in range(30):
            with server.wire() as leaving:
                leaving.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "z")
                for other in others * 100:
                    other.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "short", "OUTPUTS", 1, "y")
                time.sleep(0.0003 * number)
            assert [other.read() for other in others * 100] == [OK] * 400
        for other in others:
            other.close()
