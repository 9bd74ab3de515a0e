"""What a DAG must reply and persist: an interpreter that runs one operation after the other.

Written from spec/dag.md, and the rule of the module: whatever runs at the same time, the client sees what it would
see if the operations ran in the order of the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dags import Op, call, execute
from harness import Error, Status
from harness.tensors import tensorset

NO_TENSOR = Error("ERR tensor key is empty or in a different shard")
WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NO_INPUT = Error("ERR INPUT key cannot be found in DAG")
NO_PERSIST = Error("ERR PERSIST key cannot be found in DAG")
FAILURE = Error("")  # stands for the error of an execution, whatever its text

Values = dict[str, np.ndarray]
Element = Status | Error | np.ndarray


class Failed(Exception):
    """An execution failed."""


def check(value: np.ndarray) -> np.ndarray:
    """What the script function of this name does: it raises where it sees something negative."""
    if (value < 0).any():
        raise Failed
    return value


def same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise Failed


def multiply(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    same_shape(a, b)
    return [a * b]


def add_and_subtract(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    same_shape(a, b)
    return [a + b, a - b]


SCRIPT = """
def check(a):
    if bool((a < 0).any()):
        raise RuntimeError("negative")
    return a

def swap(a, b):
    return b, a
"""

# Name, number of inputs and outputs, what it does, and whether it is a script's.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., list[np.ndarray]], bool]] = {
    "multiply": (2, 1, multiply, False),
    "two": (2, 2, add_and_subtract, False),
    "check": (1, 1, lambda a: [check(a)], True),
    "swap": (2, 2, lambda a, b: [b, a], True),
}


@dataclass(frozen=True)
class Set:
    name: str
    values: tuple[float, ...]

    @property
    def array(self) -> np.ndarray:
        return np.array(self.values, np.float32)

    def words(self) -> Op:
        return tensorset(self.name, self.array)


@dataclass(frozen=True)
class Get:
    name: str

    def words(self) -> Op:
        return ["AI.TENSORGET", self.name]


@dataclass(frozen=True)
class Run:
    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def words(self) -> Op:
        inputs, outputs = " ".join(self.inputs), " ".join(self.outputs)
        if FUNCTIONS[self.function][3]:
            return call("script", self.function, inputs, outputs)
        return execute(self.function, inputs, outputs)


Operation = Set | Get | Run


def names_are_known(ops: Sequence[Operation], load: Sequence[str], persist: Sequence[str]) -> Error | None:
    """The error of a name that nothing before it defines."""
    known = set(load)
    for op in ops:
        needed = {Set: (), Get: (op,), Run: ()}[type(op)]
        for name in op.inputs if isinstance(op, Run) else [get.name for get in needed]:
            if name not in known:
                return NO_INPUT
        known.update(op.outputs if isinstance(op, Run) else [op.name] if isinstance(op, Set) else [])
    return None if known.issuperset(persist) else NO_PERSIST


def interpret(
    ops: Sequence[Operation], load: Sequence[str], persist: Sequence[str], keyspace: Mapping[str, np.ndarray | str]
) -> tuple[Error | list[Element], Values]:
    """The reply, with arrays for TENSORGET, and what is persisted. ``keyspace`` holds tensors and strings."""
    for name in load:
        if name not in keyspace:
            return NO_TENSOR, {}
        if isinstance(keyspace[name], str):
            return WRONG_TYPE, {}
    if error := names_are_known(ops, load, persist):
        return error, {}
    values: dict[str, np.ndarray | None] = {name: np.asarray(keyspace[name]) for name in load}
    reply: list[Element] = []
    failed = False
    for op in ops:
        if isinstance(op, Set):
            values[op.name] = op.array
            reply.append(Status("OK"))
        elif isinstance(op, Get):
            value = values[op.name]
            reply.append(Status("NA") if value is None else value)
        else:
            reply.append(_run(op, values, failed))
            failed = failed or reply[-1] is FAILURE
    if failed:
        return reply, {}
    if any(isinstance(keyspace.get(name), str) for name in persist):
        return [*reply, WRONG_TYPE], {}
    return reply, {name: np.asarray(values[name]) for name in persist}


def _run(op: Run, values: dict[str, np.ndarray | None], failed: bool) -> Element:
    """Runs an execution, unless one before it failed, and defines its outputs."""
    arguments = [values[name] for name in op.inputs]
    values.update(dict.fromkeys(op.outputs))
    if failed:
        return Status("NA")
    try:
        with np.errstate(all="ignore"):
            results = FUNCTIONS[op.function][2](*arguments)
    except Failed:
        return FAILURE
    values.update(zip(op.outputs, results, strict=True))
    return Status("OK")
