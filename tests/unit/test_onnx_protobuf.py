"""What the ONNX backend reads out of a serialised model without parsing its tensors."""

from __future__ import annotations

import pytest
from onnx import helper

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
    assert protobuf.operators(blob) == expected


def test_operators_of_other_domains_carry_their_domain() -> None:
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")
    own = helper.make_node("Relu", ["y"], ["z"], domain="mine")
    blob = models.build([node, own], [models.value("x", shape=["n"])], [models.value("z", shape=["n"])], [])
    assert protobuf.operators(blob) == {"ai.onnx.ml:Scaler", "mine:Relu"}


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
