"""The ONNX models that the benchmark stores. Random weights from a fixed seed: only shapes and sizes matter."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

TINY_LAYERS = (30, 16, 2)
# About 0.2 ms for one row and 1.4 ms for 32: the time goes into reading 16 MB of weights, which a batch does once.
MEDIUM_LAYERS = (64, *(96,) * 250, 16)
# Images [1, 3, height, width], and (output channels, stride) of the 3x3 convolutions on them.
PHOTO = (1, 3, 224, 224)
PHOTO_CONVOLUTIONS = ((32, 2), (64, 1), (96, 2), (128, 1), (128, 2), (256, 2))  # about 9 ms on one core
THUMBNAIL = (1, 3, 64, 64)
THUMBNAIL_CONVOLUTIONS = ((64, 2), (128, 2), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2))  # about 1 ms
CLASSES = 10


@dataclass(frozen=True)
class BenchModel:
    """A serialized model with one FLOAT input ``x`` and one FLOAT output ``y``."""

    blob: bytes
    input_shape: tuple[int, ...]

    @property
    def input_bytes(self) -> bytes:
        return np.random.default_rng(1).standard_normal(self.input_shape, dtype=np.float32).tobytes()


def _weights(rng: np.random.Generator, name: str, shape: tuple[int, ...], fan_in: int) -> Any:
    values = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
    return numpy_helper.from_array(values, name)


def _serialize(nodes: Sequence[Any], weights: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
    graph = helper.make_graph(nodes, "bench", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    blob: bytes = model.SerializeToString()
    return blob


def perceptron(layers: Sequence[int], rows: int | str = "rows") -> BenchModel:
    """Dense layers with ReLU between them; input [rows, layers[0]], dynamic unless ``rows`` is a number."""
    rng = np.random.default_rng(0)
    nodes, weights, current = [], [], "x"
    for index, (width, next_width) in enumerate(itertools.pairwise(layers)):
        weights.append(_weights(rng, f"weight{index}", (width, next_width), width))
        weights.append(_weights(rng, f"bias{index}", (next_width,), width))
        is_last = index == len(layers) - 2
        result = "y" if is_last else f"dense{index}"
        nodes.append(helper.make_node("Gemm", [current, f"weight{index}", f"bias{index}"], [result]))
        if not is_last:
            current = f"active{index}"
            nodes.append(helper.make_node("Relu", [result], [current]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, layers[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, layers[-1]])]
    return BenchModel(_serialize(nodes, weights, inputs, outputs), (1, layers[0]))


def tiny() -> BenchModel:
    """30 to 16 to 2: the input tensor has 120 bytes."""
    return perceptron(TINY_LAYERS)


def medium() -> BenchModel:
    """Deep and narrow: about 0.2 ms for one row, four times that for 32, so it profits from batching."""
    return perceptron(MEDIUM_LAYERS)


def convolutional(
    shape: Sequence[int] = PHOTO, convolutions: Sequence[tuple[int, int]] = PHOTO_CONVOLUTIONS
) -> BenchModel:
    """3x3 convolutions with ReLU on an image, their average, and ten classes. A photo has 602,112 bytes."""
    rng = np.random.default_rng(0)
    nodes, weights, current, channels = [], [], "x", shape[1]
    for index, (width, stride) in enumerate(convolutions):
        weights.append(_weights(rng, f"kernel{index}", (width, channels, 3, 3), channels * 9))
        geometry: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("Conv", [current, f"kernel{index}"], [f"conv{index}"], **geometry))
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [f"active{index}"]))
        current, channels = f"active{index}", width
    weights.append(_weights(rng, "classes", (channels, CLASSES), channels))
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    nodes.append(helper.make_node("MatMul", ["features", "classes"], ["y"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, CLASSES))]
    return BenchModel(_serialize(nodes, weights, inputs, outputs), tuple(shape))


def megabytes_16() -> BenchModel:
    return perceptron((2048, 2048))


def megabytes_400() -> BenchModel:
    return perceptron((2048,) * 26)
