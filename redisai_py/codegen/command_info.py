"""The descriptions of all commands, as C: ``command_info.h``, made from the command table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from .commands import ACCESS, Command, KeySpec
from .redis_api import (
    ARGUMENT_MULTIPLE,
    ARGUMENT_MULTIPLE_TOKEN,
    ARGUMENT_OPTIONAL,
    ARGUMENT_TYPES,
    BEGIN_INDEX,
    BEGIN_KEYWORD,
    FIND_COUNT,
    FIND_RANGE,
)
from .syntax import Argument, parse

FIRST_WORD = 2
"""Where the search for a keyword begins: behind the command and its first argument."""


def quoted(text: str | None) -> str:
    return json.dumps(text) if text else "NULL"


def flags_of(names: Sequence[str]) -> str:
    return "|".join(f"REDISMODULE_CMD_KEY_{name}" for name in names)


def all_specs(command: Command) -> list[KeySpec]:
    """The key specifications of a command in the order in which the server gets them.

    The server works out the key positions of COMMAND INFO from the first one. Those
    of RedisAI are somewhere in the middle of a command that executes something, so
    there they come first, as a specification of their own.
    """
    first = command.keys[0]
    specs = list(command.specs)
    return [KeySpec("any", first), *specs] if command.reports_keys else specs


def key_spec(spec: KeySpec, variable: bool) -> str:
    """One RedisModuleCommandKeySpec.

    ``variable``: a word of a command may be a key that looks like a keyword, so these
    specifications are for people. The server then asks the command itself for its keys.
    """
    flags = flags_of([*ACCESS[spec.access], *(["INCOMPLETE", "VARIABLE_FLAGS"] if variable else [])])
    if isinstance(spec.begin, int):
        begin = f"{BEGIN_INDEX}, {{.index = {{{spec.begin}}}}}"
        find = f"{FIND_RANGE}, {{.range = {{0, 1, 0}}}}"
    else:
        begin = f"{BEGIN_KEYWORD}, {{.keyword = {{{quoted(spec.begin)}, {FIRST_WORD}}}}}"
        last = 0 if spec.begin == "ROUTING" else -1
        find = f"{FIND_RANGE}, {{.range = {{{last}, 1, 0}}}}"
        if spec.counted:
            find = f"{FIND_COUNT}, {{.keynum = {{0, 1, 1}}}}"
    return f"{{NULL, {flags}, {begin}, {find}}}"


def spec_index(argument: Argument, specs: list[KeySpec]) -> int:
    """Which specification covers an argument that is a key: that of the word before it, or of its position."""
    by_word = [i for i, spec in enumerate(specs) if spec.begin == argument.keyword]
    by_position = [i for i, spec in enumerate(specs) if spec.begin == 1 and argument.keyword is None]
    return (by_word + by_position + [0])[0]


class Arguments:
    """Emits the argument trees of one command, the innermost arrays first."""

    def __init__(self, command: Command) -> None:
        self.handler = command.handler
        self.specs = all_specs(command)
        self.arrays: list[str] = []

    def array(self, arguments: Sequence[Argument]) -> str:
        """The name of an array of these arguments."""
        elements = [self.element(argument) for argument in arguments]
        name = f"args{len(self.arrays)}_of_{self.handler}"
        body = "".join(f"    {element},\n" for element in [*elements, "{0}"])
        self.arrays.append(f"static RedisModuleCommandArg {name}[] = {{\n{body}}};")
        return name

    def element(self, argument: Argument) -> str:
        parts = self.array(argument.parts) if argument.parts else "NULL"
        flags = (
            ARGUMENT_OPTIONAL * argument.optional
            | ARGUMENT_MULTIPLE * argument.multiple
            | ARGUMENT_MULTIPLE_TOKEN * argument.multiple_token
        )
        index = spec_index(argument, self.specs) if argument.type == "key" else -1
        kind = ARGUMENT_TYPES[argument.type]
        name, token = quoted(argument.name), quoted(argument.token)
        return f"{{{name}, {kind}, {index}, {token}, NULL, NULL, {flags}, NULL, {parts}, NULL}}"


def describe(command: Command) -> Iterator[str]:
    """The C definitions for one command; the last is its RedisModuleCommandInfo."""
    members = {
        "version": "&command_info_version",
        "summary": quoted(command.summary),
        "complexity": quoted(command.complexity),
        "since": quoted(command.since),
        "tips": quoted(command.tips),
    }
    specs = all_specs(command)
    if specs:
        body = "".join(f"    {key_spec(spec, command.reports_keys)},\n" for spec in specs)
        yield f"static RedisModuleCommandKeySpec specs_of_{command.handler}[] = {{\n{body}    {{0}},\n}};"
        members["key_specs"] = f"specs_of_{command.handler}"
    if command.history:
        body = "".join(f"    {{{quoted(since)}, {quoted(change)}}},\n" for since, change in command.history)
        yield f"static RedisModuleCommandHistoryEntry history_of_{command.handler}[] = {{\n{body}    {{0}},\n}};"
        members["history"] = f"history_of_{command.handler}"
    arguments = parse(command.syntax)
    if arguments:
        emitter = Arguments(command)
        members["args"] = emitter.array(arguments)
        yield from emitter.arrays
    body = "".join(f"    .{member} = {value},\n" for member, value in members.items())
    yield f"static const RedisModuleCommandInfo info_of_{command.handler} = {{\n{body}}};"


def command_info(commands: Sequence[Command], notice: str) -> str:
    lines = [
        f"/* {notice} */",
        "#ifndef COMMAND_INFO_H",
        "#define COMMAND_INFO_H",
        '#include "redis_api.h"',
        "",
        "static const RedisModuleCommandInfoVersion command_info_version = {",
        "    1, sizeof(RedisModuleCommandHistoryEntry), sizeof(RedisModuleCommandKeySpec),",
        "    sizeof(RedisModuleCommandArg)};",
        "",
    ]
    for command in commands:
        lines += [*describe(command), ""]
    return "\n".join([*lines, "#endif"]) + "\n"
