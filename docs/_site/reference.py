"""A page for each command, from the command table and a transcript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from redisai_py.codegen.commands import Command, KeySpec

TRANSCRIPTS = Path(__file__).resolve().parents[1] / "transcripts"

GROUPS = (
    ("Tensors", ("ai.tensorset", "ai.tensorget")),
    (
        "Models",
        ("ai.modelstore", "ai.modelexecute", "ai.modelget", "ai.modeldel", "ai.modelalias", "ai._modelscan"),
    ),
    ("Scripts", ("ai.scriptstore", "ai.scriptexecute", "ai.scriptget", "ai.scriptdel", "ai._scriptscan")),
    ("DAG commands", ("ai.dagexecute", "ai.dagexecute_ro")),
    ("Flow commands", ("ai.flow",)),
    ("Server", ("ai.info", "ai.config")),
    ("Deprecated", ("ai.modelset", "ai.modelrun", "ai.scriptset", "ai.scriptrun", "ai.dagrun", "ai.dagrun_ro")),
)

ACCESS = {"read": "reads", "write": "writes", "delete": "deletes", "any": "reads or writes"}


def page_of(command: Command) -> str:
    return "\n\n".join(parts_of(command)) + "\n"


def parts_of(command: Command) -> Iterator[str]:
    name = command.name.upper()
    yield f"# {name}"
    yield command.summary
    yield f"``` {{.text .syntax}}\n{name} {command.syntax}".rstrip() + "\n```"
    rows = [
        ("Since", command.since),
        ("Complexity", command.complexity),
        ("Flags", ", ".join(command.flags)),
        ("ACL categories", ", ".join(f"@{category}" for category in command.categories.split())),
    ]
    rows += [("Keys", ", ".join(map(described, command.specs)) or "none")]
    rows += [(f"Since {version}", change) for version, change in command.history]
    table = "".join(f"| {title} | {text} |\n" for title, text in rows)
    yield f"| | |\n|---|---|\n{table}".rstrip()
    yield "## Example"
    yield f"```text\n{transcript(command)}```"
    yield "[What the words mean, and all replies](../commands.md)"


def described(spec: KeySpec) -> str:
    if isinstance(spec.begin, int):
        return f"{ACCESS[spec.access]} argument {spec.begin}"
    return f"{ACCESS[spec.access]} those after {spec.begin}"


def transcript(command: Command) -> str:
    """What a session with the command looks like; tests/flow/test_transcripts.py runs it."""
    return (TRANSCRIPTS / f"{command.name}.txt").read_text()
