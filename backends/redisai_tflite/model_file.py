"""Whether a blob is a TFLite model that the runtime can read: it does not look, and ends the process.

A TFLite model is a flatbuffer: tables, which begin with the distance to a list of where their fields are, and
vectors, which begin with their count; fields that are tables or vectors are distances to them. Here every such
distance is followed, as far as the runtime does, and every index into a list is compared with its length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from struct import Struct, error
from typing import Any

MOST_TABLES = 1_000_000
"""Lists may share tables, so that their number is not bounded by the size of the model."""

I8, U8, U16, I32, U32, U64 = (Struct(f"<{code}") for code in "bBHiIQ")

TEXT = 1
Kind = int | str | Sequence[str]
"""What a field refers to: a list of elements of so many bytes; a table, by its name; a list of tables."""

Schema = Mapping[str, Mapping[int, Kind]]
"""By table, and by the number of the field, what refers to something else. Other fields are numbers."""

SCHEMA: Schema = {
    "Model": {
        1: ["OperatorCode"],
        2: ["SubGraph"],
        3: TEXT,
        4: ["Buffer"],
        5: 4,
        6: ["Metadata"],
        7: ["SignatureDef"],
    },
    "OperatorCode": {1: TEXT},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: TEXT},
    "Tensor": {0: 4, 3: TEXT, 4: "Quantization", 6: "Sparsity", 7: 4, 9: ["VariantType"]},
    "Buffer": {0: 1},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: "Details"},
    "Sparsity": {0: 4, 1: 4, 2: ["Dimension"]},
    "Dimension": {3: "Numbers", 5: "Numbers"},
    "VariantType": {0: 4},
    "Operator": {1: 4, 2: 4, 4: "Options", 5: 1, 7: 1, 8: 4, 12: "Options2"},
    "Metadata": {0: TEXT},
    "SignatureDef": {0: ["TensorMap"], 1: ["TensorMap"], 2: TEXT},
    "TensorMap": {0: TEXT},
}

# Tables whose type is in the field before theirs: what each type of them refers to, if it does.
UNIONS: Mapping[str, Mapping[int, Mapping[int, Kind]]] = {
    "Details": {1: {0: 1}, 2: {3: 4}},  # of quantization: Custom, Blockwise
    "Numbers": {1: {0: 4}, 2: {0: 2}, 3: {0: 1}},
    "Options": {
        3: {1: 4, 2: 4},  # ConcatEmbeddings
        8: {5: 1},  # FullyConnected
        17: {0: 4},  # Reshape
        30: {0: 4},  # Squeeze
        111: {0: TEXT, 1: TEXT},  # VarHandle
        115: {0: 4},  # Bucketize
    },
    # Of StableHLO's operators: lists of 64-bit integers, but for a few.
    "Options2": {
        2: {0: 8},
        3: {0: 8, 1: 8, 2: 8},
        4: {0: 8, 1: 8, 2: 8, 3: 8, 4: 1, 7: 8, 10: 8, 13: 8, 16: 4},
        5: {0: TEXT, 2: TEXT, 4: 4, 5: 1},
        6: {0: 8},
        7: {1: 8, 2: 8, 3: 8},
        9: {0: 8},
        10: {0: 8, 1: 8, 2: 8},
        12: {0: 8, 1: 8, 2: 8, 3: 8, 4: 4},
        13: {0: 8, 1: 8, 2: 8, 3: 8, 4: 8},
        16: {0: 8, 1: 8, 2: 8, 4: 8},
        17: {0: 8},
        21: {0: TEXT, 2: 1},
        23: {0: 4},
    },
}


class Model(IntEnum):
    """The fields of a model that are looked at below; the same for the others."""

    OPERATOR_CODES = 1
    GRAPHS = 2
    BUFFERS = 4
    METADATA = 6
    SIGNATURES = 7


class OperatorCode(IntEnum):
    OF_A_BYTE = 0  # all that there was, once
    CODE = 3


class Graph(IntEnum):
    TENSORS = 0
    INPUTS = 1
    OUTPUTS = 2
    OPERATORS = 3


class Tensor(IntEnum):
    SHAPE = 0
    TYPE = 1
    BUFFER = 2
    QUANTIZATION = 4
    IS_VARIABLE = 5
    EXTERNAL_BUFFER = 10  # data in another file


class Quantization(IntEnum):
    SCALES = 2


class Buffer(IntEnum):
    DATA = 0
    OFFSET = 1  # of data behind the flatbuffer, as in models of 2 GB and more
    SIZE = 2


class Operator(IntEnum):
    CODE = 0
    INPUTS = 1
    OUTPUTS = 2
    OPTIONS_TYPE = 3
    OPTIONS = 4
    INTERMEDIATES = 8
    OPTIONS_2_TYPE = 11
    OPTIONS_2 = 12


class Metadata(IntEnum):
    BUFFER = 1


class Signature(IntEnum):
    INPUTS = 0
    OUTPUTS = 1
    GRAPH = 4


class TensorMap(IntEnum):
    TENSOR = 1


STRIDED_SLICE, SPLIT, SLICE, BATCH_MATMUL, READ_VARIABLE, ASSIGN_VARIABLE, SIGN = 45, 49, 65, 126, 143, 144, 158
# Inputs and outputs, at least, of operators that do not count them.
LEAST: Mapping[int, tuple[int, int]] = {
    STRIDED_SLICE: (4, 1),
    SPLIT: (2, 1),
    SLICE: (3, 1),
    BATCH_MATMUL: (2, 1),
    READ_VARIABLE: (1, 1),
    ASSIGN_VARIABLE: (2, 0),
    SIGN: (1, 1),
}
VAR_HANDLE = 142  # it has one output
SPLIT_OPTIONS, SPLITS = 35, 0  # the type of SPLIT's options; their field with the number of parts

UINT8, STRING, INT16, INT8 = 3, 5, 7, 9
# The dtypes that an operator takes quantized only: it divides by their scales.
ADD, SUB, LOG, SQRT, RSQRT, SQUARED_DIFFERENCE = 0, 41, 73, 75, 76, 99
LESS, GREATER, GREATER_EQUAL, LESS_EQUAL, EQUAL, NOT_EQUAL = 58, 61, 62, 63, 71, 72
SCALED: Mapping[int, Collection[int]] = {
    **dict.fromkeys((ADD, LESS, GREATER, GREATER_EQUAL, LESS_EQUAL, EQUAL, NOT_EQUAL), (UINT8, INT8)),
    SUB: (UINT8, INT16, INT8),
    **dict.fromkeys((LOG, SQRT, RSQRT), (INT16,)),
    SQUARED_DIFFERENCE: (INT8,),
}
FAKE_QUANT, MATRIX_DIAG, MATRIX_SET_DIAG = 80, 113, 115
TAKE_NO_STRINGS = {FAKE_QUANT, MATRIX_DIAG, MATRIX_SET_DIAG}

# The fields of options, by their type, that name another graph, which the operator runs.
CALLS: Mapping[int, Sequence[int]] = {16: [0], 92: [0, 1], 93: [0, 1], 103: [0]}  # Call, If, While, CallOnce
CALLS_2: Mapping[int, Sequence[int]] = {6: [1], 7: [6], 13: [5], 14: [2], 15: [0, 1], 21: [1]}  # StableHLO's
CASE_OPTIONS_2, BRANCHES = 23, 0  # these name a list of them

LEFT_OUT = frozenset({-1})  # in place of a tensor


class Unreadable(Exception):
    """What is wrong with a model."""


def check(blob: bytes) -> None:
    """Raises Unreadable."""
    try:
        reader = Reader(blob)
        model = Table(reader, reader.target(0), SCHEMA["Model"])
        _check_indices(model, len(blob))
    except error as failure:  # something lies outside of the blob
        raise Unreadable(str(failure)) from failure


class Reader:
    """A blob; raises Unreadable, or ``struct.error``, where something is outside of it."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self._tables_left = min(len(blob) // 4, MOST_TABLES)

    def number(self, form: Struct, at: int) -> int:
        if at < 0:  # would count from the end
            raise Unreadable("a distance to before the model")
        number: int = form.unpack_from(self.blob, at)[0]
        return number

    def target(self, at: int) -> int:
        """Where the distance that is here leads to."""
        return at + self.number(U32, at)

    def count(self, at: int, size: int) -> int:
        """The length of a list of elements of this size."""
        count = self.number(U32, at)
        if at + 4 + count * size > len(self.blob):
            raise Unreadable("a list that is longer than the model")
        return count

    def expect_table(self) -> None:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise Unreadable("more tables than the model has room for")


