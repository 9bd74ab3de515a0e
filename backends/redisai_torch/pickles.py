"""Pickles of an archive that are nested so deeply that freeing what they hold overflows the stack.

PyTorch's unpickler builds what it reads without recursion, but types and frees it with.
Here nothing is built: a pickle's instructions are followed with, for each value, how deeply
it nests.
"""

from __future__ import annotations

import pickletools
from typing import Any

from redisai_py.backend import BackendError

MOST_LEVELS = 5000  # PyTorch was seen to cope with 80,000
TOO_DEEP = "ERR the archive is nested too deeply"
BROKEN = "ERR the archive is broken"

CHANGES = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
STORES = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
LOADS = frozenset({"GET", "BINGET", "LONG_BINGET"})


class Value:
    """Something that a pickle builds."""

    __slots__ = ("inside", "levels")

    def __init__(self) -> None:
        self.levels = 0
        self.inside = False  # is part of another value, which would not grow with it


MARK = Value()


class Unpickling:
    """The state of an unpickler: its stack, and what it has been told to remember."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._memory: dict[int, Value] = {}

    def follow(self, instruction: Any, argument: Any) -> None:
        """Raises BackendError; IndexError, KeyError or ValueError when there is not what the instruction needs."""
        stack, name = self._stack, instruction.name
        if name == "MARK":
            stack.append(MARK)
        elif name in STORES:
            self._memory[len(self._memory) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in LOADS:
            stack.append(self._memory[argument])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            parts = self._take(instruction.stack_before)
            if name in CHANGES:
                target = parts.pop(0)
            elif instruction.stack_after:
                target = Value()
            else:
                return
            if target.inside:
                raise BackendError(BROKEN)
            for part in parts:
                part.inside = True
                target.levels = max(target.levels, part.levels + 1)
            if target.levels > MOST_LEVELS:
                raise BackendError(TOO_DEEP)
            stack.append(target)

    def _take(self, kinds: list[Any]) -> list[Value]:
        """What an instruction takes from the stack, in its order there, without the mark."""
        parts: list[Value] = []
        for kind in reversed(kinds):
            if kind is pickletools.stackslice:
                while (part := self._stack.pop()) is not MARK:
                    parts.append(part)
            elif kind is not pickletools.markobject:
                parts.append(self._stack.pop())
        return parts[::-1]


def refuse_deep_pickle(data: bytes) -> None:
    """Raises BackendError for a pickle that is nested too deeply, or that no pickler writes."""
    state = Unpickling()
    try:
        for instruction, argument, _ in pickletools.genops(data):
            state.follow(instruction, argument)
    except (IndexError, KeyError, ValueError):
        raise BackendError(BROKEN) from None
