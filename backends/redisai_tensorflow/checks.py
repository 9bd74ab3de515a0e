"""Operations whose kernels end the process when an input is not what they expect.

Nothing comes before them: what is fed to a placeholder of four dims may have three. So each gets TensorFlow's own
checks in front of it: EnsureShape for the number of dims, Assert for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.types_pb2 import DT_FLOAT, DT_INT32, DT_INVALID, DT_STRING
from tensorflow.python.framework import op_def_registry

from .references import node_of


@dataclass(frozen=True)
class Dims:
    """An input has so many dims."""

    position: int
    number: int
    are_weights: bool = False


@dataclass(frozen=True)
class LeastDims:
    """An input has so many dims, or more."""

    position: int
    least: int


@dataclass(frozen=True)
class Shape:
    """An input, a vector, is the shape of a tensor with one of these numbers of dims, or without the outer ones.

    The first one of a whole shape, the batch, may be -1: it follows from another input.
    """

    position: int
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Values:
    """All values of an input are within these bounds."""

    position: int
    least: int
    most: int


@dataclass(frozen=True)
class Scattered:
    """``updates`` has a dim for each of ``indices`` but its last one."""

    indices: int
    updates: int


Check = Dims | LeastDims | Shape | Values | Scattered

INT32 = AttrValue(type=DT_INT32)

MOST = 2**31 - 1
MOST_ELEMENTS = float(2**40)  # whatever the batch is, the product does not overflow
SIZES = (0, MOST)

CONVOLUTION_2D = (Dims(0, 4), Dims(1, 4, are_weights=True))
CONVOLUTION_3D = (Dims(0, 5), Dims(1, 5, are_weights=True))
TRANSPOSED_2D = (Dims(0, 1), Shape(0, (2, 4)), Dims(1, 4, are_weights=True), Dims(2, 4))
TRANSPOSED_3D = (Dims(0, 1), Shape(0, (5,)), Dims(1, 5, are_weights=True), Dims(2, 5))
POOL_3D = (Dims(0, 5),)
FOURIER = (Values(1, 1, MOST),)
SCATTERED = (Scattered(1, 2),)

CHECKS: dict[str, tuple[Check, ...]] = {
    "Conv2D": CONVOLUTION_2D,
    "Conv3D": CONVOLUTION_3D,
    "DepthwiseConv2dNative": CONVOLUTION_2D,
    "Conv2DBackpropInput": TRANSPOSED_2D,
    "Conv3DBackpropInputV2": TRANSPOSED_3D,
    "DepthwiseConv2dNativeBackpropInput": TRANSPOSED_2D,
    "MaxPool3D": POOL_3D,
    "AvgPool3D": POOL_3D,
    "CombinedNonMaxSuppression": (Dims(0, 4), Dims(1, 3)),
    "FakeQuantWithMinMaxVarsPerChannel": (LeastDims(0, 1),),
    "LSTMBlockCell": (*(Dims(i, 2) for i in range(3)), Dims(3, 2, True), *(Dims(i, 1, True) for i in range(4, 8))),
    **{f"{inverse}RFFT{dims}": FOURIER for inverse in ("", "I") for dims in ("", "2D", "3D")},
    "ScatterNd": (Scattered(0, 1),),
    "ScatterNdNonAliasingAdd": SCATTERED,
    **{f"TensorScatter{way}": SCATTERED for way in ("Update", "Add", "Sub", "Max", "Min")},
    "SparseTensorDenseMatMul": (Values(2, *SIZES),),
    "TensorListGetItem": (Dims(1, 0),),
    "TensorListSetItem": (Dims(1, 0),),
    "TensorListSplit": (Values(2, *SIZES),),
}
"""By operation; inputs are meant by their positions."""

WEIGHTS = frozenset({"Const", "ReadVariableOp", "VariableV2", "Identity", "Enter"})
"""What makes the weights of a model. They have the dims that they were stored with, and TensorFlow has to see them."""


def check_at_run_time(graph_def: Any) -> None:
    """Puts the checks into a GraphDef and its functions."""
    graph_def.node.extend(checks(graph_def.node, in_function=False))
    for function in graph_def.library.function:
        function.node_def.extend(checks(function.node_def, in_function=True))


def checks(nodes: Iterable[Any], in_function: bool) -> list[Any]:
    """New nodes, which these now depend on."""
    nodes = list(nodes)
    kinds = {node.name: node.op for node in nodes}
    made: list[Any] = []
    for node in nodes:
        wanted = CHECKS.get(node.op, ()) if has_its_inputs(node) else ()  # TensorFlow refuses the graph otherwise
        for number, check in enumerate(wanted):
            builder = Builder(node, f"{node.name}/check_{number}", kinds, in_function)
            builder.build(check)
            made += builder.made
    return made


class Builder:
    """Makes the nodes of one check of a node."""

    def __init__(self, node: Any, prefix: str, kinds: dict[str, str], in_function: bool) -> None:
        """``kinds`` are the operations of all nodes there, by name; those that are made are added."""
        self._node = node
        self._prefix = prefix
        self._kinds = kinds
        self._in_function = in_function
        self.made: list[Any] = []

    def build(self, check: Check) -> None:
        match check:
            case Dims(position, number, are_weights):
                self._ensure_dims(position, number, are_weights)
            case LeastDims(position, least):
                enough = self._add("GreaterEqual", self._rank(position), self._constant(least, position), T=INT32)
                self._assert(enough, f"input {position} of {self._node.op} needs {least} dims or more")
            case Shape(position, numbers):
                self._assert_shape(position, numbers)
            case Values(position, least, most):
                self._assert_values(self._node.input[position], position, least, most)
            case Scattered(indices, updates):
                rank = self._add("Add", self._rank(updates), self._constant(1, updates), T=INT32)
                enough = self._add("GreaterEqual", rank, self._rank(indices), T=INT32)
                self._assert(enough, f"the updates of {self._node.op} have too few dims for its indices")

    def _ensure_dims(self, position: int, number: int, are_weights: bool) -> None:
        source = self._kinds.get(node_of(self._node.input[position]))
        if source == "Const" or (are_weights and source in WEIGHTS):
            return
        shape = AttrValue(shape=tf.TensorShape([None] * number).as_proto())
        ensured = self._add("EnsureShape", self._node.input[position], T=of_type(self._dtype(position)), shape=shape)
        self.made[-1].device = self._node.device
        self._node.input[position] = ensured

    def _assert_shape(self, position: int, numbers: tuple[int, ...]) -> None:
        vector, dtype = self._node.input[position], of_type(self._dtype(position))
        length = self._add("Size", vector, T=dtype)
        equal = self._add("Equal", length, self._constant(numbers, position), T=INT32)
        some = self._add("Any", equal, self._constant((0,), position))
        self._assert(some, f"input {position} of {self._node.op} needs {' or '.join(map(str, numbers))} values")
        self._assert_values(vector, position, -1, MOST)
        bounds = [self._constant((bound,), position) for bound in (1 - max(numbers), 0, 1)]
        inner = self._add("StridedSlice", vector, *bounds, T=dtype, Index=INT32, end_mask=AttrValue(i=1))
        self._assert_values(inner, position, 0, MOST)
        sizes = self._add("Abs", self._add("Cast", vector, SrcT=dtype, DstT=of_type(DT_FLOAT)), T=of_type(DT_FLOAT))
        elements = self._add("Prod", sizes, self._constant((0,), position), T=of_type(DT_FLOAT))
        most = self._constant(MOST_ELEMENTS, position, DT_FLOAT)
        few = self._add("LessEqual", elements, most, T=of_type(DT_FLOAT))
        self._assert(few, f"input {position} of {self._node.op} is the shape of too many elements")

    def _assert_values(self, source: str, position: int, least: int, most: int) -> None:
        """``source`` is an input, or a part of it."""
        dtype = self._dtype(position)
        flat = self._add("Reshape", source, self._constant((-1,), position), T=of_type(dtype))
        above = self._add("GreaterEqual", flat, self._constant(least, position, dtype), T=of_type(dtype))
        below = self._add("LessEqual", flat, self._constant(most, position, dtype), T=of_type(dtype))
        within = self._add("LogicalAnd", above, below)
        every = self._add("All", within, self._constant((0,), position))
        self._assert(every, f"input {position} of {self._node.op} has a value that is not in {least} to {most}")

    def _assert(self, condition: str, text: str) -> None:
        words = self._constant(text, 0, DT_STRING)
        self._add("Assert", condition, words, T=AttrValue(list=AttrValue.ListValue(type=[DT_STRING])))
        self._node.input.append(f"^{self.made[-1].name}")

    def _rank(self, position: int) -> str:
        return self._add("Rank", self._node.input[position], T=of_type(self._dtype(position)))

    def _constant(self, value: Any, position: int, dtype: int = DT_INT32) -> str:
        """A constant beside an input. Where that is computed in a loop, so must be the constant."""
        beside = node_of(self._node.input[position])
        after = (f"^{beside}",) if beside in self._kinds else ()
        tensor = AttrValue(tensor=tf.make_tensor_proto(value, dtype))
        return self._add("Const", *after, dtype=of_type(dtype), value=tensor)

    def _add(self, operation: str, *inputs: str, **attributes: AttrValue) -> str:
        """Makes a node; the name of its output."""
        made = node_def_pb2.NodeDef(name=f"{self._prefix}/{len(self.made)}", op=operation, input=inputs)
        for name, value in attributes.items():
            made.attr[name].CopyFrom(value)
        self.made.append(made)
        self._kinds[made.name] = operation
        outputs = op_def_registry.get(operation).output_arg
        return f"{made.name}:{outputs[0].name}:0" if self._in_function and outputs else str(made.name)

    def _dtype(self, position: int) -> int:
        """The dtype of an input, as TensorFlow numbers them."""
        definition = op_def_registry.get(self._node.op)
        argument = definition.input_arg[position]
        if not argument.type_attr:
            return int(argument.type)
        if argument.type_attr in self._node.attr:
            return int(self._node.attr[argument.type_attr].type)
        defaults = (int(a.default_value.type) for a in definition.attr if a.name == argument.type_attr)
        return next(defaults, DT_INVALID)


def has_its_inputs(node: Any) -> bool:
    definition = op_def_registry.get(node.op)
    given = sum(not name.startswith("^") for name in node.input)
    return definition is not None and given == len(definition.input_arg)


def of_type(dtype: int) -> AttrValue:
    return AttrValue(type=dtype)
