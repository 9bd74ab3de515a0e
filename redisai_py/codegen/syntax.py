"""From the syntax of a command, as the table states it, to the tree of its arguments.

``key INPUTS n input [input ...] [TIMEOUT t]`` becomes what COMMAND DOCS and the hints
of redis-cli are made of. Words in upper case, and ``$`` and ``|>``, are tokens: they
stand before the argument that follows, or for themselves. Brackets make what they
hold optional, ``|`` separates alternatives, ``< >`` holds alternatives of which one is
needed, and ``x [x ...]`` is one argument that may be repeated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

WORDS = re.compile(r"\|>|\.\.\.|[\[\]<>|]|[^\s\[\]<>|]+")

INTEGERS = frozenset({"n", "m", "t", "dim", "bytes"})
KEYS = frozenset({"key", "input", "output", "alias"})


class Argument(NamedTuple):
    """One argument, as COMMAND DOCS describes it.

    ``type`` is one of string, integer, key, pure-token, oneof and block; the last two
    have ``parts``. ``keyword`` is the last token before it, its own included.
    """

    name: str
    type: str
    token: str | None = None
    keyword: str | None = None
    optional: bool = False
    multiple: bool = False
    multiple_token: bool = False
    parts: tuple[Argument, ...] = ()


def parse(syntax: str) -> tuple[Argument, ...]:
    """The arguments of a command; raises ValueError where the syntax breaks the rules above."""
    parser = _Parser(WORDS.findall(syntax))
    arguments = parser.sequence()
    if parser.rest:
        raise ValueError(f"unexpected {parser.rest[-1]!r} in {syntax!r}")
    return arguments


def is_token(word: str) -> bool:
    return word in ("$", "|>") or word[0].isupper()


class _Parser:
    def __init__(self, words: list[str]) -> None:
        self.rest = words[::-1]
        self.keyword: str | None = None

    def next_is(self, *words: str) -> bool:
        return self.rest[-len(words) :] == list(words[::-1])

    def skip(self, *words: str) -> bool:
        found = self.next_is(*words)
        if found:
            del self.rest[-len(words) :]
        return found

    def sequence(self) -> tuple[Argument, ...]:
        """Arguments up to a closing bracket, an alternative, or the end."""
        arguments = []
        while self.rest and self.rest[-1] not in ("]", ">", "|"):
            arguments.append(self.argument())
        return tuple(arguments)

    def argument(self) -> Argument:
        word = self.rest.pop()
        if word in ("[", "<"):
            return self.group(word)
        if not is_token(word):
            return self.repeated(self.plain(word, None))
        self.keyword = word
        if self.rest and re.match(r"[a-z]", self.rest[-1]):
            return self.repeated(self.plain(self.rest.pop(), word))
        return Argument(word.lower(), "pure-token", word, word)

    def plain(self, name: str, token: str | None) -> Argument:
        kind = "integer" if name in INTEGERS else "key" if name in KEYS else "string"
        return Argument(name, kind, token, self.keyword)

    def repeated(self, first: Argument) -> Argument:
        """The argument; it may be repeated when ``...``, ``[name ...]``, or ``[TOKEN name ...]`` follows."""
        if self.skip("..."):
            return first._replace(multiple=True)
        if self.skip("[", first.name, "...", "]"):
            return first._replace(multiple=True)
        if first.token and self.skip("[", first.token, first.name, "...", "]"):
            return first._replace(multiple=True, multiple_token=True)
        return first

    def group(self, opening: str) -> Argument:
        """What stands in brackets."""
        closing = "]" if opening == "[" else ">"
        alternatives = [self.sequence()]
        while self.skip("|"):
            alternatives.append(self.sequence())
        if not self.skip(closing):
            raise ValueError(f"{opening} is not closed")
        blocks = tuple(map(self.block, alternatives))
        group = blocks[0]
        if len(blocks) > 1:
            name = "-or-".join((block.token or block.name).lower() for block in blocks)
            group = Argument(name, "oneof", parts=blocks)
        return group._replace(optional=opening == "[")

    @staticmethod
    def block(arguments: tuple[Argument, ...]) -> Argument:
        """One argument for several."""
        if len(arguments) == 1:
            return arguments[0]
        name = (arguments[0].token or arguments[0].name).lower()
        return Argument(name, "block", parts=arguments)
