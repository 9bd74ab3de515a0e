"""Operations whose kernels end the process when an input has another number of dims than they expect.

Nothing comes before them: what is fed to a placeholder of four dims may have three.
So each gets TensorFlow's own check in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorflow.core.framework import node_def_pb2

RANKS = {
    "Conv2D": {0: 4, 1: 4},
    "Conv3D": {0: 5, 1: 5},
    "DepthwiseConv2dNative": {0: 4, 1: 4},
    "MaxPool3D": {0: 5},
    "AvgPool3D": {0: 5},
}
"""The numbers of dims of such inputs, by their positions."""

# What makes the weights of a model. They have the dims that they were stored with, and TensorFlow has to see them.
WEIGHTS = frozenset({"Const", "ReadVariableOp", "VariableV2", "Identity", "Enter"})


def check_at_run_time(graph_def: Any) -> None:
    """Puts the checks into a GraphDef and its functions."""
    graph_def.node.extend(checks(graph_def.node, ""))
    for function in graph_def.library.function:
        function.node_def.extend(checks(function.node_def, ":output:0"))


def checks(nodes: Iterable[Any], output: str) -> list[Any]:
    """New nodes, which the inputs of these now come from; ``output`` is what follows their names there."""
    nodes = list(nodes)
    kinds = {node.name: node.op for node in nodes}
    made = []
    for node in nodes:
        for position, rank in RANKS.get(node.op, {}).items():
            if position >= len(node.input):
                continue
            source = kinds.get(node.input[position].partition(":")[0])
            if source in WEIGHTS and (position > 0 or source == "Const"):  # the first one is data
                continue
            check = node_def_pb2.NodeDef(name=f"{node.name}/rank_of_{position}", op="EnsureShape", device=node.device)
            check.input.append(node.input[position])
            check.attr["T"].CopyFrom(node.attr["T"])
            for _ in range(rank):
                check.attr["shape"].shape.dim.add(size=-1)  # of any length
            node.input[position] = check.name + output
            made.append(check)
    return made
