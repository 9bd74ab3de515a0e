"""A look into a serialised ONNX ModelProto without parsing its tensors.

onnxruntime does not say whether a model refers to files, and a model must not
read files of the server, so the few fields that matter are looked up here, and
written where ``checks`` adds nodes. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE_INITIALIZER = 1, 5, 15
FUNCTION_NODE = 7
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_TYPE, ATTRIBUTE_REFERENCE = 1, 2, 3, 20, 21
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
IS_FLOAT, IS_INT, IS_TENSOR = 1, 2, 4  # types of attributes
IS_INT64 = 7  # type of a tensor's elements
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE_TENSOR, ATTRIBUTE_SPARSE_TENSORS = 22, 23
SPARSE_VALUES, SPARSE_INDICES = 1, 2
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
EXTERNAL = 1

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

MOST_FIELDS = 5_000_000  # more than any real model has outside its tensors, and a few seconds of looking


class MalformedError(ValueError):
    """The bytes are no protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview, int]]:
    """The fields of a message: (number, int for a varint or else memoryview, where the field ends)."""
    at, end = 0, len(message)
    while at < end:
        key, at = varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise MalformedError
        if kind == VARINT:
            value, at = varint(message, at)
            yield number, value, at
        elif kind == BYTES:
            length, at = varint(message, at)
            if length > end - at:
                raise MalformedError
            at += length
            yield number, message[at - length : at], at
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
            at += length
            yield number, message[at - length : at], at
        else:
            raise MalformedError
    if at != end:
        raise MalformedError


def varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedError


# Message kinds, and the kind of each of their fields that can lead to a tensor.
CHILDREN = {
    "model": {MODEL_GRAPH: "graph", MODEL_FUNCTIONS: "function"},
    "graph": {GRAPH_NODE: "node", GRAPH_INITIALIZER: "tensor", GRAPH_SPARSE_INITIALIZER: "sparse"},
    "function": {FUNCTION_NODE: "node"},
    "node": {NODE_ATTRIBUTE: "attribute"},
    "attribute": {
        ATTRIBUTE_TENSOR: "tensor",
        ATTRIBUTE_TENSORS: "tensor",
        ATTRIBUTE_GRAPH: "graph",
        ATTRIBUTE_GRAPHS: "graph",
        ATTRIBUTE_SPARSE_TENSOR: "sparse",
        ATTRIBUTE_SPARSE_TENSORS: "sparse",
    },
    "sparse": {SPARSE_VALUES: "tensor", SPARSE_INDICES: "tensor"},
}


def has_graph(blob: bytes) -> bool:
    """Whether the bytes are a ModelProto with a graph."""
    try:
        top_level = islice(fields(memoryview(blob)), MOST_FIELDS)
        return any(number == MODEL_GRAPH and not isinstance(value, int) for number, value, _ in top_level)
    except MalformedError:
        return False


@dataclass
class Node:
    """A node of the graph. ``operator`` is ``domain:name``, or just the name for those of ONNX itself.

    ``attributes`` has the values of those that are one number, and None for the others.
    """

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, float | None]


def nodes(blob: bytes) -> tuple[list[Node], set[str]]:
    """The nodes of the model's graph, and the names of its initialisers; raises MalformedError.

    Those of subgraphs are left out, but not the nodes that have subgraphs; functions
    of the model itself are in domains of their own.
    """
    found: list[Node] = []
    initialisers: set[str] = set()
    for number, graph, _ in fields(memoryview(blob)):
        if number != MODEL_GRAPH or isinstance(graph, int):
            continue
        for number, message, _ in fields(graph):
            if number == GRAPH_NODE and not isinstance(message, int):
                found.append(node_of(message))
            elif number == GRAPH_INITIALIZER and not isinstance(message, int):
                initialisers.update(texts(message, TENSOR_NAME))
    return found, initialisers


def node_of(message: memoryview) -> Node:
    """Of several names of the operator, as of all that there is only one of, the last one counts."""
    node, domain = Node("", [], [], {}), ""
    for number, value, _ in fields(message):
        if isinstance(value, int):
            continue
        if number == NODE_INPUT:
            node.inputs.append(decode(value))
        elif number == NODE_OUTPUT:
            node.outputs.append(decode(value))
        elif number == NODE_OPERATOR:
            node.operator = decode(value)
        elif number == NODE_DOMAIN:
            domain = decode(value)
        elif number == NODE_ATTRIBUTE:
            node.attributes[["", *texts(value, ATTRIBUTE_NAME)][-1]] = number_of(value)
    if domain not in ("", "ai.onnx"):
        node.operator = f"{domain}:{node.operator}"
    return node