class Table:
    """A table whose fields lie inside of the blob, as do those of the tables that it leads to."""

    def __init__(self, reader: Reader, start: int, schema: Mapping[int, Kind]) -> None:
        reader.expect_table()
        self._reader, self._start = reader, start
        places = start - reader.number(I32, start)
        size, extent = reader.number(U16, places), reader.number(U16, places + 2)
        if size < 4 or size % 2 or extent < 4 or start + extent > len(reader.blob):
            raise Unreadable("a table of impossible size")
        self._places = [reader.number(U16, places + at) for at in range(4, size, 2)]
        if any(place >= extent for place in self._places):
            raise Unreadable("a field outside of its table")
        self._tables: dict[int, list[Table]] = {}
        for field, kind in schema.items():
            if self.has(field):
                self._follow(field, kind)

    def has(self, field: int) -> bool:
        return field < len(self._places) and self._places[field] > 0

    def number(self, field: int, form: Struct = I32) -> int:
        """The number in a field; 0 if it is not there, which is the format's default for those used here."""
        return self._reader.number(form, self._start + self._places[field]) if self.has(field) else 0

    def count(self, field: int) -> int:
        """The length of a list; 0 if it is not there."""
        return self._reader.number(U32, self._target(field)) if self.has(field) else 0

    def integers(self, field: int) -> list[int]:
        """The 32-bit integers of a list; none if it is not there."""
        return list(self._elements(field, "i"))

    def floats(self, field: int) -> list[float]:
        return list(self._elements(field, "f"))

    def _elements(self, field: int, code: str) -> tuple[Any, ...]:
        count = self.count(field)
        return Struct(f"<{count}{code}").unpack_from(self._reader.blob, self._target(field) + 4) if count else ()

    def tables(self, field: int) -> list[Table]:
        """Those of a list, or the one that a field leads to; none if it is not there."""
        return self._tables.get(field, [])

    def _target(self, field: int) -> int:
        return self._reader.target(self._start + self._places[field])

    def _follow(self, field: int, kind: Kind) -> None:
        reader, target = self._reader, self._target(field)
        if isinstance(kind, int):
            reader.count(target, kind)
        elif isinstance(kind, str):
            self._tables[field] = [Table(reader, target, self._schema(field, kind))]
        else:
            places = range(target + 4, target + 4 + 4 * reader.count(target, 4), 4)
            self._tables[field] = [Table(reader, reader.target(at), SCHEMA[kind[0]]) for at in places]

    def _schema(self, field: int, kind: str) -> Mapping[int, Kind]:
        return UNIONS[kind].get(self.number(field - 1, U8), {}) if kind in UNIONS else SCHEMA[kind]


