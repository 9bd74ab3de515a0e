"""The argument trees that are made from the command table's syntax."""

from __future__ import annotations

import pytest

from redisai_py.codegen.commands import COMMANDS, Command
from redisai_py.codegen.syntax import Argument, parse


def render(argument: Argument) -> str:
    """The syntax of an argument, from its tree alone."""
    if argument.type == "pure-token":
        text = argument.token or ""
    elif argument.type == "oneof":
        text = " | ".join(map(render, argument.parts))
    elif argument.type == "block":
        text = " ".join(map(render, argument.parts))
    else:
        text = f"{argument.token} {argument.name}" if argument.token else argument.name
    if argument.multiple and argument.optional and not argument.token:
        return f"[{argument.name} ...]"
    if argument.multiple:
        text += f" [{text if argument.multiple_token else argument.name} ...]"
    if argument.optional:
        return f"[{text}]"
    return f"<{text}>" if argument.type == "oneof" else text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_tree_says_all_that_the_syntax_says(command: Command) -> None:
    assert " ".join(map(render, parse(command.syntax))) == command.syntax


def test_keys_know_the_word_before_them() -> None:
    key, count, source = parse("key INPUTS n input [input ...]")
    assert (key.type, key.keyword) == ("key", None)
    assert (count.type, count.token) == ("integer", "INPUTS")
    assert (source.type, source.keyword, source.multiple) == ("key", "INPUTS", True)


@pytest.mark.parametrize("broken", ["[key", "key]", "<A | B", "a | b"])
def test_broken_syntax_is_refused(broken: str) -> None:
    with pytest.raises(ValueError):
        parse(broken)
