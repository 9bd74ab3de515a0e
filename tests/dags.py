"""AI.DAGEXECUTE and its kin, put together from parts."""

from __future__ import annotations

from collections.abc import Sequence

from harness import Status
from harness.wire import Argument

Op = str | Sequence[Argument]

NA = Status("NA")
TIMEDOUT = Status("TIMEDOUT")
COMMANDS = ["AI.DAGEXECUTE", "AI.DAGEXECUTE_RO", "AI.DAGRUN", "AI.DAGRUN_RO"]


def words_of(op: Op) -> list[Argument]:
    """An operation: its words, or a text that is split at blanks."""
    return list(op.split()) if isinstance(op, str) else list(op)


def dag(
    *ops: Op,
    load: Sequence[Argument] = (),
    persist: Sequence[Argument] = (),
    routing: Argument | None = "tag",
    timeout: Argument | None = None,
    command: str = "AI.DAGEXECUTE",
) -> list[Argument]:
    """The words of a command. ROUTING is given unless it is None, so that nothing else must be."""
    words: list[Argument] = [command]
    if load:
        words += ["LOAD", len(load), *load]
    if persist:
        words += ["PERSIST", len(persist), *persist]
    if routing is not None:
        words += ["ROUTING", routing]
    if timeout is not None:
        words += ["TIMEOUT", timeout]
    for op in ops:
        words += ["|>", *words_of(op)]
    return words


def execute(key: str, inputs: str, outputs: str) -> str:
    """AI.MODELEXECUTE as an operation; names are separated by blanks."""
    return f"AI.MODELEXECUTE {key} INPUTS {len(inputs.split())} {inputs} OUTPUTS {len(outputs.split())} {outputs}"


def call(key: str, function: str, inputs: str = "", outputs: str = "") -> str:
    """AI.SCRIPTEXECUTE as an operation."""
    return (
        f"AI.SCRIPTEXECUTE {key} {function} INPUTS {len(inputs.split())} {inputs}"
        f" OUTPUTS {len(outputs.split())} {outputs}"
    )