def _check_indices(model: Table, size: int) -> None:
    codes = [
        max(each.number(OperatorCode.OF_A_BYTE, I8), each.number(OperatorCode.CODE))
        for each in model.tables(Model.OPERATOR_CODES)
    ]
    graphs, buffers = model.tables(Model.GRAPHS), model.tables(Model.BUFFERS)
    if not graphs:
        raise Unreadable("no graph")
    for buffer in buffers:
        if _is_behind(buffer) and buffer.number(Buffer.OFFSET, U64) + buffer.number(Buffer.SIZE, U64) > size:
            raise Unreadable("data outside of the model")
    for graph in graphs:
        _check_graph(graph, codes, buffers)
    _check_calls(graphs)
    for metadata in model.tables(Model.METADATA):
        _require_below(len(buffers), [metadata.number(Metadata.BUFFER)])
    for signature in model.tables(Model.SIGNATURES):
        _require_below(len(graphs), [signature.number(Signature.GRAPH)])
        tensors = graphs[signature.number(Signature.GRAPH)].tables(Graph.TENSORS)
        for entry in (*signature.tables(Signature.INPUTS), *signature.tables(Signature.OUTPUTS)):
            _require_below(len(tensors), [entry.number(TensorMap.TENSOR)])


def _check_graph(graph: Table, codes: list[int], buffers: list[Table]) -> None:
    tensors = graph.tables(Graph.TENSORS)
    _require_below(len(tensors), graph.integers(Graph.INPUTS))
    _require_below(len(tensors), graph.integers(Graph.OUTPUTS))
    _require_below(len(buffers), [tensor.number(Tensor.BUFFER) for tensor in tensors])
    for operator in graph.tables(Graph.OPERATORS):
        _require_below(len(codes), [operator.number(Operator.CODE)])
        for field in (Operator.INPUTS, Operator.OUTPUTS, Operator.INTERMEDIATES):
            _require_below(len(tensors), set(operator.integers(field)) - LEFT_OUT)
        _check_operator(operator, codes[operator.number(Operator.CODE)], tensors)
    _check_order(graph, buffers)