def number_of(attribute: memoryview) -> float | None:
    """The value of an attribute that is one number, unless whoever calls the function decides it."""
    found = {number: value for number, value, _ in fields(attribute)}
    if ATTRIBUTE_REFERENCE in found:
        return None
    if found.get(ATTRIBUTE_TYPE) == IS_FLOAT:
        value = found.get(ATTRIBUTE_FLOAT, bytes(4))
        return None if isinstance(value, int) or len(value) != 4 else float(struct.unpack("<f", value)[0])
    value = found.get(ATTRIBUTE_INT, 0)
    if found.get(ATTRIBUTE_TYPE) != IS_INT or not isinstance(value, int):
        return None
    return value if value < 1 << 63 else value - (1 << 64)


def texts(message: memoryview, wanted: int) -> list[str]:
    """The values of a field of text."""
    values = [value for number, value, _ in fields(message) if number == wanted]
    return [decode(value) for value in values if not isinstance(value, int)]


def decode(value: memoryview) -> str:
    return bytes(value).decode(errors="surrogateescape")


def encode(text: str) -> bytes:
    """What ``decode`` has read, as it was."""
    return text.encode(errors="surrogateescape")


def field(number: int, value: int | bytes) -> bytes:
    """A field as it is written: a varint that is not negative, or bytes."""
    if isinstance(value, int):
        return written(number << 3 | VARINT) + written(value)
    return written(number << 3 | BYTES) + written(len(value)) + value


def written(value: int) -> bytes:
    """A varint."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def rewritten(message: memoryview, change: Callable[[int, memoryview], list[bytes] | None]) -> bytes | None:
    """A message in which fields of bytes have become those that ``change(number, value)`` returns; None if all stay."""
    pieces: list[bytes | memoryview] = []
    kept = begin = 0
    for number, value, end in fields(message):
        new = None if isinstance(value, int) else change(number, value)
        if new is not None:
            pieces += [message[kept:begin], *(field(number, content) for content in new)]
            kept = end
        begin = end
    return b"".join([*pieces, message[kept:]]) if pieces else None


def node_proto(operator: str, inputs: list[str], output: str, name: str, attribute: bytes = b"") -> bytes:
    """``attribute`` is what the next two make."""
    texts = [*((NODE_INPUT, source) for source in inputs), (NODE_OUTPUT, output), (NODE_NAME, name)]
    texts.append((NODE_OPERATOR, operator))
    return b"".join(field(number, encode(text)) for number, text in texts) + attribute


def int_attribute(name: str, value: int) -> bytes:
    return _attribute(name, field(ATTRIBUTE_INT, value), IS_INT)


def zeros_attribute(name: str, count: int) -> bytes:
    """An INT64 tensor of so many zeros, with one dim."""
    tensor = field(TENSOR_DIMS, count) + field(TENSOR_TYPE, IS_INT64) + field(TENSOR_RAW, bytes(8 * count))
    return _attribute(name, field(ATTRIBUTE_TENSOR, tensor), IS_TENSOR)


def _attribute(name: str, content: bytes, kind: int) -> bytes:
    """As a field of a node."""
    return field(NODE_ATTRIBUTE, field(ATTRIBUTE_NAME, encode(name)) + content + field(ATTRIBUTE_TYPE, kind))


def has_external_data(blob: bytes) -> bool:
    """Whether any tensor of the model keeps its data in a file; raises MalformedError."""
    pending = [("model", memoryview(blob))]
    to_go = MOST_FIELDS
    while pending:
        kind, message = pending.pop()
        for number, value, _ in fields(message):
            to_go -= 1
            if to_go == 0:
                raise MalformedError
            if kind == "tensor":
                if number == TENSOR_EXTERNAL_DATA or (number == TENSOR_DATA_LOCATION and value == EXTERNAL):
                    return True
            elif (child := CHILDREN[kind].get(number)) is not None and not isinstance(value, int):
                pending.append((child, value))
    return False
