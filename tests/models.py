"""Small ONNX models, one for each thing a test wants to see.

Every function returns a serialized ModelProto. Shapes are dynamic unless a
function says otherwise.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

# Dtype names of the module and their ONNX element types.
ONNX_TYPES = {
    "FLOAT": TensorProto.FLOAT,
    "DOUBLE": TensorProto.DOUBLE,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FLOAT16": TensorProto.FLOAT16,
    "BFLOAT16": TensorProto.BFLOAT16,
    "BOOL": TensorProto.BOOL,
    "STRING": TensorProto.STRING,
}

Value = ValueInfoProto


def value(name: str, dtype: int = TensorProto.FLOAT, shape: Sequence[int | str | None] | None = None) -> Value:
    """An input or output; without a shape, of any rank."""
    return helper.make_tensor_value_info(name, dtype, shape)


def build(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    initializers: Sequence[TensorProto] = (),
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(initializers))
    return serialize(graph, opset)


def serialize(graph: GraphProto, opset: int = 17) -> bytes:
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8 if opset < 19 else 9
    return model.SerializeToString()


def constant(name: str, array: np.ndarray) -> TensorProto:
    return onnx.numpy_helper.from_array(array, name)


@functools.cache
def multiply() -> bytes:
    """c = a * b, with broadcasting."""
    return build([helper.make_node("Mul", ["a", "b"], ["c"])], [value("a"), value("b")], [value("c")])


@functools.cache
def identity(dtype: str = "FLOAT") -> bytes:
    """y = x, of one dtype and any shape, scalars included."""
    element = ONNX_TYPES[dtype]
    return build([helper.make_node("Identity", ["x"], ["y"])], [value("x", element)], [value("y", element)])


@functools.cache
def cast(source: str, target: str) -> bytes:
    """y = x, of another dtype."""
    node = helper.make_node("Cast", ["x"], ["y"], to=ONNX_TYPES[target])
    return build([node], [value("x", ONNX_TYPES[source])], [value("y", ONNX_TYPES[target])])


@functools.cache
def two_outputs() -> bytes:
    """sum = a + b and difference = a - b."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])]
    return build(nodes, [value("a"), value("b")], [value("sum"), value("difference")])


def sum_of(count: int) -> bytes:
    """y = the sum of so many inputs."""
    names = [f"x{number}" for number in range(count)]
    return build([helper.make_node("Sum", names, ["y"])], [value(name) for name in names], [value("y")])


@functools.cache
def linear(features: int = 4, classes: int = 3) -> bytes:
    """y[n, classes] = x[n, features] @ w, with w[i, j] = i + j / 10."""
    weights = np.add.outer(np.arange(features), np.arange(classes) / 10).astype(np.float32)
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", shape=["n", features])],
        [value("y", shape=["n", classes])],
        [constant("w", weights)],
    )


def _batch_size_nodes(source: str, result: str) -> list[NodeProto]:
    """Nodes that give every row the number of rows of the batch it ran in."""
    return [
        helper.make_node("Shape", [source], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["rows", "one"], ["column"], axis=0),
        helper.make_node("Expand", ["rows", "column"], [result]),
    ]


ONE = constant("one", np.array([1], np.int64))


@functools.cache
def batch_size() -> bytes:
    """rows[n, 1] = n for every row of x[n, ...]: tells what was batched together.

    ``x`` must be FLOAT of rank 2.
    """
    return build(
        _batch_size_nodes("x", "y"),
        [value("x", shape=["n", "k"])],
        [value("y", TensorProto.INT64, ["n", 1])],
        [ONE],
    )


@functools.cache
def batch_size_of_two() -> bytes:
    """As ``batch_size``, with a second input whose rows may differ in number."""
    nodes = [
        helper.make_node("Cast", ["w"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", ["whole"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        *_batch_size_nodes("x", "size"),
        helper.make_node("Add", ["size", "nothing"], ["y"]),
    ]
    inputs = [value("x", shape=["n", "k"]), value("w", shape=["m", "l"])]
    zero = constant("zero", np.array(0, np.int64))
    return build(nodes, inputs, [value("y", TensorProto.INT64, ["n", 1])], [ONE, zero])


def _loop_body() -> GraphProto:
    """cond, acc -> cond, acc + 1."""
    nodes = [
        helper.make_node("Identity", ["cond_in"], ["cond_out"]),
        helper.make_node("Add", ["acc_in", "step"], ["acc_out"]),
    ]
    inputs = [
        value("i", TensorProto.INT64, []),
        value("cond_in", TensorProto.BOOL, []),
        value("acc_in", TensorProto.INT64, []),
    ]
    outputs = [value("cond_out", TensorProto.BOOL, []), value("acc_out", TensorProto.INT64, [])]
    return helper.make_graph(nodes, "body", inputs, outputs, [constant("step", np.array(1, np.int64))])


@functools.cache
def spin() -> bytes:
    """As ``batch_size``, after as many loop turns as the largest value of x[n, k].

    Zero runs at once; ``FOREVER`` runs until somebody terminates it.
    """
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["turns"], to=TensorProto.INT64),
        helper.make_node("Loop", ["turns", "true", "zero"], ["counted"], body=_loop_body()),
        helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
        *_batch_size_nodes("x", "size"),
        helper.make_node("Add", ["size", "nothing"], ["y"]),
    ]
    initializers = [ONE, constant("true", np.array(True)), constant("zero", np.array(0, np.int64))]
    inputs = [value("x", shape=["n", "k"])]
    return build(nodes, inputs, [value("y", TensorProto.INT64, ["n", 1])], initializers)


