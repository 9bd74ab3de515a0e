"""The TF backend: frozen graphs, SavedModels and Keras archives, and what is refused in them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tensorflow_models as models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, wait_until
from harness import payload as rdb
from harness.tensors import DTYPES, SAMPLES

Array = np.ndarray

NO_INPUTS = Error("ERR INPUTS not specified for TF")
X = np.arange(8, dtype=np.float32).reshape(2, 4)
OFFSET = np.full((2, 2), 0.5, np.float32)
ONES = np.ones(2, np.float32)


def store(
    wire: Wire,
    blob: bytes,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    *options: str | int,
    device: str = "CPU",
    key: str = "m",
) -> object:
    names = ("INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs) if inputs or outputs else ()
    return wire("AI.MODELSTORE", key, "TF", device, *options, *names, "BLOB", blob)


def execute(wire: Wire, inputs: Mapping[str, Any], outputs: Sequence[str], key: str = "m") -> object:
    """Runs the model on new tensors with the names of its inputs; outputs get the names that are given."""
    for name, array in inputs.items():
        put(wire, name, array)
    return wire("AI.MODELEXECUTE", key, "INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs)


def signature(wire: Wire, key: str = "m") -> tuple[list[bytes], list[bytes]]:
    meta = as_dict(wire("AI.MODELGET", key, "META"))
    return meta["inputs"], meta["outputs"]


def assert_error(reply: object, *parts: str) -> None:
    assert isinstance(reply, Error), reply
    for part in parts:
        assert part in reply.text


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


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.uint32, tf.uint64, tf.complex64])
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
    assert "\n" not in str(reply) and "\t" not in str(reply)
    assert as_dict(wire("AI.INFO", "m"))["errors"] == 1
    assert execute(wire, {"a": ONES, "b": ONES}, ["c"]) == OK


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


# ---- SavedModels -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", models.ARCHIVES)
def test_an_archive_of_a_saved_model_states_its_own_signature(wire: Wire, form: str) -> None:
    files = models.saved_model(models.Affine)
    blob = models.ARCHIVES[form](files)
    assert store(wire, blob) == OK
    assert signature(wire) == ([b"offset", b"x"], [b"largest", b"y"]), "in the order of their names"
    assert wire("AI.MODELGET", "m", "BLOB") == blob
    assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"]) == OK
    for name, array in models.run_saved_model(files, {"offset": OFFSET, "x": X}).items():
        assert_tensor(wire, name, array)


def test_an_archive_in_chunks(wire: Wire) -> None:
    blob = models.tarred(models.saved_model(models.Affine))
    chunks = [blob[start : start + 100] for start in range(0, len(blob), 100)]
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "BLOB", *chunks) == OK
    assert signature(wire) == ([b"offset", b"x"], [b"largest", b"y"])


def test_names_that_are_given_must_be_in_the_signature(wire: Wire) -> None:
    blob = models.zipped(models.saved_model(models.Affine))
    assert store(wire, blob, ["x", "offset"], ["y"]) == OK
    assert signature(wire) == ([b"x", b"offset"], [b"y"])
    assert execute(wire, {"x": X, "offset": OFFSET}, ["y"]) == OK
    assert_tensor(wire, "y", models.run_saved_model(models.saved_model(models.Affine), {"x": X, "offset": OFFSET})["y"])
    assert store(wire, blob, ["z", "offset"], ["y"]) == Error('ERR Input node named "z" not found in TF graph.')
    assert store(wire, blob, ["x", "offset"], ["z"]) == Error('ERR Output node named "z" not found in TF graph')


def test_a_table_is_initialised(wire: Wire) -> None:
    assert store(wire, models.zipped(models.saved_model(models.Table))) == OK
    words = np.array([b"b", b"?", b"a"], object)
    assert execute(wire, {"word": words}, ["number"]) == OK
    assert_tensor(wire, "number", np.array([20, -1, 10], np.int64))


def test_a_saved_model_of_tensorflow_1(wire: Wire) -> None:
    files = models.saved_model_of_tensorflow_1()
    assert store(wire, models.zipped(files)) == OK
    assert execute(wire, {"x": X}, ["y"]) == OK
    assert_tensor(wire, "y", models.run_saved_model(files, {"x": X})["y"])


REFUSED_FILES: dict[str, tuple[Callable[[], Mapping[str, bytes]], str]] = {
    "reads a file": (lambda: models.saved_model(models.Reader), '"ReadFile" is not allowed'),
    "has assets": (models.saved_model_with_asset, "assets"),
    "restores another checkpoint": (
        lambda: models.changed(models.saved_model(models.Affine), models.restore_from_elsewhere),
        '"RestoreV2" is not allowed',
    ),
    "initialises from a file": (
        lambda: models.changed(models.saved_model(models.Table), models.initialise_by_reading),
        '"ReadFile" is not allowed',
    ),
    "is no SavedModel": (lambda: {"saved_model.pb": b"junk"}, "not a valid SavedModel"),
    "holds something else": (lambda: {"readme": b"hello"}, "neither a SavedModel"),
    "holds nothing": (dict, "ERR"),
    "has a member above": (lambda: {"../evil": b"", **models.saved_model(models.Affine)}, "outside"),
    "has an absolute member": (lambda: {"/tmp/evil": b"", **models.saved_model(models.Affine)}, "outside"),
    "is a Keras model with code": (lambda: models.keras_files("lambda"), "Lambda"),
    "is a Keras model with a vocabulary": (lambda: models.keras_files("vocabulary"), "ERR"),
    "is a Keras model with a foreign class": (
        lambda: {**models.keras_files(), "config.json": b'{"module": "os", "class_name": "system", "config": {}}'},
        "os.system",
    ),
    "is a Keras model without a description": (lambda: {**models.keras_files(), "config.json": b"junk"}, "JSON"),
}


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("what", REFUSED_FILES)
def test_an_archive_that_is_refused(wire: Wire, what: str, form: str) -> None:
    files, text = REFUSED_FILES[what]
    if what == "holds nothing" and form != "tar.gz":
        pytest.skip("an empty archive of this form has no magic")
    reply = store(wire, models.ARCHIVES[form](files()))
    assert_error(reply, "ERR", text)
    assert wire("EXISTS", "m") == 0


def tar_with(kind: bytes, target: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("saved_model.pb")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return made.getvalue()


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"6"], ids=["hard link", "symbolic link", "device", "pipe"])
def test_an_archive_with_what_is_no_plain_file(wire: Wire, kind: bytes) -> None:
    assert_error(store(wire, tar_with(kind, "/etc/passwd")), "not a plain file")


def test_a_zip_with_a_link(wire: Wire) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        member = zipfile.ZipInfo("saved_model.pb")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert_error(store(wire, made.getvalue()), "not a plain file")


def test_an_archive_that_expands_without_end(wire: Wire) -> None:
    zeros = {"saved_model.pb": bytes(80 << 20)}
    assert_error(store(wire, models.zipped(zeros)), "expands")
    assert_error(store(wire, models.tarred(zeros, mode="w:gz")), "expands")


@pytest.mark.parametrize("keep", [30, 2000])
@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_half_an_archive(wire: Wire, form: str, keep: int) -> None:
    blob = models.ARCHIVES[form](models.saved_model(models.Affine))[:keep]
    assert isinstance(store(wire, blob), Error)
    assert wire("EXISTS", "m") == 0


def test_no_file_is_left_behind(wire: Wire) -> None:
    before = set(Path(gettempdir()).glob("redisai-*"))
    assert store(wire, models.zipped(models.saved_model(models.Affine))) == OK
    assert isinstance(store(wire, models.zipped(models.saved_model(models.Reader))), Error)
    assert set(Path(gettempdir()).glob("redisai-*")) <= before


ONLY_ARCHIVES = [
    (models.multiply(),),
    ("x",),
    (b"PK",),
    (b"PK\3", b"\5"),
    (b"x" * 257 + b"ustaR",),
]


@pytest.mark.parametrize("chunks", ONLY_ARCHIVES)
def test_only_archives_may_leave_the_names_out(wire: Wire, chunks: tuple[bytes | str, ...]) -> None:
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "BLOB", *chunks) == NO_INPUTS


def test_an_archive_with_half_of_the_names(wire: Wire) -> None:
    blob = models.zipped(models.saved_model(models.Affine))
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "OUTPUTS", 1, "y", "BLOB", blob) == NO_INPUTS
    no_outputs = Error("ERR OUTPUTS not specified for TF")
    assert wire("AI.MODELSTORE", "m", "TF", "CPU", "INPUTS", 1, "x", "BLOB", blob) == no_outputs


def test_a_keras_archive_states_its_own_signature(wire: Wire) -> None:
    assert store(wire, models.zipped(models.keras_files())) == OK
    assert signature(wire) == ([b"left", b"right"], [b"p", b"q"])
    right = np.ones((2, 4), np.float32)
    assert execute(wire, {"left": X, "right": right}, ["p", "q"]) == OK
    expected = models.keras_model()([X, right], training=False)
    for name, array in zip("pq", expected, strict=True):
        np.testing.assert_allclose(get(wire, name), array.numpy(), rtol=1e-5, atol=1e-5)


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


# ---- persistence ----------------------------------------------------------------------------------


def fill(wire: Wire) -> None:
    assert store(wire, models.multiply(), ["a", "b"], ["c"], "TAG", "t", key="graph") == OK
    assert store(wire, models.zipped(models.saved_model(models.Affine)), key="zip") == OK
    assert store(wire, models.tarred(models.saved_model(models.Affine)), ["x", "offset"], ["y"], key="tar") == OK
    assert store(wire, models.zipped(models.keras_files()), key="keras") == OK


def check(wire: Wire) -> None:
    assert execute(wire, {"a": 2 * ONES, "b": 3 * ONES}, ["c"], key="graph") == OK
    assert_tensor(wire, "c", 6 * ONES)
    expected = models.run_saved_model(models.saved_model(models.Affine), {"x": X, "offset": OFFSET})
    assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"], key="zip") == OK
    assert_tensor(wire, "largest", expected["largest"])
    assert execute(wire, {"x": X, "offset": OFFSET}, ["y"], key="tar") == OK
    assert_tensor(wire, "y", expected["y"])
    assert execute(wire, {"left": X, "right": X}, ["p", "q"], key="keras") == OK
    assert signature(wire, "zip") == ([b"offset", b"x"], [b"largest", b"y"])
    assert signature(wire, "tar") == ([b"x", b"offset"], [b"y"])
    assert signature(wire, "keras") == ([b"left", b"right"], [b"p", b"q"])


def rewrite(server: Server, wire: Wire) -> None:
    wire("BGREWRITEAOF")
    wait_until(lambda: server.info("persistence")["aof_rewrite_in_progress"] == "0")
    assert server.info("persistence")["aof_last_bgrewrite_status"] == "ok"


def test_models_survive_reload_restore_and_aof(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no", save="3600 1")
    with server.wire() as wire:
        fill(wire)
        check(wire)
        assert wire("DEBUG", "RELOAD") == OK
        check(wire)
        for key in ("graph", "zip", "tar", "keras"):
            payload = wire("DUMP", key)
            assert wire("DEL", key) == 1
            assert wire("RESTORE", key, 0, payload) == OK
        check(wire)
        assert wire("COPY", "zip", "copy") == 1
        assert execute(wire, {"offset": OFFSET, "x": X}, ["largest", "y"], key="copy") == OK
    with server.restart().wire() as wire:  # from the commands as they came
        check(wire)
        rewrite(server, wire)
    with server.restart().wire() as wire:
        check(wire)


def test_names_that_are_not_known_yet_are_saved_as_none_and_found_later(make_server: Callable[..., Server]) -> None:
    """A server that loads a model from an AOF knows its names only when the worker has it."""
    server = make_server("MODEL_CHUNK_SIZE", 100, appendonly="yes", aof_use_rdb_preamble="no", save="3600 1")
    with server.wire() as wire:
        fill(wire)
    for _ in range(2):
        with server.restart().wire() as wire:
            # TensorFlow takes seconds to import, so all of this happens before.
            assert signature(wire, "zip") == ([], [])
            rewrite(server, wire)
            assert wire("DEBUG", "RELOAD") == OK
            payload = wire("DUMP", "keras")
    with server.restart().wire() as wire:
        assert wire("RESTORE", "keras", 0, payload, "REPLACE") == OK
        check(wire)


def test_a_model_that_cannot_be_loaded_survives_an_aof_rewrite(make_server: Callable[..., Server]) -> None:
    server = make_server(appendonly="yes", aof_use_rdb_preamble="no")
    with server.wire() as wire:
        assert wire("RESTORE", "broken", 0, rdb.model(4, b"no graph", backend=0)) == OK
        rewrite(server, wire)
    with server.restart().wire() as wire:
        assert wire("AI.MODELGET", "broken", "BLOB") == b"no graph"
        assert_error(execute(wire, {"x": ONES}, ["y"], key="broken"), "Invalid GraphDef")


def test_a_replica_runs_an_archive(make_server: Callable[..., Server]) -> None:
    server, replica = make_server(), make_server()
    with server.wire() as wire, replica.wire() as reader:
        assert reader("REPLICAOF", "127.0.0.1", server.port) == OK
        server.wait_for_replica(replica)
        fill(wire)
        server.wait_for_replica(replica)
        reader("REPLICAOF", "NO", "ONE")
        check(reader)
