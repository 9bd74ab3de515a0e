"""What the ONNX backend reads out of a serialised model without parsing its tensors."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
from backends.redisai_onnxruntime import predictable, protobuf


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        (models.linear(), {"MatMul"}),
        (models.multiply(), {"Mul"}),
        (models.identity(), {"Identity"}),
    ],
)
def test_operators_of_a_graph(blob: bytes, expected: set[str]) -> None:
    assert {node.operator for node in protobuf.nodes(blob)[0]} == expected


def test_operators_of_other_domains_carry_their_domain() -> None:
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")
    own = helper.make_node("Relu", ["y"], ["z"], domain="mine")
    blob = models.build([node, own], [models.value("x", shape=["n"])], [models.value("z", shape=["n"])], [])
    assert [node.operator for node in protobuf.nodes(blob)[0]] == ["ai.onnx.ml:Scaler", "mine:Relu"]


@pytest.mark.parametrize("blob", [models.linear(), models.multiply(), models.identity()])
def test_models_whose_time_follows_from_shapes(blob: bytes) -> None:
    assert predictable.is_predictable(blob)


@pytest.mark.parametrize(
    "blob",
    [
        models.spin(),  # a loop
        models.expanding(1),  # a shape out of a value
        models.weighted(2),  # too large to be short
        b"\xff\xff",
        models.linear()[:-7],
    ],
    ids=["loop", "expand", "large", "garbage", "truncated"],
)
def test_models_whose_time_does_not(blob: bytes) -> None:
    assert not predictable.is_predictable(blob)


DECIDED = {
    "Reshape": [5000, 1],
    "Slice": [0],
    "Squeeze": [0],
    "Unsqueeze": [0],
    "TopK": [1],
    "ReduceSum": [0],
    "Conv": np.ones((1, 1, 2, 2), np.float32),
}


def decided(operator: str, way: str) -> bytes:
    """y = an operator of x and s, which is an input, an initialiser, or made of one."""
    array = np.asarray(DECIDED[operator], np.float32 if operator == "Conv" else np.int64)
    dtype = TensorProto.FLOAT if operator == "Conv" else TensorProto.INT64
    extra = ["s"] if operator == "Slice" else []  # starts and ends
    outputs = ["y", "indices"] if operator == "TopK" else ["y"]
    nodes = [helper.make_node(operator, ["x", "s", *extra], outputs)]
    inputs, initialisers = [models.value("x", shape=["n", "m"])], [models.constant("s", array)]
    if way == "an input":
        inputs, initialisers = [*inputs, models.value("s", dtype, array.shape)], []
    elif way == "made of constants":
        initialisers = [models.constant("c", array)]
        nodes.insert(0, helper.make_node("Add", ["c", "c"], ["s"]))
    return models.build(nodes, inputs, [models.value("y")], initialisers)


@pytest.mark.parametrize("way", ["an input", "an initialiser", "made of constants"])
@pytest.mark.parametrize("operator", DECIDED)
def test_what_decides_a_shape_must_be_constant(operator: str, way: str) -> None:
    assert predictable.is_predictable(decided(operator, way)) == (way != "an input")


def test_how_many_dims_are_left_must_not_depend_on_the_dims() -> None:
    nodes = [helper.make_node("Squeeze", ["x"], ["y"])]
    assert not predictable.is_predictable(models.build(nodes, [models.value("x")], [models.value("y")]))
