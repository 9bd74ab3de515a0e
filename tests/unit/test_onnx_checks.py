"""The nodes that the ONNX backend puts in front of operators which would end the process."""

from __future__ import annotations

import struct

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import models
from backends.redisai_onnxruntime import checks, protobuf
from backends.redisai_onnxruntime.checks import checked
from redisai_py.backend import BackendError


def reverse(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("ReverseSequence", [source, "lengths"], [target], batch_axis=0, time_axis=1)


def loaded(blob: bytes) -> onnx.ModelProto:
    """A model that onnxruntime takes."""
    onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    return onnx.load_from_string(blob)


LENGTHS = models.value("lengths", TensorProto.INT64)


def operators(nodes: list[onnx.NodeProto]) -> list[str]:
    return [node.op_type for node in nodes]


@pytest.mark.parametrize("blob", [models.linear(), models.spin(), models.two_outputs()])
def test_a_model_that_needs_none_stays_as_it_is(blob: bytes) -> None:
    assert checked(blob) is blob


def test_a_check_stands_before_its_node() -> None:
    blob = models.build(
        [reverse("x", "r"), helper.make_node("Neg", ["r"], ["y"])], [models.value("x"), LENGTHS], [models.value("y")]
    )
    model = loaded(checked(blob))
    check, node, behind = model.graph.node
    assert operators([check, node, behind]) == ["Concat", "ReverseSequence", "Neg"]
    assert (check.input[0], node.input[1], behind.input[0]) == ("x", "lengths", "r")
    assert node.input[0] == check.output[0] != "x"
    assert helper.get_attribute_value(node.attribute[0]) == 0, "what a node says stays"
    assert model.graph.input == onnx.load_from_string(blob).graph.input


def test_nodes_of_branches_and_of_functions() -> None:
    def branch(name: str) -> onnx.GraphProto:
        return helper.make_graph([reverse("x", name)], name, [], [models.value(name)])

    function = helper.make_function(
        "own", "Own", ["x", "lengths"], ["y"], [reverse("x", "y")], [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=branch("a"), else_branch=branch("b")),
        helper.make_node("Own", ["z", "lengths"], ["y"], domain="own"),
    ]
    inputs = [models.value("c", TensorProto.BOOL, []), models.value("x"), LENGTHS]
    graph = helper.make_graph(nodes, "g", inputs, [models.value("y")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    blob = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8).SerializeToString()
    model = loaded(checked(blob))
    choice = model.graph.node[0]
    found = [list(attribute.g.node) for attribute in choice.attribute] + [list(model.functions[0].node)]
    assert [operators(nodes) for nodes in found] == [["Concat", "ReverseSequence"]] * 3
    assert len({nodes[0].output[0] for nodes in found}) == 3, "a name means one tensor"


def test_an_input_that_is_left_out_is_not_checked() -> None:
    node = helper.make_node("STFT", ["x", "step", "", "length"], ["y"])
    inputs = [models.value("x"), models.value("step", TensorProto.INT64), models.value("length", TensorProto.INT64)]
    model = onnx.load_from_string(checked(models.build([node], inputs, [models.value("y")])))
    assert operators(model.graph.node) == ["Concat", "STFT"]
    assert list(model.graph.node[1].input)[1:] == ["step", "", "length"]


REFUSED = {
    "RandomNormal": ([], {"shape": [2], "scale": 0.0}),
    "RandomNormalLike": (["x"], {"scale": -1.0}),
    "RandomUniform": ([], {"shape": [2], "low": 2.0, "high": 1.0}),
    "RandomUniformLike": (["x"], {"low": float("nan")}),
    "GatherND": (["x", "x"], {"batch_dims": -1}),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_is_wrong_for_every_input_is_refused(operator: str) -> None:
    inputs, attributes = REFUSED[operator]
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    blob = models.build([node], [models.value("x")], [models.value("y")])
    with pytest.raises(BackendError, match=f"ERR {operator} needs"):
        checked(blob)
    shape = {name: value for name, value in attributes.items() if name == "shape"}
    good = models.build([helper.make_node(operator, inputs, ["y"], **shape)], [models.value("x")], [models.value("y")])
    assert checked(good) is good


def random_normal(attribute: bytes, *operators: bytes) -> bytes:
    """A model of one node, as bytes that no library would write."""
    names = [protobuf.field(protobuf.NODE_OPERATOR, operator) for operator in operators or (b"RandomNormal",)]
    node = b"".join(names) + protobuf.field(protobuf.NODE_ATTRIBUTE, attribute)
    return protobuf.field(protobuf.MODEL_GRAPH, protobuf.field(protobuf.GRAPH_NODE, node))


SCALE = protobuf.field(protobuf.ATTRIBUTE_NAME, b"scale") + protobuf.field(protobuf.ATTRIBUTE_TYPE, protobuf.IS_FLOAT)


def float_field(value: float) -> bytes:
    return protobuf.written(protobuf.ATTRIBUTE_FLOAT << 3 | protobuf.FIXED32) + struct.pack("<f", value)


@pytest.mark.parametrize(
    "blob",
    [
        random_normal(SCALE),  # 0 is not written
        random_normal(SCALE + float_field(1) + float_field(-1)),
        random_normal(SCALE + float_field(-1), b"Neg", b"RandomNormal"),
    ],
    ids=["left out", "the last value", "the last operator"],
)
def test_what_protobuf_makes_of_unusual_bytes(blob: bytes) -> None:
    with pytest.raises(BackendError, match="RandomNormal needs a scale"):
        checked(blob)


def test_a_value_that_the_caller_of_a_function_decides() -> None:
    blob = random_normal(SCALE + protobuf.field(protobuf.ATTRIBUTE_REFERENCE, b"own"))
    assert checked(blob) is blob


@pytest.mark.parametrize("inputs", [["x", "s"], ["x", "s", "z", "s"], ["x", "s", "z", "s", ""]])
def test_quantized_results_need_a_zero_point(inputs: list[str]) -> None:
    node = helper.make_node("QLinearSigmoid", inputs, ["y"], domain="com.microsoft")
    with pytest.raises(BackendError, match="zero point"):
        checked(models.build([node], [models.value("x")], [models.value("y")]))


def nested(depth: int) -> bytes:
    """A model whose graph is in so many branches."""
    graph = b""
    for _ in range(depth):
        node = protobuf.field(protobuf.NODE_ATTRIBUTE, protobuf.field(protobuf.ATTRIBUTE_GRAPH, graph))
        graph = protobuf.field(protobuf.GRAPH_NODE, node)
    return protobuf.field(protobuf.MODEL_GRAPH, graph)


def test_branches_in_branches_without_end() -> None:
    assert checked(nested(30)) == nested(30)
    with pytest.raises(protobuf.MalformedError):
        checked(nested(20_000))


def test_every_operator_is_one_that_onnxruntime_or_onnx_has() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    for operator in (*checks.LEAST_DIMS, *checks.EXACT_DIMS, *checks.NEEDS):
        assert operator in known or operator.startswith("com.microsoft:")
