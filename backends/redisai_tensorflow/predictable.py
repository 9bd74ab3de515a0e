"""Graphs whose run time grows with the dims of their inputs and follows from them.

Only these may be run on Redis's event loop, once their runs have shown to be short
(module/src/runner.c). What is excluded: loops and branches, whatever makes a shape out of a
tensor's values (Fill, Range, Tile, Pad, ...) and every operation that is not known here, in functions, too.
"""

from __future__ import annotations

from typing import Any

from .operations import functions_of
from .saved_models import reachable

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
    Concat ConcatV2 DepthToSpace ExpandDims Gather GatherNd GatherV2 Pack Rank Reshape Reverse ReverseV2 Shape ShapeN
    Size Slice SpaceToDepth Split SplitV Squeeze StridedSlice Transpose Unpack
"""

OPERATIONS = frozenset((STRUCTURE + ELEMENTWISE + REDUCTIONS + LAYERS + ARRANGEMENTS).split())


def is_predictable(graph: Any, outputs: list[str]) -> bool:
    """Whether these tensors of a tf.Graph are computed in such a way."""
    graph_def = graph.as_graph_def()
    nodes = {node.name: node for node in graph_def.node}
    library = {function.signature.name: function.node_def for function in graph_def.library.function}
    needed = [nodes[name] for name in reachable(nodes, outputs)]
    called = {name for node in needed for name in functions_of(node)}
    bodies: set[str] = set()
    while called:
        name = called.pop()
        bodies.add(name)
        needed += library[name]
        called.update(inner for node in library[name] for inner in functions_of(node) if inner not in bodies)
    return OPERATIONS.issuperset(node.op for node in needed)
