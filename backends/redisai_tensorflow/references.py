"""How the nodes of a graph refer to each other. Imports neither TensorFlow nor the module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def node_of(reference: str) -> str:
    """The node's name in a reference such as ``^name`` or ``name:0``."""
    return reference.removeprefix("^").partition(":")[0]


def reachable(nodes: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """The names of all nodes that must run for the roots to run; also of those that ``nodes`` (NodeDefs) lacks."""
    reached: set[str] = set()
    pending = list(roots)
    while pending:
        name = node_of(pending.pop())
        if name not in reached:
            reached.add(name)
            pending += nodes[name].input if name in nodes else ()
    return reached
