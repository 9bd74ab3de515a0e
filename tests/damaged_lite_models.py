"""Damaged TFLite models, some of which end a process whose runtime gets them, and sound ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

import tensorflow_models as models

OPERATORS = schema.BuiltinOperator
OPTIONS = schema.BuiltinOptions


def model_of(operator: int, inputs: list[int], outputs: list[int], tensors: int) -> Any:
    """A graph of one operator on FLOAT tensors of 4 elements; those that it only reads are the graph's inputs."""
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [tensor(f"t{number}") for number in range(tensors)]
    graph.inputs, graph.outputs = [each for each in inputs if each not in outputs], outputs
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, inputs, outputs
    graph.operators = [node]
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, min(operator, 127), 1
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return model


def tensor(name: str) -> Any:
    made = schema.TensorT()
    made.shape, made.type, made.buffer, made.name = [4], schema.TensorType.FLOAT32, 0, name
    return made


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def unpacked(blob: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(blob, 0))


def typed(model: Any, dtype: int, scale: float | None = None) -> bytes:
    """The model with tensors of another dtype."""
    for each in model.subgraphs[0].tensors:
        each.type = dtype
        if scale is not None:
            each.quantization = schema.QuantizationParametersT()
            each.quantization.scale, each.quantization.zeroPoint = [scale], [0]
    return packed(model)


def changed(change: Callable[[Any], None], blob: bytes | None = None) -> bytes:
    """A model, of one SIGN by default, after a change of its objects."""
    model = unpacked(sign() if blob is None else blob)
    change(model)
    return packed(model)


def sign() -> bytes:
    return packed(model_of(OPERATORS.SIGN, [0], [1], 2))


def loop() -> bytes:
    """x doubled three times: a WHILE with a graph for its condition and one for its body."""
    tf = models.tf

    def run(x: Any) -> Any:
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), [tf.constant(0), x])[1]

    return models.convert(run, tf.TensorSpec([4], tf.float32))


def set_in(path: str, value: Any) -> Callable[[Any], None]:
    """A change of the attribute at a path such as ``subgraphs.0.inputs``."""
    *parents, name = path.split(".")

    def change(model: Any) -> None:
        for parent in parents:
            model = model[int(parent)] if parent.isdigit() else getattr(model, parent)
        setattr(model, name, value)

    return change


def split(outputs: int, parts: int | None) -> bytes:
    """A SPLIT along a constant axis 0; None: it does not say into how many parts."""
    model = model_of(OPERATORS.SPLIT, [0, 1], list(range(2, 2 + outputs)), 2 + outputs)
    graph = model.subgraphs[0]
    axis = schema.BufferT()
    axis.data = np.frombuffer(np.int32(0).tobytes(), np.uint8)
    model.buffers.append(axis)
    graph.tensors[0].shape, graph.tensors[0].type, graph.tensors[0].buffer = [], schema.TensorType.INT32, 1
    graph.inputs = [1]
    for made in graph.tensors[2:]:
        made.shape = [4 // outputs]
    if parts is not None:
        options = schema.SplitOptionsT()
        options.numSplits = parts
        graph.operators[0].builtinOptions, graph.operators[0].builtinOptionsType = options, OPTIONS.SplitOptions
    return packed(model)


def distance_to_before(blob: bytes) -> bytes:
    """The root table's list of fields lies before the model."""
    root = int.from_bytes(blob[:4], "little")
    return blob[:root] + (root + 64).to_bytes(4, "little", signed=True) + blob[root + 4 :]


GOOD: dict[str, Callable[[], bytes]] = {
    "SIGN": sign,
    "WHILE": loop,
    "ADD of INT8 with scales": lambda: typed(model_of(OPERATORS.ADD, [0, 1], [2], 3), schema.TensorType.INT8, 0.5),
    "SPLIT": lambda: split(2, 2),
    "constants": models.lite_linear,
    "tensors without elements": lambda: models.convert(
        lambda x: (x + 1, x[:, :0] * 2), models.tf.TensorSpec([2, 3], models.tf.float32)
    ),
}
DAMAGED: dict[str, Callable[[], bytes]] = {
    "no graphs": lambda: changed(set_in("subgraphs", None)),
    "a graph's input that is no tensor": lambda: changed(set_in("subgraphs.0.inputs", [7])),
    "a graph's output that is no tensor": lambda: changed(set_in("subgraphs.0.outputs", [-2])),
    "an operator that is none": lambda: changed(set_in("subgraphs.0.operators.0.opcodeIndex", 9)),
    "an operator's input that is no tensor": lambda: changed(set_in("subgraphs.0.operators.0.inputs", [2**30])),
    "a buffer that is none": lambda: changed(set_in("subgraphs.0.tensors.0.buffer", 5)),
    "SIGN without an output": lambda: packed(model_of(OPERATORS.SIGN, [0], [], 2)),
    "STRIDED_SLICE of two inputs": lambda: packed(model_of(OPERATORS.STRIDED_SLICE, [0, 1], [2], 3)),
    "SLICE of one input": lambda: packed(model_of(OPERATORS.SLICE, [0], [1], 2)),
    "SPLIT without a number": lambda: split(2, None),
    "SPLIT into more parts than outputs": lambda: split(2, 3),
    "ADD of INT8 without scales": lambda: typed(model_of(OPERATORS.ADD, [0, 1], [2], 3), schema.TensorType.INT8),
    "SQRT of INT16 without scales": lambda: typed(model_of(OPERATORS.SQRT, [0], [1], 2), schema.TensorType.INT16),
    "MATRIX_DIAG of strings": lambda: typed(model_of(OPERATORS.MATRIX_DIAG, [0], [1], 2), schema.TensorType.STRING),
    "VAR_HANDLE with two outputs": lambda: packed(model_of(OPERATORS.VAR_HANDLE, [], [0, 1], 2)),
    "an input that nothing writes": lambda: changed(set_in("subgraphs.0.inputs", [])),
    "an output that is an input": lambda: changed(set_in("subgraphs.0.operators.0.outputs", [0])),
    "a condition that is not computed": lambda: changed(set_in("subgraphs.1.operators", []), loop()),
    "a body that runs itself": lambda: changed(
        set_in("subgraphs.0.operators.0.builtinOptions.bodySubgraphIndex", 0), loop()
    ),
    "a body that is no graph": lambda: changed(
        set_in("subgraphs.0.operators.0.builtinOptions.bodySubgraphIndex", 8), loop()
    ),
    "a distance to before the model": lambda: distance_to_before(sign()),
}
