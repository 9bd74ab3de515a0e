"""Code that is nested too deeply for TorchScript's compiler, which is recursive and overflows its stack.

With 16 MiB it copes with 3000 functions that call each other, 5000 blocks within each other,
and more of everything else. What is counted here is never less than what it nests: each
operator, since that of an expression is inside the next one; each bracket around it, and each
one behind it that calls or indexes; each block; each ``elif``, since it is an ``else`` with an
``if`` in it; each ``return`` and the like, since what follows becomes an ``else``; and in a script
what the functions that are called nest.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from redisai_py.backend import BackendError

MOST_LEVELS = 2000
LEVELS_OF_EXIT = 4  # the time that they take the compiler grows with the square of their number, or more
MOST_OPERATORS = 1_000_000  # of a function and of those that it calls, which are copied to where they are called

TOKEN = re.compile(
    r"""
    (?P<skipped> \#(?!\s*type:)[^\n]*                       # but types in comments are code
      | \"\"\"(?:[^\\]|\\.)*?(?:\"\"\"|\Z) | '''(?:[^\\]|\\.)*?(?:'''|\Z)  # an end that lacks is the compiler's error
      | "(?:[^"\\\n]|\\.)*"? | '(?:[^'\\\n]|\\.)*'?
      | \\\r?\n
      | \d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    | (?P<line> \n[^\S\n]*)
    | (?P<word> [^\W\d]\w*)
    | (?P<open> [(\[{])
    | (?P<close> [)\]}])
    | (?P<comma> [,;])
    | (?P<operator> [^\s\w:\\\"'])
    """,
    re.VERBOSE | re.DOTALL,
)
EXITS = frozenset({"return", "continue", "break", "raise"})
WORD_OPERATORS = frozenset({"and", "or", "not", "if", "else", "in", "is", "for", "lambda", "await", "yield"})


@dataclass
class Code:
    """What is known of a function, or of the code outside of functions."""

    levels: int = 0  # at its deepest
    operators: int = 0
    calls: Counter[str] = field(default_factory=Counter)  # names before a bracket


class Scanner:
    """Reads code from its first line to its last one."""

    def __init__(self) -> None:
        self.codes = {"": Code()}
        self._code = self.codes[""]
        self._blocks = [[0, 0]]  # indentation, elifs before this line
        self._outer = 0  # levels of the blocks around this line
        self._exits = 0  # levels of those of this function, so far
        self._brackets = [0]  # operators of what is being read, in each bracket
        self._levels = 0  # their sum, and one for each bracket

    def read(self, text: str) -> None:
        """Raises BackendError as soon as something is nested too deeply."""
        first = ""  # word of the line
        previous = word = ""
        is_new_line, indentation = True, 0
        for token in TOKEN.finditer(text):
            kind = token.lastgroup
            if kind == "line":
                if len(self._brackets) == 1:
                    is_new_line, indentation = True, len(token[0]) - 1
                continue
            if kind == "skipped":
                word = ""
                continue
            if is_new_line:
                is_new_line = False
                first = token[0]
                self._begin_line(first, indentation)
            if kind == "word":
                previous, word = word, token[0]
                if previous == first == "def":  # of a function, or of a method
                    self._exits = 0
                    if indentation == 0:
                        self._code = self.codes.setdefault(word, Code())
                elif word in WORD_OPERATORS:
                    self._deeper()
            elif kind == "open":
                if word and previous not in (".", "def"):
                    self._code.calls[word] += 1
                self._deeper()
                self._brackets.append(0)
                self._levels += 1
                word = ""
            elif kind == "close":
                if len(self._brackets) > 1:
                    self._levels -= self._brackets.pop() + 1
                word = ""
            elif kind == "comma":
                self._levels -= self._brackets[-1]
                self._brackets[-1] = 0
                word = ""
            else:
                previous, word = word, token[0]
                self._deeper()

    def _begin_line(self, first: str, indentation: int) -> None:
        self._brackets = [0]
        self._levels = 0
        blocks = self._blocks
        while len(blocks) > 1 and blocks[-1][0] > indentation:
            self._outer -= 1 + blocks.pop()[1]
        if blocks[-1][0] < indentation:
            blocks.append([indentation, 0])
            self._outer += 1
        if first in EXITS:
            self._exits += LEVELS_OF_EXIT
        if first == "elif":
            blocks[-1][1] += 1
            self._outer += 1
        elif first != "else":
            self._outer -= blocks[-1][1]
            blocks[-1][1] = 0

    def _deeper(self) -> None:
        self._brackets[-1] += 1
        self._levels += 1
        self._code.operators += 1
        levels = self._outer + self._exits + self._levels
        if levels > self._code.levels:
            self._code.levels = levels
            refuse_if(levels > MOST_LEVELS)


def refuse_if(is_too_deep: bool) -> None:
    if is_too_deep:
        raise BackendError("ERR the code is nested too deeply")


def refuse_deep_nesting(text: str) -> None:
    """Raises BackendError for code, of a script or of a model, that is nested too deeply by itself."""
    Scanner().read(text)


def refuse_deep_calls(text: str) -> None:
    """The same for a script, whose functions are compiled into those that call them."""
    scanner = Scanner()
    scanner.read(text)
    codes = scanner.codes
    called = {name: [other for other in code.calls if other in codes] for name, code in codes.items()}
    try:
        order = list(TopologicalSorter(called).static_order())
    except CycleError:  # the compiler has the words for it
        return
    for name in order:
        code = codes[name]
        for other in called[name]:
            code.operators += code.calls[other] * codes[other].operators
        code.levels += max((codes[other].levels for other in called[name]), default=0)
        refuse_if(code.levels > MOST_LEVELS or code.operators > MOST_OPERATORS)
