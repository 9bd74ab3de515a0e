"""Small TensorFlow, Keras and TFLite models, and what the frameworks themselves make of them.

Graphs are serialized GraphDefs; archives are made of SavedModels and .keras files.
"""

from __future__ import annotations

import functools
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")

TF_TYPES = {
    "FLOAT": tf.float32,
    "DOUBLE": tf.float64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "FLOAT16": tf.float16,
    "BFLOAT16": tf.bfloat16,
    "BOOL": tf.bool,
    "STRING": tf.string,
}

Array = np.ndarray[Any, Any]


# ---- frozen graphs -------------------------------------------------------------------


def graph(build: Callable[[], object]) -> bytes:
    """The graph that ``build`` makes."""
    made = tf.Graph()
    with made.as_default():
        build()
    return bytes(made.as_graph_def().SerializeToString())


def input_of(name: str, dtype: Any = tf.float32) -> Any:
    return v1.placeholder(dtype, name=name)


@functools.cache
def multiply() -> bytes:
    """c = a * b, with broadcasting."""
    return graph(lambda: tf.multiply(input_of("a"), input_of("b"), name="c"))


@functools.cache
def identity(dtype: str = "FLOAT") -> bytes:
    return graph(lambda: tf.identity(input_of("x", TF_TYPES[dtype]), name="y"))


@functools.cache
def two_outputs() -> bytes:
    """sum = a + b and difference = a - b."""

    def build() -> None:
        a, b = input_of("a"), input_of("b")
        tf.add(a, b, name="sum")
        tf.subtract(a, b, name="difference")

    return graph(build)


@functools.cache
def linear() -> bytes:
    """y[n, 3] = x[n, 4] @ w"""
    weights = np.add.outer(np.arange(4), np.arange(3) / 10).astype(np.float32)
    return graph(lambda: tf.matmul(input_of("x"), tf.constant(weights), name="y"))


@functools.cache
def weighted(megabytes: int) -> bytes:
    """y[n, m] = x[n, 1024] @ w, with weights of so many MiB."""
    weights = np.ones((1024, megabytes * 256), np.float32)
    return graph(lambda: tf.matmul(input_of("x"), tf.constant(weights), name="y"))


def multiply_by_matrices(x: Any, size: int, count: int) -> Any:
    """Rows of ``size`` numbers, multiplied with ``count`` matrices; the last product is called y."""
    for index in range(count):
        x = tf.matmul(x, np.eye(size, dtype=np.float32), name="y" if index == count - 1 else None)
    return x


@functools.cache
def matrix_chain(size: int, count: int) -> bytes:
    """[rows, size] to the same; 2 * size^2 operations a row for each matrix."""
    return graph(lambda: multiply_by_matrices(v1.placeholder(tf.float32, (None, size), name="x"), size, count))


@functools.cache
def batch_size() -> bytes:
    """rows[n, 1] = n for every row of x[n, k], and the scalar total = sum of x."""

    def build() -> None:
        x = input_of("x")
        rows = tf.shape(x, out_type=tf.int64)[0]
        tf.fill([rows, 1], rows, name="rows")
        tf.reduce_sum(x, name="total")
        tf.reduce_sum(x, keepdims=True, name="one_row")

    return graph(build)


def convolution(x: Any, name: str = "y") -> Any:
    return tf.nn.conv2d(x, np.ones((2, 2, 1, 3), np.float32), strides=1, padding="VALID", name=name)


def convolve(function: bool = False, known: bool = True) -> bytes:
    """y = convolution(x), of four dims, which the placeholder says or not."""
    run = tf.function(lambda x: convolution(x), autograph=False) if function else convolution

    def build() -> Any:
        x = v1.placeholder(tf.float32, [None, 4, 4, 1] if known else None, name="x")
        return tf.identity(run(x), name="z")

    return graph(build)


@functools.cache
def string_lengths() -> bytes:
    """y = the lengths of the strings x, z = x with a mark behind each, and s = all of them joined, a scalar."""

    def build() -> None:
        x = input_of("x", tf.string)
        tf.strings.length(x, name="y")
        tf.strings.join([x, "!"], name="z")
        tf.identity(tf.strings.reduce_join(x, separator=","), name="s")

    return graph(build)