FOREVER = 1e15


@functools.cache
def spin_at_zero(turns: int = 10**15) -> bytes:
    """y = x[n], after so many loop turns when x is all 0: by default until somebody terminates it."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "nothing"], ["is_zero"]),
        helper.make_node("Where", ["is_zero", "many", "zero"], ["turns"]),
        helper.make_node("Loop", ["turns", "true", "zero"], ["counted"], body=_loop_body()),
        helper.make_node("Cast", ["counted"], ["offset"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "offset"], ["y"]),
    ]
    initializers = [
        constant("true", np.array(True)),
        constant("zero", np.array(0, np.int64)),
        constant("many", np.array(turns, np.int64)),
        constant("nothing", np.array(0, np.float32)),
    ]
    return build(nodes, [value("x", shape=["n"])], [value("y", shape=["n"])], initializers)


@functools.cache
def turns_per_second() -> float:
    """How fast ``spin`` turns on this machine."""
    import onnxruntime

    session = onnxruntime.InferenceSession(spin(), providers=["CPUExecutionProvider"])
    turns = 20_000
    session.run(None, {"x": np.zeros((1, 1), np.float32)})
    start = time.perf_counter()
    session.run(None, {"x": np.full((1, 1), turns, np.float32)})
    return turns / (time.perf_counter() - start)


def turns_for(seconds: float) -> float:
    """The value of x that keeps ``spin`` busy for about so long."""
    return round(turns_per_second() * seconds)


@functools.cache
def lookup() -> bytes:
    """y[n, 1] = table[x[n, 1]] of a table of two: any index above 1 fails the run."""
    table = constant("table", np.array([10.0, 20.0], np.float32))
    return build(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [value("x", TensorProto.INT64, ["n", 1])],
        [value("y", shape=["n", 1])],
        [table],
    )


@functools.cache
def total() -> bytes:
    """y[1, 1] = sum of x[n, k]: an output that cannot be split over a batch."""
    return build(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)],
        [value("x", shape=["n", "k"])],
        [value("y", shape=[1, 1])],
    )


@functools.cache
def scalar_sum() -> bytes:
    """y (rank 0) = sum of x of any shape."""
    return build([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [value("x")], [value("y", shape=[])])


@functools.cache
def sequence_and_tensor() -> bytes:
    """list = [x] (a sequence, no tensor) and y = x."""
    sequence = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["list"]), helper.make_node("Identity", ["x"], ["y"])]
    return build(nodes, [value("x")], [sequence, value("y")])


@functools.cache
def float_8_output() -> bytes:
    """y = x as FLOAT8E4M3FN, a dtype that tensors do not have."""
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)
    return build([cast], [value("x")], [value("y", TensorProto.FLOAT8E4M3FN)], opset=19)


def slow_to_load(products: int) -> bytes:
    """y = x @ w, where the runtime folds a long product of constants at load."""
    size = 400
    previous = "w"
    nodes = []
    for product in range(products):
        nodes.append(helper.make_node("MatMul", [previous, "w"], [f"w{product}"]))
        previous = f"w{product}"
    nodes.append(helper.make_node("MatMul", ["x", previous], ["y"]))
    weights = constant("w", np.eye(size, dtype=np.float32))
    return build(nodes, [value("x", shape=["n", size])], [value("y", shape=["n", size])], [weights])


def weighted(megabytes: float) -> bytes:
    """y[n, 8] = x[n, k] @ w with a weight matrix of about so many megabytes."""
    rows = max(1, int(megabytes * 1e6 / 4 / 8))
    weights = np.random.default_rng(7).standard_normal((rows, 8), np.float32)
    return build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", shape=["n", rows])],
        [value("y", shape=["n", 8])],
        [constant("w", weights)],
    )


def expanding(megabytes: float) -> bytes:
    """y = x[1] expanded to so many megabytes: small to store, large to run."""
    size = constant("size", np.array([int(megabytes * 1e6 / 4)], np.int64))
    return build([helper.make_node("Expand", ["x", "size"], ["y"])], [value("x", shape=[1])], [value("y")], [size])


def external_data(location: str) -> bytes:
    """A model whose weights are said to be in a file of the server."""
    model = onnx.load_model_from_string(linear())
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    return model.SerializeToString()


def matrix_chain(size: int, count: int) -> bytes:
    """y = x @ w @ w ... with size x size matrices: keeps the cores busy."""
    weights = (np.eye(size) + 1e-3).astype(np.float32)
    nodes = []
    previous = "x"
    for step in range(count):
        nodes.append(helper.make_node("MatMul", [previous, "w"], [f"h{step}"]))
        previous = f"h{step}"
    nodes.append(helper.make_node("Identity", [previous], ["y"]))
    return build(nodes, [value("x", shape=["n", size])], [value("y")], [constant("w", weights)])


@functools.cache
def gram() -> bytes:
    """y[n, n] = x[n, k] @ x[k, n]: what it takes depends on which of its dims is the long one."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    return build(nodes, [value("x", shape=["n", "k"])], [value("y", shape=["n", "n"])])


@functools.cache
def positions() -> bytes:
    """y[rank, n] (INT64) = where x is not zero: an empty tensor for zeros."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    return build([node], [value("x")], [value("y", TensorProto.INT64)])
