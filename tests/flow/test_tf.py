"""The TF backend: frozen graphs, what is refused in them, and how runs are ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tensorflow_models as models
import touchy_operations
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put
from harness import payload as rdb
from harness.tensors import DTYPES, SAMPLES

from .tensorflow_requests import ONES, assert_error, execute, signature, store

Array = np.ndarray


# ---- frozen graphs ---------------------------------------------------------------------


def test_a_graph_runs_as_tensorflow_runs_it(wire: Wire) -> None:
    feeds = {"a": np.array([1, 2], np.float32), "b": np.array([[10], [20]], np.float32)}
    assert store(wire, models.two_outputs(), ["a", "b"], ["sum", "difference"], "TAG", "t") == OK
    assert execute(wire, feeds, ["sum", "difference"]) == OK
    expected = models.run_graph(models.two_outputs(), feeds, ["sum", "difference"])
    for name, array in zip(("sum", "difference"), expected, strict=True):
        assert_tensor(wire, name, array)


def test_names_are_kept_in_the_order_given(wire: Wire) -> None:
    assert store(wire, models.two_outputs(), ["b", "a"], ["difference", "sum"]) == OK
    assert signature(wire) == ([b"b", b"a"], [b"difference", b"sum"])
    assert execute(wire, {"x": ONES, "y": 2 * ONES}, ["d", "s"]) == OK
    assert_tensor(wire, "d", ONES)
    assert_tensor(wire, "s", 3 * ONES)
    assert wire("AI.MODELGET", "m", "BLOB") == models.two_outputs()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_in_and_out(wire: Wire, dtype: str) -> None:
    assert store(wire, models.identity(dtype), ["x"], ["y"]) == OK
    assert execute(wire, {"x": SAMPLES[dtype]}, ["y"]) == OK
    assert_tensor(wire, "y", SAMPLES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_of_every_dtype_go_in_and_out(wire: Wire, dtype: str) -> None:
    assert store(wire, models.identity(dtype), ["x"], ["y"]) == OK
    assert wire("AI.TENSORSET", "x", dtype, "VALUES", 1) == OK
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert wire("AI.TENSORGET", "y") == wire("AI.TENSORGET", "x")


def test_strings_have_no_nul_in_the_graph(wire: Wire) -> None:
    x = np.array([[b"", b"four"], [b"\xff\xfe", "zwölf".encode()]], object)
    assert store(wire, models.string_lengths(), ["x"], ["y", "z", "s"]) == OK
    assert execute(wire, {"x": x}, ["y", "z", "s"]) == OK
    for name, array in zip("yzs", models.run_graph(models.string_lengths(), {"x": x}, ["y", "z", "s"]), strict=True):
        assert_tensor(wire, name, array)
    assert_tensor(wire, "y", np.array([[0, 4], [2, 6]], np.int32))


def test_an_output_that_is_named_twice(wire: Wire) -> None:
    assert store(wire, models.multiply(), ["b", "a"], ["c", "c"]) == OK
    assert signature(wire) == ([b"b", b"a"], [b"c", b"c"])
    assert execute(wire, {"b": ONES, "a": ONES * 3}, ["y", "z"]) == OK
    for name in "yz":
        assert_tensor(wire, name, ONES * 3)


@pytest.mark.parametrize("dtype", [tf.complex64, tf.complex128])
def test_output_dtypes_that_tensors_do_not_have(wire: Wire, dtype: tf.DType) -> None:
    assert store(wire, models.cast_to(dtype), ["x"], ["y"]) == OK
    assert execute(wire, {"x": ONES}, ["y"]) == Error("ERR unsupported dtype")
    assert wire("EXISTS", "y") == 0


def test_inputs_are_not_written_to(wire: Wire) -> None:
    blob = models.graph(lambda: tf.nn.relu(models.input_of("x") + 1, name="y"))
    x = np.linspace(-1000, 1000, 1 << 16, dtype=np.float32)
    assert store(wire, blob, ["x"], ["y"]) == OK
    assert execute(wire, {"x": x}, ["y"]) == OK
    assert_tensor(wire, "x", x)
    assert_tensor(wire, "y", np.maximum(x + 1, 0))


def test_requests_of_many_clients_are_kept_apart(server: Server, wire: Wire) -> None:
    assert store(wire, models.multiply(), ["a", "b"], ["c"]) == OK
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


STORE_ERRORS = [
    (b"no graph", ["a", "b"], ["c"], "Invalid GraphDef"),
    (models.multiply()[:20], ["a", "b"], ["c"], "Invalid GraphDef"),
    (b"", ["a", "b"], ["c"], 'ERR Input node named "a" not found in TF graph.'),
    (models.multiply(), ["a", "q"], ["c"], 'ERR Input node named "q" not found in TF graph.'),
    (models.multiply(), ["a", "c"], ["c"], 'ERR Input node named "c" not found in TF graph.'),
    (models.multiply(), ["a", "b:0"], ["c"], 'ERR Input node named "b:0" not found in TF graph.'),
    (models.multiply(), ["a", "q"], ["z"], 'ERR Input node named "q" not found in TF graph.'),
    (models.multiply(), ["a", "b"], ["z"], 'ERR Output node named "z" not found in TF graph'),
]


@pytest.mark.parametrize(("blob", "inputs", "outputs", "text"), STORE_ERRORS, ids=range(len(STORE_ERRORS)))
def test_a_graph_that_cannot_be_stored(
    wire: Wire, blob: bytes, inputs: list[str], outputs: list[str], text: str
) -> None:
    assert store(wire, blob, inputs, outputs) == Error(text)
    assert wire("EXISTS", "m") == 0


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this TensorFlow finds a GPU")
def test_gpu_without_a_gpu(wire: Wire) -> None:
    error = Error("ERR GPU requested but TF couldn't find CUDA")
    assert store(wire, models.multiply(), ["a", "b"], ["c"], device="gpu:0") == error
    # The graph comes first.
    assert store(wire, b"junk", ["a", "b"], ["c"], device="GPU") == Error("Invalid GraphDef")
    assert_error(store(wire, models.multiply(), ["a", "b"], ["z"], device="GPU"), "Output node")


@pytest.mark.parametrize("outputs", [["a"], ["nothing"]])
def test_outputs_that_cannot_be_fetched(wire: Wire, outputs: list[str]) -> None:
    blob = models.graph(lambda: (models.input_of("a"), tf.no_op(name="nothing")))
    assert_error(store(wire, blob, ["a"], outputs), outputs[0])


RUN_ERRORS = {
    "shapes": ({"a": ONES, "b": np.ones((2, 2, 3), np.float32)}, "Incompatible shapes: [2] vs. [2,2,3]"),
    "dtype": ({"a": ONES, "b": np.ones(2)}, "double"),
    "string": ({"a": ONES, "b": np.array([b"a", b"b"], object)}, "string"),
}


@pytest.mark.parametrize(("feeds", "text"), RUN_ERRORS.values(), ids=RUN_ERRORS.keys())
def test_a_run_that_fails_gives_the_text_of_tensorflow(wire: Wire, feeds: Mapping[str, Array], text: str) -> None:
    assert store(wire, models.multiply(), ["a", "b"], ["c"]) == OK
    reply = execute(wire, feeds, ["c"])
    assert_error(reply, text)
    assert isinstance(reply, Error) and "\n" not in reply.text
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 1
    assert execute(wire, {"a": ONES, "b": ONES}, ["c"]) == OK


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("function", [True, False])
def test_ranks_that_would_end_the_process(wire: Wire, function: bool, known: bool) -> None:
    assert store(wire, models.convolve(function, known), ["x"], ["z"]) == OK
    x = np.arange(32, dtype=np.float32).reshape(2, 4, 4, 1)
    for other in (np.float32(1), x[0], x[None]):
        assert_error(execute(wire, {"x": np.asarray(other)}, ["z"]), "is not compatible with expected shape [?,?,?,?]")
    assert execute(wire, {"x": x}, ["z"]) == OK
    windows = [x[:, i : i + 3, j : j + 3, 0] for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(get(wire, "z")[..., 1], np.sum(windows, axis=0))


@pytest.mark.parametrize("way", ["graph", "function", "loop"])
@pytest.mark.parametrize("operation", touchy_operations.TOUCHY)
def test_inputs_that_would_end_the_process(wire: Wire, operation: str, way: str) -> None:
    touchy = touchy_operations.TOUCHY[operation]
    assert store(wire, touchy_operations.model(operation, way), list(touchy.inputs), ["z"]) == OK
    for change in touchy.changes:
        assert isinstance(execute(wire, touchy.inputs | change, ["z"]), Error)
    assert execute(wire, touchy.inputs, ["z"]) == OK
    np.testing.assert_allclose(get(wire, "z"), touchy.run(*touchy.inputs.values()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(-1, 4, 4, 2), (4, 4), (3, 4, 4, 2)])
@pytest.mark.parametrize("way", ["graph", "function", "loop"])
def test_a_transposed_convolution_need_not_be_told_its_batch(wire: Wire, way: str, sizes: tuple[int, ...]) -> None:
    convolution = touchy_operations.TOUCHY["transposed convolution"]
    blob = touchy_operations.model("transposed convolution", way)
    assert store(wire, blob, list(convolution.inputs), ["z"]) == OK
    inputs = convolution.inputs | {"s": np.array(sizes, np.int32), "x": np.ones((3, 2, 2, 5), np.float32)}
    reply = execute(wire, inputs, ["z"])
    try:
        convolution.run(*inputs.values())
    except tf.errors.InvalidArgumentError:  # its kernel for this processor wants to be told
        assert isinstance(reply, Error) and sizes[0] == -1
        return
    assert reply == OK
    whole = inputs | {"s": np.array((3, 4, 4, 2), np.int32)}
    np.testing.assert_allclose(get(wire, "z"), convolution.run(*whole.values()), rtol=1e-5)


@pytest.mark.parametrize("missing", ["inputs", "attributes"])
@pytest.mark.parametrize("operation", touchy_operations.TOUCHY)
def test_nodes_that_are_not_whole(wire: Wire, operation: str, missing: str) -> None:
    inputs = touchy_operations.TOUCHY[operation].inputs
    graph = tf.compat.v1.GraphDef.FromString(touchy_operations.model(operation, "graph"))
    for node in graph.node:
        if node.op in ("Placeholder", "Const", "Identity"):
            continue
        if missing == "inputs":
            del node.input[-1]
        else:
            node.attr.clear()
    reply = store(wire, graph.SerializeToString(), list(inputs), ["z"])
    if missing == "inputs" or reply != OK:  # some attributes have defaults
        assert_error(reply, "Invalid GraphDef")


def batch_of_two(server: Server, wire: Wire, *outputs: str) -> tuple[object, object]:
    """The replies of two requests of two rows each that run together; outputs go to a0, a1 ... and b0, b1 ..."""
    put(wire, "x", np.ones((2, 1), np.float32))
    assert store(wire, models.batch_size(), ["x"], outputs, "BATCHSIZE", 4, "MINBATCHSIZE", 4) == OK
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", len(outputs))
    with server.wire() as other:
        other.send(*request, *(f"a{number}" for number in range(len(outputs))))
        reply = wire(*request, *(f"b{number}" for number in range(len(outputs))))
        return other.read(), reply


def test_requests_run_as_one_batch(server: Server, wire: Wire) -> None:
    assert batch_of_two(server, wire, "rows") == (OK, OK)
    for key in ("a0", "b0"):
        assert_tensor(wire, key, np.full((2, 1), 4, np.int64))


def test_scalar_outputs_of_a_batch_are_left_unset(server: Server, wire: Wire) -> None:
    assert batch_of_two(server, wire, "total", "rows") == (OK, OK)
    assert wire("EXISTS", "a0", "b0") == 0
    assert wire("EXISTS", "a1", "b1") == 2


def test_an_output_that_cannot_be_divided_fails_the_batch(server: Server, wire: Wire) -> None:
    error = Error("ERR Tensorflow batching error: model did not generate the expected batch size")
    assert batch_of_two(server, wire, "one_row", "rows") == (error, error)
    assert wire("EXISTS", "a0", "a1", "b0", "b1") == 0


# ---- what a graph may not do ---------------------------------------------------------------

OUTSIDE: dict[str, Callable[[], Any]] = {
    "ReadFile": lambda: tf.io.read_file("/etc/passwd"),
    "WriteFile": lambda: [tf.io.write_file("/tmp/evil", "evil"), tf.constant(1)][1],
    "MatchingFiles": lambda: tf.io.matching_files("/etc/*"),
    "RestoreV2": lambda: tf.raw_ops.RestoreV2(
        prefix="/tmp/evil", tensor_names=["w"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0],
    "SaveV2": lambda: [
        tf.raw_ops.SaveV2(prefix="/tmp/evil", tensor_names=["w"], shape_and_slices=[""], tensors=[tf.constant(1)]),
        tf.constant(1),
    ][1],
    "InitializeTableFromTextFileV2": lambda: [
        tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
            filename="/etc/passwd",
            key_index=-2,
            value_index=-1,
        ),
        tf.constant(1),
    ][1],
    "TextLineDataset": lambda: tf.raw_ops.TextLineDataset(filenames="/etc/passwd", compression_type="", buffer_size=0),
    "EagerPyFunc": lambda: tf.py_function(lambda: 1, [], tf.int32),
    "PyFunc": lambda: tf.numpy_function(lambda: 1, [], tf.int32, stateful=True),
    "PyFuncStateless": lambda: tf.numpy_function(lambda: 1, [], tf.int32, stateful=False),
    "PrintV2": lambda: [tf.print("evil", output_stream="file:///tmp/evil"), tf.constant(1)][1],
    "DecodeProtoV2": lambda: tf.raw_ops.DecodeProtoV2(
        bytes="", message_type="m", field_names=[], output_types=[], descriptor_source="/etc/passwd"
    )[0],
    "ImmutableConst": lambda: tf.raw_ops.ImmutableConst(dtype=tf.int32, shape=[1], memory_region_name="/etc/passwd"),
}


@pytest.mark.parametrize("operation", OUTSIDE)
@pytest.mark.parametrize("where", ["in the graph", "in a function"])
def test_a_graph_that_reaches_outside_itself_is_refused(wire: Wire, operation: str, where: str) -> None:
    build = OUTSIDE[operation]
    if where == "in a function":
        blob = models.in_a_function(build) if operation != "TextLineDataset" else models.graph(tf.function(build))
    else:
        blob = models.graph(lambda: (build(), models.input_of("x")))
    reply = store(wire, blob, ["x"], ["y"])
    assert_error(reply, f'ERR operation "{operation}" is not allowed in TF graph')
    assert wire("EXISTS", "m") == 0


@pytest.mark.parametrize("operation", OUTSIDE)
def test_what_no_output_needs_is_left_out(wire: Wire, operation: str) -> None:
    """Graphs often hold what once saved them."""

    def build() -> None:
        OUTSIDE[operation]()
        tf.add(models.input_of("x"), 1.0, name="y")

    assert store(wire, models.graph(build), ["x"], ["y"]) == OK
    put(wire, "x", np.array([1], np.float32))
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert_tensor(wire, "y", np.array([2], np.float32))


def test_an_operation_that_nobody_knows_is_refused(wire: Wire) -> None:
    blob = models.renamed(models.multiply(), "Mul", "Unheard")
    assert_error(store(wire, blob, ["a", "b"], ["c"]), "ERR", "Unheard")


def without_value(node: Any) -> None:
    del node.attr["value"]


def of_another_dtype(node: Any) -> None:
    node.attr["dtype"].type = tf.int8.as_datatype_enum


@pytest.mark.parametrize("change", [without_value, of_another_dtype])
def test_broken_nodes_in_functions_are_refused(wire: Wire, change: Callable[[Any], None]) -> None:
    """TensorFlow would end the server."""
    blob = models.with_functions_changed(models.spin(), change)
    assert_error(store(wire, blob, ["x"], ["y"]), "Invalid GraphDef", "Const")


# ---- ending runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(module_servers: Callable[..., Server]) -> Server:
    """Its options are also ones that are applied to sessions; 300 does not fit into a byte."""
    limits = ("INTRA_OP_PARALLELISM", 300, "INTER_OP_PARALLELISM", 2)
    return module_servers("MODEL_EXECUTION_TIMEOUT", 1000, "THREADS_PER_QUEUE", 2, *limits)


SPINNERS = {
    "graph": (models.spin, ["x"], ["y"], 0),
    "SavedModel": (lambda: models.zipped(models.saved_model(models.Spinner)), [], [], 7),
}


@pytest.mark.parametrize("form", SPINNERS)
def test_a_run_that_takes_too_long_is_ended_and_the_model_goes_on(impatient: Server, form: str) -> None:
    blob, inputs, outputs, more = SPINNERS[form]
    with impatient.wire() as wire:
        assert store(wire, blob(), inputs, outputs) == OK
        for _ in range(2):
            assert_error(execute(wire, {"x": np.int64(models.FOREVER)}, ["y"]), "cancelled")
            assert execute(wire, {"x": np.int64(5)}, ["y"]) == OK
            assert_tensor(wire, "y", np.int64(5 + more))


@pytest.mark.parametrize("form", SPINNERS)
def test_ending_one_run_does_not_harm_another_of_the_same_model(impatient: Server, form: str) -> None:
    blob, inputs, outputs, more = SPINNERS[form]
    with impatient.wire() as wire, impatient.wire() as endless:
        assert store(wire, blob(), inputs, outputs) == OK
        put(wire, "x", np.int64(models.FOREVER))
        put(wire, "short", np.int64(30_000))
        endless.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        for _ in range(3):
            while not endless.has_reply(0.0):
                assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "short", "OUTPUTS", 1, "z") == OK
        assert_error(endless.read(), "cancelled")
        assert_tensor(wire, "z", np.int64(30_000 + more))


@pytest.mark.parametrize("version", [0, 4])
def test_a_graph_without_names_in_a_file_fits_no_execution(wire: Wire, version: int) -> None:
    assert wire("RESTORE", "m", 0, rdb.model(version, models.multiply(), backend=0)) == OK
    for _ in range(2):  # while it is loaded, and when it is
        assert execute(wire, {"a": ONES, "b": ONES}, ["c"]) == Error(
            "Number of keys given as INPUTS here does not match model definition"
        )
    assert as_dict(wire("AI.INFO"))["Models failed"] == []