@functools.cache
def cast_to(dtype: Any) -> bytes:
    return graph(lambda: tf.cast(input_of("x"), dtype, name="y"))


def spinning(x: Any, name: str) -> Any:
    """As many loop turns as the value of x says."""
    return tf.while_loop(lambda i: i < x, lambda i: [i + 1], [tf.zeros_like(x)], parallel_iterations=1, name=name)[0]


@functools.cache
def spin() -> bytes:
    """y = x, a scalar INT64, after so many loop turns."""
    return graph(lambda: tf.identity(spinning(input_of("x", tf.int64), "loop"), name="y"))


FOREVER = 1 << 50


@functools.cache
def in_a_function(build: Callable[[], Any]) -> bytes:
    """y = build(), inside a function of the graph's library."""
    return graph(lambda: tf.identity(tf.function(build)(), name="y"))


def renamed(blob: bytes, old: str, new: str) -> bytes:
    """A graph whose operations of one kind are said to be of another."""
    made = graph_pb2.GraphDef.FromString(blob)
    for node in made.node:
        if node.op == old:
            node.op = new
    return bytes(made.SerializeToString())


def with_functions_changed(blob: bytes, change: Callable[[Any], None]) -> bytes:
    """A graph with something done to the constants in its functions."""
    made = graph_pb2.GraphDef.FromString(blob)
    for function in made.library.function:
        for node in function.node_def:
            if node.op == "Const":
                change(node)
    return bytes(made.SerializeToString())


def run_graph(blob: bytes, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
    """What TensorFlow itself computes."""
    made = tf.Graph()
    with made.as_default():
        tf.import_graph_def(graph_pb2.GraphDef.FromString(blob), name="")
    with v1.Session(graph=made) as session:
        fetched = session.run([f"{name}:0" for name in outputs], {f"{name}:0": array for name, array in feeds.items()})
    return list(map(as_array, fetched))


def as_array(value: Any) -> Array:
    return np.array(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)


# ---- archives -----------------------------------------------------------------------------


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def zipped(files: Mapping[str, bytes], folder: str = "") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return target.getvalue()


def tarred(files: Mapping[str, bytes], folder: str = "", mode: str = "w") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


ARCHIVES: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": zipped,
    "zip of a folder": lambda files: zipped(files, "model/"),
    "tar": tarred,
    "tar of a folder": lambda files: tarred(files, "export/1/"),
    "tar.gz": lambda files: tarred(files, mode="w:gz"),
}


def saved(module: Any, signatures: Any) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures=signatures)
        return files_below(Path(directory))


def signature(*specs: Any) -> Any:
    return tf.function(input_signature=specs)


class Affine(tf.Module):  # type: ignore[misc]
    """Has two outputs, whose names are not in the order of the alphabet, and variables."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.arange(8, dtype=np.float32).reshape(4, 2))
        self.bias = tf.Variable([1.0, 2.0])

    @signature(tf.TensorSpec([None, 4]), tf.TensorSpec([None, 2]))
    def serve(self, x: Any, offset: Any) -> dict[str, Any]:
        y = x @ self.weights + self.bias + offset
        return {"y": y, "largest": tf.reduce_max(y, axis=1)}


class Table(tf.Module):  # type: ignore[misc]
    """Looks words up in a table that an initialiser fills."""

    def __init__(self) -> None:
        super().__init__()
        words = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([10, 20], tf.int64))
        self.table = tf.lookup.StaticHashTable(words, -1)

    @signature(tf.TensorSpec([None], tf.string))
    def serve(self, word: Any) -> dict[str, Any]:
        return {"number": self.table.lookup(word)}


class Spinner(tf.Module):  # type: ignore[misc]
    """As ``spin``, plus a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.seven = tf.Variable(7, dtype=tf.int64)

    @signature(tf.TensorSpec([], tf.int64))
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": spinning(x, "loop") + self.seven}


