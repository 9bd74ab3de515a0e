"""Graphs whose run time grows with the dims of their inputs and follows from them.

Only these may be run on Redis's event loop, once their runs have shown to be short
(module/src/runner.c). What is excluded: loops and branches, whatever makes a shape out of a
tensor's values (Fill, Range, Tile, Pad, ...), what a smaller input may make larger (GatherNd), what divides
little work among threads that others use, too (Transpose), and every operation that is not known here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tensorflow.core.framework.types_pb2 import DT_STRING

from .operations import functions_of
from .references import node_of, reachable

STRUCTURE = """
    Assert Const EnsureShape Identity IdentityN NoOp PartitionedCall Placeholder PlaceholderWithDefault ReadVariableOp
    StatefulPartitionedCall StopGradient VarHandleOp VariableV2
"""
ELEMENTWISE = """
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh BiasAdd BitwiseAnd BitwiseOr BitwiseXor Cast Ceil
    ClipByValue Cos Cosh Div DivNoNan Elu Equal Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual Inv
    Invert IsFinite IsInf IsNan LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod
    Mul MulNoNan Neg NotEqual OnesLike Pow RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid
    Sign Sin Sinh Softplus Softsign Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlog1py
    Xlogy ZerosLike
"""
REDUCTIONS = """
    All Any ArgMax ArgMin Cumprod Cumsum EuclideanNorm LogSoftmax Max Mean Min Prod Softmax Sum TopK TopKV2
"""
LAYERS = """
    AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv2D DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MatMul MaxPool MaxPoolV2 _FusedBatchNormEx _FusedConv2D _FusedDepthwiseConv2dNative
    _FusedMatMul
"""
ARRANGEMENTS = """
    Concat ConcatV2 DepthToSpace ExpandDims Gather GatherV2 Pack Rank Reshape Reverse ReverseV2 Shape ShapeN
    Size Slice SpaceToDepth Split SplitV Squeeze StridedSlice Unpack
"""

OPERATIONS = frozenset((STRUCTURE + ELEMENTWISE + REDUCTIONS + LAYERS + ARRANGEMENTS).split())


DECIDING: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("ExpandDims", "Reshape", "TopKV2", "Cumprod", "Cumsum", "Reverse", "ReverseV2"), (1,)),
    **dict.fromkeys(("All", "Any", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum", "ArgMax", "ArgMin"), (1,)),
    "Concat": (0,),
    "ConcatV2": (-1,),
    "GatherV2": (2,),
    "MaxPoolV2": (1, 2),
    "Slice": (1, 2),
    "Split": (0,),
    "SplitV": (1, 2),
    "StridedSlice": (1, 2, 3),
}
"""Inputs that the shape of a result depends on: they have to be constants."""

WEIGHTS = frozenset({"Const", "ReadVariableOp", "VariableV2"})
FILTERS = ("Conv2D", "DepthwiseConv2dNative", "_FusedConv2D", "_FusedDepthwiseConv2dNative")
"""A smaller one, input 1, may make more work: it has to be the model's."""


def is_predictable(graph_def: Any, outputs: list[str]) -> bool:
    """Whether these tensors of a GraphDef are computed in such a way."""
    nodes = {node.name: node for node in graph_def.node}
    library = {function.signature.name: function.node_def for function in graph_def.library.function}
    pending = [[nodes[name] for name in reachable(nodes, outputs)]]
    seen: set[str] = set()
    while pending:
        scope = {node.name: node for node in pending.pop()}
        if not all(node.op in OPERATIONS and follows(node, scope) for node in scope.values()):
            return False
        called = {name for node in scope.values() for name in functions_of(node)} - seen
        seen |= called
        pending += [library[name] for name in called]
    return True


def follows(node: Any, scope: Mapping[str, Any]) -> bool:
    """Whether the shapes of a node's results follow from those of its inputs, and grow with them.

    ``scope`` are the nodes of the same graph or function, by name.
    """
    inputs = [name for name in node.input if not name.startswith("^")]
    if node.op == "Assert":  # it would print what it gets
        return all(is_made_by(("Const",), name, scope) for name in inputs[1:])
    if node.op == "Squeeze" and not node.attr["squeeze_dims"].list.i:  # how many dims are left depends on the dims
        return False
    if node.op != "Const" and any(DT_STRING in (value.type, *value.list.type) for value in node.attr.values()):
        return False
    if node.op in FILTERS and not is_made_by(WEIGHTS, inputs[1], scope):
        return False
    return all(is_made_by(("Const",), inputs[position], scope) for position in DECIDING.get(node.op, ()))


def is_made_by(operations: Collection[str], name: str, scope: Mapping[str, Any]) -> bool:
    """Whether a tensor comes from one of these operations, or is just another name for such a one."""
    for _ in scope:
        node = scope.get(node_of(name))
        if node is None or node.op != "Identity" or node.op in operations:
            break
        name = node.input[0]
    else:
        return False
    return node is not None and node.op in operations
