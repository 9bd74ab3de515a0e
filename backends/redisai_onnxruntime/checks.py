"""Operators whose kernels end the process when an input or an attribute is not what they expect.

onnxruntime checks how many dims an input has where a model declares that, and a model need not. So nodes that would ask
for a dim that is not there get a Concat of one input in front of them: its result is what it gets, and it fails where
there is no such axis. Or a Reshape, to dims as they are, which fails if there are more or less. What is wrong whatever
comes in is refused. The lists were found by trying all operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from redisai_py.backend import BackendError

from .protobuf import (
    CHILDREN,
    NODE_INPUT,
    MalformedError,
    Node,
    encode,
    int_attribute,
    node_of,
    node_proto,
    rewritten,
    zeros_attribute,
)

LEAST_DIMS = {
    "DFT": {0: 1},
    "GridSample": {0: 1},
    "MaxRoiPool": {0: 4, 1: 2},
    "ReverseSequence": {0: 2},
    "RoiAlign": {0: 4, 1: 2, 2: 1},
    "STFT": {0: 2, 2: 1},
    "com.microsoft:GridSample": {0: 1},
}
EXACT_DIMS = {
    "Multinomial": {0: 2},  # it reads beyond the end of an empty tensor with more of them
}
"""How many dims an input has to have, at least or exactly, by its position."""


def has_normal(node: Node) -> bool:
    return attribute(node, "scale", 1.0) > 0


def has_range(node: Node) -> bool:
    return attribute(node, "low", 0.0) <= attribute(node, "high", 1.0)


def has_zero_point(node: Node) -> bool:
    return len(node.inputs) > 4 and node.inputs[4] != ""


def attribute(node: Node, name: str, default: float) -> float:
    given = node.attributes.get(name, default)
    return default if given is None else given


NEEDS: Mapping[str, tuple[Callable[[Node], bool], str]] = {
    "GatherND": (lambda node: attribute(node, "batch_dims", 0) >= 0, "batch_dims that are not negative"),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike"), (has_normal, "a scale above 0")),
    **dict.fromkeys(("RandomUniform", "RandomUniformLike"), (has_range, "a low that is not above its high")),
    **dict.fromkeys(
        ("com.microsoft:QLinearLeakyRelu", "com.microsoft:QLinearSigmoid"), (has_zero_point, "an output zero point")
    ),
}

MOST_NESTED = 100  # messages in messages, as many as protobuf itself reads


def checked(blob: bytes) -> bytes:
    """A serialised ModelProto with the checks that it needs: mostly the same object, since most need none.

    Raises BackendError for what is refused, and MalformedError.
    """
    return Checks().of("model", memoryview(blob)) or blob


class Checks:
    """Those of one model; counts them, for their names."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, kind: str, message: memoryview, depth: int = 0) -> bytes | None:
        """A message with the checks that its nodes need; None if they need none."""
        if depth > MOST_NESTED:
            raise MalformedError
        kinds = CHILDREN[kind]
        return rewritten(message, lambda number, child: self._of_child(kinds.get(number), child, depth + 1))

    def _of_child(self, kind: str | None, message: memoryview, depth: int) -> list[bytes] | None:
        if kind not in ("graph", "function", "node", "attribute"):
            return None
        changed = self.of(kind, message, depth)
        if kind == "node":
            return self._of_node(message, changed)
        return None if changed is None else [changed]

    def _of_node(self, message: memoryview, changed: bytes | None) -> list[bytes] | None:
        """A node and what comes before it. ``changed``: the node with checked subgraphs, if they need checks."""
        node = node_of(message)
        is_good, need = NEEDS.get(node.operator, (None, ""))
        if is_good and not is_good(node):
            raise BackendError(f"ERR {node.operator} needs {need}")
        checks: list[bytes] = []
        names = list(node.inputs)
        for known, make in ((LEAST_DIMS, least_dims), (EXACT_DIMS, exact_dims)):
            for position, dims in known.get(node.operator, {}).items():
                if position < len(names) and names[position]:
                    self._count += 1
                    names[position] = f"redisai_checked_{self._count}"
                    text = f"input {position} of {node.operator}"
                    checks += make(node.inputs[position], names[position], dims, text)
        if checks:
            left = map(encode, names)
            changed = rewritten(
                memoryview(changed or message), lambda number, _: [next(left)] if number == NODE_INPUT else None
            )
        return None if changed is None else [*checks, changed]


def least_dims(source: str, target: str, dims: int, text: str) -> list[bytes]:
    """Nodes that pass a tensor on; a run fails, with the text, if it has fewer dims."""
    axis = int_attribute("axis", dims - 1)
    return [node_proto("Concat", [source], target, f"{text}, which needs {dims} dims or more", axis)]


def exact_dims(source: str, target: str, dims: int, text: str) -> list[bytes]:
    """The same if it has fewer or more: a 0 in a shape leaves a dim as it is."""
    return [
        node_proto("Constant", [], f"{target}_shape", "", zeros_attribute("value", dims)),
        node_proto("Reshape", [source, f"{target}_shape"], target, f"{text}, which needs {dims} dims"),
    ]