class Reader(tf.Module):  # type: ignore[misc]
    """Reads a file of the server."""

    @signature(tf.TensorSpec([1]))
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": x, "text": tf.io.read_file("/etc/passwd")}


class WithAsset(tf.Module):  # type: ignore[misc]
    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = tf.saved_model.Asset(file)

    @signature(tf.TensorSpec([1]))
    def serve(self, x: Any) -> dict[str, Any]:
        return {"y": x, "text": tf.identity(self.file.asset_path)}


@functools.cache
def saved_model(kind: type) -> dict[str, bytes]:
    """The files of a SavedModel of one of the classes above."""
    module = kind()
    return saved(module, module.serve)


@functools.cache
def saved_model_with_asset() -> dict[str, bytes]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        module = WithAsset(file.name)
        return saved(module, module.serve)


@functools.cache
def saved_model_of_tensorflow_1() -> dict[str, bytes]:
    """y[n, 2] = x[n, 4] @ w of a graph with variables of its own, saved by TensorFlow 1."""
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), v1.Session() as session:
        x = input_of("x")
        initial = np.arange(8, dtype=np.float32).reshape(4, 2)
        weights = v1.get_variable("w", initializer=initial, use_resource=False)
        y = tf.matmul(x, weights, name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, f"{folder}/model", {"x": x}, {"y": y})
        return files_below(Path(folder) / "model")


def changed(files: Mapping[str, bytes], change: Callable[[Any], None]) -> dict[str, bytes]:
    """A SavedModel with something done to its graph."""
    made = saved_model_pb2.SavedModel.FromString(files["saved_model.pb"])
    change(made.meta_graphs[0])
    return {**files, "saved_model.pb": bytes(made.SerializeToString())}


def restore_from_elsewhere(meta: Any) -> None:
    """Has the function that restores variables read another checkpoint of the server."""
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op == "RestoreV2":
                path = function.node_def.add(name="elsewhere", op="Const")
                path.attr["dtype"].type = tf.string.as_datatype_enum
                path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/tmp/elsewhere"))
                node.input[0] = "elsewhere:output:0"
                return


def initialise_by_reading(meta: Any) -> None:
    """Has the initialiser read a file."""
    path = meta.graph_def.node.add(name="evil/path", op="Const")
    path.attr["dtype"].type = tf.string.as_datatype_enum
    path.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
    meta.graph_def.node.add(name="evil", op="ReadFile", input=["evil/path"])
    initialise_after(meta, "evil")


def initialise_by_what_is_missing(meta: Any) -> None:
    initialise_after(meta, "missing")


def initialise_after(meta: Any, name: str) -> None:
    """Has the initialiser wait for a node."""
    (initialiser,) = [node for node in meta.graph_def.node if node.name == "NoOp"]
    initialiser.input.append(f"^{name}")