def _check_operator(operator: Table, code: int, tensors: list[Table]) -> None:
    inputs, outputs = operator.integers(Operator.INPUTS), operator.integers(Operator.OUTPUTS)
    least_inputs, least_outputs = LEAST.get(code, (0, 0))
    if len(inputs) < least_inputs or len(outputs) < least_outputs or not LEFT_OUT.isdisjoint(inputs[:least_inputs]):
        raise Unreadable(f"operator {code} with {len(inputs)} inputs and {len(outputs)} outputs")
    if code == VAR_HANDLE and len(outputs) != 1:
        raise Unreadable("VAR_HANDLE has one output")
    for tensor in (tensors[each] for each in {*inputs, *outputs} - LEFT_OUT):
        dtype = tensor.number(Tensor.TYPE, I8)
        if dtype in SCALED.get(code, ()) and not _has_scale(tensor):
            raise Unreadable(f"operator {code} on integers without a scale")
        if dtype == STRING and code in TAKE_NO_STRINGS:
            raise Unreadable(f"operator {code} on strings")
    if code == SPLIT:
        options = operator.tables(Operator.OPTIONS)
        has_options = operator.number(Operator.OPTIONS_TYPE, U8) == SPLIT_OPTIONS and options
        if not has_options or options[0].number(SPLITS) != len(outputs):
            raise Unreadable("SPLIT into another number of parts than it has outputs")


def _has_scale(tensor: Table) -> bool:
    scales = [scale for table in tensor.tables(Tensor.QUANTIZATION) for scale in table.floats(Quantization.SCALES)]
    return bool(scales) and all(scale > 0 for scale in scales)


def _check_order(graph: Table, buffers: list[Table]) -> None:
    """Operators run one after the other: each reads what is there by then, and writes what was not."""
    tensors = graph.tables(Graph.TENSORS)
    loose = {number for number, tensor in enumerate(tensors) if _is_loose(tensor)}
    there = {number for number, tensor in enumerate(tensors) if _is_constant(tensor, buffers)}
    there.update(graph.integers(Graph.INPUTS))
    for operator in graph.tables(Graph.OPERATORS):
        inputs, outputs = set(operator.integers(Operator.INPUTS)), set(operator.integers(Operator.OUTPUTS))
        if inputs - there - loose - LEFT_OUT:
            raise Unreadable("an operator that reads what nothing has written")
        outputs = outputs - loose - LEFT_OUT
        if not there.isdisjoint(outputs):
            raise Unreadable("an operator that writes what is there already")
        there |= outputs
    if set(graph.integers(Graph.OUTPUTS)) - there - loose:
        raise Unreadable("an output that nothing has written")


def _is_constant(tensor: Table, buffers: list[Table]) -> bool:
    buffer = buffers[tensor.number(Tensor.BUFFER)]
    return buffer.count(Buffer.DATA) > 0 or _is_behind(buffer) or tensor.has(Tensor.EXTERNAL_BUFFER)


def _is_behind(buffer: Table) -> bool:
    return buffer.number(Buffer.OFFSET, U64) > 1


def _is_loose(tensor: Table) -> bool:
    """Whether a tensor may be read and written at any time: it keeps its value from run to run, or has no elements."""
    return tensor.number(Tensor.IS_VARIABLE, I8) != 0 or 0 in tensor.integers(Tensor.SHAPE)


def _check_calls(graphs: list[Table]) -> None:
    """The graphs that a graph runs exist, and none leads back to itself, however far."""
    called = [set[int]().union(*map(_called_by, graph.tables(Graph.OPERATORS))) for graph in graphs]
    for callees in called:
        _require_below(len(graphs), callees)
    over: set[int] = set()
    while len(over) < len(called):
        ready = {graph for graph, callees in enumerate(called) if graph not in over and callees <= over}
        if not ready:
            raise Unreadable("a graph that runs itself")
        over |= ready


def _called_by(operator: Table) -> set[int]:
    """The graphs that an operator runs, by their numbers."""
    options, options_2 = operator.tables(Operator.OPTIONS), operator.tables(Operator.OPTIONS_2)
    kind, kind_2 = operator.number(Operator.OPTIONS_TYPE, U8), operator.number(Operator.OPTIONS_2_TYPE, U8)
    called = {table.number(field) for table in options for field in CALLS.get(kind, ())}
    called |= {table.number(field) for table in options_2 for field in CALLS_2.get(kind_2, ())}
    return called.union(*(table.integers(BRANCHES) for table in options_2 if kind_2 == CASE_OPTIONS_2))


def _require_below(count: int, indices: Iterable[int]) -> None:
    if any(not 0 <= index < count for index in indices):
        raise Unreadable(f"an index that is none of {count}")
