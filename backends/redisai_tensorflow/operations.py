"""Which operations a graph may contain: a model must not touch anything outside itself.

The decision is safe for operations that TensorFlow gets tomorrow. An operation is
let in without being named here when it can name nothing: it has no state, and
neither inputs nor attributes of its own that are text, which is how files,
devices, addresses and Python functions are named. Everything else is refused
unless it stands in one of the lists below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import op_def_registry

from redisai_py.backend import BackendError

Node = Any  # NodeDef
Library = Mapping[str, Any]  # FunctionDef by name

# Text that is data, a format, a message or a name that the operation passes on.
TEXT = """
AsString AudioSummaryV2 CheckNumerics DataFormatDimMap DataFormatVecPermute DecodeAndCropJpeg DecodeBase64 DecodeBmp
DecodeCSV DecodeCompressed DecodeGif DecodeImage DecodeJSONExample DecodeJpeg DecodePaddedRaw DecodePng DecodeRaw
DecodeWav DecodeWebP DenseToDenseSetOperation DenseToSparseSetOperation DeserializeManySparse Einsum EncodeBase64
EncodeJpeg Enter ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape Fingerprint GatherNd HistogramSummary
ImageProjectiveTransformV2 ImageProjectiveTransformV3 ImageSummary InitializeTable MergeSummary ParseExample
ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor
PartitionedCall PreventGradient RaggedCross RaggedTensorToTensor ReduceJoin RefEnter RegexFullMatch RegexReplace
ScalarSummary ScaleAndTranslate ScaleAndTranslateGrad ScatterNd ScatterNdAdd ScatterNdMax ScatterNdMin
ScatterNdNonAliasingAdd ScatterNdSub ScatterNdUpdate SparseCrossV2 SparseToSparseSetOperation StaticRegexFullMatch
StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip
StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr TensorScatterAdd
TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorSummary TensorSummaryV2 UnicodeDecode
UnicodeDecodeWithOffsets UnicodeTranscode UniformQuantizedConvolution UniformQuantizedConvolutionHybrid
UnsortedSegmentJoin
"""

# State that lives and dies with the session.
STATE = """
AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors
AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp DestroyTemporaryVariable DisableCopyOnRead
HashTable HashTableV2 InitializeTableV2 LookupTableExport LookupTableExportV2 LookupTableFind LookupTableFindV2
LookupTableImport LookupTableImportV2 LookupTableInsert LookupTableInsertV2 LookupTableRemoveV2 LookupTableSize
LookupTableSizeV2 MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable MutableHashTableOfTensors
MutableHashTableOfTensorsV2 MutableHashTableV2 ReadVariableOp ResourceCountUpTo ResourceGather ResourceGatherNd
ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul ResourceScatterNdAdd
ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub ResourceScatterNdUpdate ResourceScatterSub
ResourceScatterUpdate ResourceStridedSliceAssign Stack StackClose StackCloseV2 StackPop StackPopV2 StackPush
StackPushV2 StackV2 TemporaryVariable TensorArray TensorArrayClose TensorArrayCloseV2 TensorArrayCloseV3
TensorArrayConcat TensorArrayConcatV2 TensorArrayConcatV3 TensorArrayGather TensorArrayGatherV2 TensorArrayGatherV3
TensorArrayPack TensorArrayRead TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatter TensorArrayScatterV2
TensorArrayScatterV3 TensorArraySize TensorArraySizeV2 TensorArraySizeV3 TensorArraySplit TensorArraySplitV2
TensorArraySplitV3 TensorArrayUnpack TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV2 TensorArrayWriteV3
VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2
"""

# Control flow, whose branches are functions of the same graph, randomness, and what is stateful for other reasons.
OTHERS = """
Assert Case CudnnRNN CudnnRNNV2 CudnnRNNV3 DeviceIndex Empty GuaranteeConst If Multinomial ParameterizedTruncatedNormal
RandomCrop RandomGamma RandomPoisson RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt
RngReadAndSkip RngSkip SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 StatefulPartitionedCall
StatefulRandomBinomial StatefulStandardNormal StatefulStandardNormalV2 StatefulTruncatedNormal StatefulUniform
StatefulUniformFullInt StatefulUniformInt StatelessRandomGetAlg TruncatedNormal While
_FusedBatchNormEx _FusedConv2D _FusedDepthwiseConv2dNative _FusedMatMul
"""

NAMED = frozenset((TEXT + STATE + OTHERS).split())


@cache
def is_allowed(name: str) -> bool | None:
    """Whether an operation may be in a graph; None when TensorFlow does not have it."""
    definition = op_def_registry.get(name)
    if definition is None:
        return None
    if name in NAMED:
        return True
    if name.startswith("_") or "Dataset" in name or definition.is_stateful:
        return False
    if any(argument.type == types_pb2.DT_STRING for argument in definition.input_arg):
        return False
    return not any(
        attribute.type in ("string", "list(string)") and not attribute.HasField("allowed_values")
        for attribute in definition.attr
    )


KINDS = {"string": "s", "int": "i", "float": "f", "bool": "b"}  # of an attribute: as in OpDef, and as in AttrValue


@cache
def attributes(name: str) -> tuple[tuple[str, str, frozenset[int], bool], ...]:
    """What the attributes of a registered operation must be like: (name, kind, allowed dtypes or none, needed)."""
    return tuple(
        (
            attribute.name,
            "list" if attribute.type.startswith("list(") else KINDS.get(attribute.type, attribute.type),
            frozenset(attribute.allowed_values.list.type),
            not attribute.HasField("default_value"),
        )
        for attribute in op_def_registry.get(name).attr
    )


def refuse_inconsistent(node: Node) -> None:
    """Raises for a node whose attributes are not those of its operation.

    In functions TensorFlow does not look at them, and ends the process when it
    works with them later.
    """
    for name, kind, dtypes, needed in attributes(node.op):
        valid = not needed
        if name in node.attr:
            value = node.attr[name]
            valid = value.WhichOneof("value") in (kind, "placeholder")
            if dtypes and kind in ("type", "list"):
                valid = valid and dtypes.issuperset([value.type] if kind == "type" else value.list.type)
        if not valid:
            raise BackendError(f'Invalid GraphDef: node "{node.name}" ({node.op}) has no valid attribute "{name}"')
    if node.op == "Const" and node.attr["dtype"].type != node.attr["value"].tensor.dtype:
        raise BackendError(f'Invalid GraphDef: node "{node.name}" (Const) has a value of another dtype')


def functions_of(node: Node) -> Iterator[str]:
    """The names of all functions that a node's attributes refer to."""
    pending = list(node.attr.values())
    while pending:
        value = pending.pop()
        kind = value.WhichOneof("value")
        called = [value.func] if kind == "func" else value.list.func if kind == "list" else ()
        for function in called:
            yield function.name
            pending += function.attr.values()


def check(nodes: Iterable[Node], library: Library, may_restore: Callable[[Node], bool] | None = None) -> set[str]:
    """Raises BackendError for an operation that is not allowed, also in the functions that the nodes lead to.

    Returns the names of these functions. ``may_restore`` is asked about each
    RestoreV2, and each call of a function that is no plain one, among the nodes.
    """
    reached: set[str] = set()
    pending = [nodes]
    first = True
    while pending:
        for node in pending.pop():
            if first and may_restore is not None and may_restore(node):
                reached.update(functions_of(node))
                continue
            called = list(functions_of(node))
            allowed = is_allowed(node.op)
            if allowed is None or node.op in library:
                called.append(node.op)
            elif not allowed:
                raise refusal(node.op)
            else:
                refuse_inconsistent(node)
            for name in called:
                if name not in library:
                    raise BackendError(f'ERR unknown operation or function "{name}" in TF graph')
                if name not in reached:
                    reached.add(name)
                    pending.append(library[name].node_def)
        first = False
    return reached


def refusal(operation: str) -> BackendError:
    return BackendError(
        f'ERR operation "{operation}" is not allowed in TF graph: a model may not use files or anything else outside it'
    )