def run_saved_model(files: Mapping[str, bytes], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """What TensorFlow itself computes."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        loaded = tf.saved_model.load(folder)
        result = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in feeds.items()})
        return {name: value.numpy() for name, value in result.items()}


# ---- Keras -----------------------------------------------------------------------------------


@functools.cache
def keras_model() -> Any:
    """p[n, 2] and q[n, 3] of left[n, 4] and right[n, 4]."""
    layers = tf.keras.layers
    left, right = tf.keras.Input((4,), name="left"), tf.keras.Input((4,), name="right")
    hidden = layers.Dense(3, activation="relu")(layers.Concatenate()([left, right]))
    p = layers.Dense(2, name="p")(hidden)
    q = layers.BatchNormalization(name="q")(hidden)
    return tf.keras.Model([left, right], [p, q])


@functools.cache
def keras_files(kind: str = "functional") -> dict[str, bytes]:
    if kind == "functional":
        model = keras_model()
    elif kind == "lambda":
        model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Lambda(lambda x: x + 1)])
    else:
        words = tf.keras.layers.StringLookup(vocabulary=["a", "b"])
        model = tf.keras.Sequential([tf.keras.Input((1,), dtype="string"), words])
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        with zipfile.ZipFile(f"{folder}/model.keras") as archive:
            return {name: archive.read(name) for name in archive.namelist()}


# ---- TFLite -------------------------------------------------------------------------------------


def convert(function: Callable[..., Any], *specs: Any) -> bytes:
    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    with quiet():
        return bytes(converter.convert())


class quiet:
    """The converter writes to stdout and stderr below Python."""

    def __enter__(self) -> None:
        self.nothing = os.open(os.devnull, os.O_WRONLY)
        self.kept = [os.dup(1), os.dup(2)]
        os.dup2(self.nothing, 1)
        os.dup2(self.nothing, 2)

    def __exit__(self, *error: object) -> None:
        for number, kept in enumerate(self.kept, 1):
            os.dup2(kept, number)
            os.close(kept)
        os.close(self.nothing)


def vector(name: str, dtype: Any = tf.float32, length: int | None = None) -> Any:
    return tf.TensorSpec([length], dtype, name=name)


@functools.cache
def lite_multiply() -> bytes:
    """a * b, both of one length."""
    return convert(lambda a, b: a * b, vector("a"), vector("b"))


@functools.cache
def lite_identity(dtype: str) -> bytes:
    """x of any length and one of the dtypes, back as it is."""
    return convert(lambda x: tf.concat([x, x], axis=0), vector("x", TF_TYPES[dtype]))


@functools.cache
def lite_cast(dtype: Any, source: Any = tf.float32) -> bytes:
    return convert(lambda x: tf.cast(x, dtype), vector("x", source))


@functools.cache
def lite_linear() -> bytes:
    """y[n, 3] = x[n, 4] @ w, and the largest of each row."""
    weights = np.add.outer(np.arange(4), np.arange(3) / 10).astype(np.float32)

    def run(x: Any) -> Any:
        y = tf.matmul(x, weights)
        return y, tf.reduce_max(y, axis=1)

    return convert(run, tf.TensorSpec([None, 4], tf.float32, name="x"))


@functools.cache
def lite_double_of_8_dims() -> bytes:
    return convert(lambda x: x + x, tf.TensorSpec([None] + [1] * 7, tf.float32, name="x"))


@functools.cache
def lite_matrix_chain(rows: int, size: int, count: int) -> bytes:
    """[rows, size] to the same, like matrix_chain."""
    return convert(lambda x: multiply_by_matrices(x, size, count), tf.TensorSpec((rows, size), tf.float32, "x"))


@functools.cache
def lite_scalar_sum() -> bytes:
    return convert(lambda x: tf.reduce_sum(x), vector("x"))


@functools.cache
def lite_gather() -> bytes:
    """table[x] of a table of two: an index above 1 fails the run."""
    return convert(lambda x: tf.gather(tf.constant([10.0, 20.0]), x), vector("x", tf.int32))


@functools.cache
def lite_where() -> bytes:
    """The indices of what is above 0 in x, which may be none."""
    return convert(lambda x: tf.where(x > 0), vector("x"))


@functools.cache
def lite_total(size: int) -> bytes:
    """The sum of its inputs, of ``size`` by ``size``, in all runs until now, and x @ x, which takes time."""

    class Total(tf.Module):
        def __init__(self) -> None:
            self.total = tf.Variable(tf.zeros([size, size]))

        @tf.function(input_signature=[tf.TensorSpec([size, size], tf.float32, name="x")])
        def run(self, x: Any) -> Any:
            self.total.assign_add(x)
            return self.total.read_value() + x @ x

    module = Total()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.run.get_concrete_function()], module)
    with quiet():
        return bytes(converter.convert())


def run_lite(blob: bytes, inputs: Sequence[Array]) -> list[Array]:
    """What the interpreter itself computes."""
    interpreter = Interpreter(model_content=blob)
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [np.asarray(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


def lite_names(blob: bytes) -> Iterator[list[bytes]]:
    """The names of the inputs, and those of the outputs."""
    interpreter = Interpreter(model_content=blob)
    for details in (interpreter.get_input_details(), interpreter.get_output_details()):
        yield [detail["name"].encode() for detail in details]
