"""Models whose run time follows from the shapes of their inputs.

Only these may be run on Redis's event loop, once their runs have shown to be short
(module/src/runner.c). What is excluded: loops and branches, whatever makes a shape
out of a tensor's values (Expand, Range, Tile, ...), and every operator that is
not known here.
"""

from __future__ import annotations

from .protobuf import MalformedError, operators

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
    Concat Constant DepthToSpace Flatten Gather GatherElements GatherND Reshape Shape Size Slice SpaceToDepth Split
    Squeeze Transpose Unsqueeze
"""
CLASSICAL = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer
    OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor
"""

OPERATORS = {
    *(ELEMENTWISE + REDUCTIONS + LAYERS + ARRANGEMENTS).split(),
    *(f"ai.onnx.ml:{name}" for name in CLASSICAL.split()),
}


def is_predictable(blob: bytes) -> bool:
    """Whether the model, a serialised ModelProto, is one of these."""
    try:
        return len(blob) <= MOST_BYTES and operators(blob) <= OPERATORS
    except (MalformedError, UnicodeDecodeError):
        return False
