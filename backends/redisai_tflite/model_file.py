"""Whether a blob is a TFLite model that the runtime can read: it does not look, and ends the process.

A TFLite model is a flatbuffer: tables, which begin with the distance to a list of where their fields are, and
vectors, which begin with their count; fields that are tables or vectors are distances to them. Here every such
distance is followed, as far as the runtime does, and every index into a list is compared with its length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct, error

MOST_TABLES = 1_000_000

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

EXTERNAL_BUFFER = 10  # of a tensor: its data are in another file

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
SPLIT_OPTIONS = 35

# The fields of options, by their type, that name another graph, which the operator runs.
GRAPHS: Mapping[int, Sequence[int]] = {16: [0], 92: [0, 1], 93: [0, 1], 103: [0]}  # Call, If, While, CallOnce
GRAPHS_2: Mapping[int, Sequence[int]] = {6: [1], 7: [6], 13: [5], 14: [2], 15: [0, 1], 21: [1]}
CASE_OPTIONS_2 = 23  # these name a list of them


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
        count = self.count(field)
        return list(Struct(f"<{count}i").unpack_from(self._reader.blob, self._target(field) + 4)) if count else []

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
    codes = [max(code.number(0, I8), code.number(3)) for code in model.tables(1)]
    graphs = model.tables(2)
    if not graphs:
        raise Unreadable("no graph")
    called: list[set[int]] = []
    for graph in graphs:
        tensors = len(graph.tables(0))
        called.append(set())
        _require_below(tensors, graph.integers(1), 0)
        _require_below(tensors, graph.integers(2), 0)
        for tensor in graph.tables(0):
            _require_below(len(model.tables(4)), [tensor.number(2)], 0)
        for operator in graph.tables(3):
            _require_below(len(codes), [operator.number(0)], 0)
            for field in (1, 2, 8):
                _require_below(tensors, operator.integers(field), -1)  # an input that is left out
            _check_operator(operator, codes[operator.number(0)])
            called[-1].update(_graphs_of(operator))
        _check_order(graph, model.tables(4))
        _require_below(len(graphs), list(called[-1]), 0)
    _require_no_recursion(called)
    for buffer in model.tables(4):
        if _is_behind(buffer) and buffer.number(1, U64) + buffer.number(2, U64) > size:
            raise Unreadable("data outside of the model")
    for metadata in model.tables(6):
        _require_below(len(model.tables(4)), [metadata.number(1)], 0)
    for signature in model.tables(7):
        _require_below(len(graphs), [signature.number(4)], 0)
        for entry in (*signature.tables(0), *signature.tables(1)):
            _require_below(len(graphs[signature.number(4)].tables(0)), [entry.number(1)], 0)


def _check_order(graph: Table, buffers: list[Table]) -> None:
    """Operators run one after the other: each reads what is there by then, and writes what was not."""
    tensors = graph.tables(0)
    variables = {number for number, tensor in enumerate(tensors) if tensor.number(5, I8)}
    there = {number for number, tensor in enumerate(tensors) if _has_value(tensor, buffers)}
    there.update(variables, graph.integers(1))
    for operator in graph.tables(3):
        outputs = {output for output in operator.integers(2) if output >= 0}
        if not there.issuperset(each for each in operator.integers(1) if each >= 0):
            raise Unreadable("an operator that reads what nothing has written")
        if not there.isdisjoint(outputs - variables):
            raise Unreadable("an operator that writes what is there already")
        there.update(outputs)
    if not there.issuperset(graph.integers(2)):
        raise Unreadable("an output that nothing has written")


def _has_value(tensor: Table, buffers: list[Table]) -> bool:
    """Whether a tensor is a constant, or has no elements."""
    buffer = buffers[tensor.number(2)]
    return buffer.count(0) > 0 or _is_behind(buffer) or tensor.has(EXTERNAL_BUFFER) or 0 in tensor.integers(0)


def _is_behind(buffer: Table) -> bool:
    """Whether a buffer's data are behind the flatbuffer, as in models of 2 GB and more."""
    return buffer.number(1, U64) > 1


def _graphs_of(operator: Table) -> list[int]:
    """The graphs that an operator runs, by their numbers."""
    options, options_2 = operator.tables(4), operator.tables(12)
    graphs = [options[0].number(field) for field in GRAPHS.get(operator.number(3, U8), ()) if options]
    kind = operator.number(11, U8)
    graphs += [options_2[0].number(field) for field in GRAPHS_2.get(kind, ()) if options_2]
    return graphs + (options_2[0].integers(0) if options_2 and kind == CASE_OPTIONS_2 else [])


def _require_no_recursion(called: list[set[int]]) -> None:
    """``called`` has the graphs that each graph runs: none may lead back to itself, however far."""
    over: set[int] = set()
    while len(over) < len(called):
        ready = {graph for graph, callees in enumerate(called) if graph not in over and callees <= over}
        if not ready:
            raise Unreadable("a graph that runs itself")
        over |= ready


def _check_operator(operator: Table, code: int) -> None:
    inputs, outputs = operator.integers(1), operator.integers(2)
    least = LEAST.get(code, (0, 0))
    if len(inputs) < least[0] or len(outputs) < least[1] or -1 in inputs[: least[0]]:
        raise Unreadable(f"operator {code} with {len(inputs)} inputs and {len(outputs)} outputs")
    if code == SPLIT:
        options = operator.tables(4)
        is_split = operator.number(3, U8) == SPLIT_OPTIONS and options
        if not is_split or options[0].number(0) != len(outputs):
            raise Unreadable("SPLIT into another number of parts than it has outputs")


def _require_below(count: int, indices: list[int], least: int) -> None:
    if any(not least <= index < count for index in indices):
        raise Unreadable(f"an index that is none of {count}")
