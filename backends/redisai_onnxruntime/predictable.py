"""Models whose run time follows from the shapes of their inputs.

Only these may be run on Redis's event loop, once their runs have shown to be short
(module/src/runner.c). What is excluded: loops and branches, whatever makes a shape
out of a tensor's values (Expand, Range, Tile, ...), what a smaller input may make
larger (GatherND), and every operator that is not known here.
"""

from __future__ import annotations

from .protobuf import MalformedError, Node, nodes

MOST_BYTES = 1 << 20
"""Of a model: one that reads more than that is not short."""

ELEMENTWISE = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil
    Celu Clip Cos Cosh DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual
    HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu
    Pow QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan
    Tanh ThresholdedRelu Where Xor
"""
REDUCTIONS = """
    ArgMax ArgMin CumSum Hardmax LogSoftmax ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Softmax TopK
"""
LAYERS = """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose Dropout Gemm GlobalAveragePool GlobalMaxPool
    GroupNormalization GRU InstanceNormalization LayerNormalization LRN LSTM MatMul MatMulInteger MaxPool
    MeanVarianceNormalization QLinearConv QLinearMatMul RMSNormalization RNN
"""
ARRANGEMENTS = """
    Concat Constant DepthToSpace Flatten Gather GatherElements Reshape Shape Size Slice SpaceToDepth Split Squeeze
    Transpose Unsqueeze
"""
CLASSICAL = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""

OPERATORS = {
    *(ELEMENTWISE + REDUCTIONS + LAYERS + ARRANGEMENTS).split(),
    *(f"ai.onnx.ml:{name}" for name in CLASSICAL.split()),
}


DECIDING: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("CumSum", "Reshape", "Split", "Squeeze", "TopK", "Unsqueeze"), (1,)),
    **{name: (1,) for name in REDUCTIONS.split() if name.startswith("Reduce")},
    "Slice": (1, 2, 3, 4),
    # Of a filter, since a smaller one may make more work.
    **dict.fromkeys(("Conv", "ConvInteger"), (1,)),
    "QLinearConv": (3,),
}
"""Inputs that the shape of a result depends on, where a node has them: they have to be constants."""


def is_predictable(blob: bytes) -> bool:
    """Whether the model, a serialised ModelProto, is one of these."""
    try:
        if len(blob) > MOST_BYTES:
            return False
        graph, constants = nodes(blob)
    except MalformedError:
        return False
    for node in graph:
        if node.operator in OPERATORS and constants.issuperset(filter(None, node.inputs)):
            constants.update(node.outputs)
    return all(node.operator in OPERATORS and follows(node, constants) for node in graph)


def follows(node: Node, constants: set[str]) -> bool:
    """Whether the shapes of a node's results follow from those of its inputs, and grow with them."""
    if node.operator == "Squeeze" and len(node.inputs) < 2 and "axes" not in node.attributes:
        return False  # how many dims are left depends on the dims
    deciding = [node.inputs[position] for position in DECIDING.get(node.operator, ()) if position < len(node.inputs)]
    return constants.issuperset(name for name in deciding if name)
