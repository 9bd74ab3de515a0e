"""Operators that do not look at what they are given, and end the process: each gets its checks, in TorchScript.

The remainder of integers by zero is an error in Python, and in TorchScript whatever the processor makes of it;
PyTorch checks the divisor of ``//`` only. LAPACK crashes on the eigenvalues of NaNs. The others trust indices.
"""

from __future__ import annotations

from typing import Any

import torch

from .graph import nodes

SOURCE = """
def remainder(a: int, b: int) -> int:
    return a - a // b * b

def linalg_eigvals(x: Tensor) -> Tensor:
    if not bool(torch.isfinite(x).all()):
        raise RuntimeError("linalg.eigvals: the input contains infs or NaNs")
    return torch.linalg.eigvals(x)

def segment_reduce(
    x: Tensor,
    reduce: str,
    lengths: Optional[Tensor],
    indices: Optional[Tensor],
    offsets: Optional[Tensor],
    axis: int,
    unsafe: bool,
    initial: Optional[number],
) -> Tensor:
    if offsets is not None and offsets.numel() > 0:
        if not bool(((offsets >= 0) & (offsets <= x.size(axis))).all()) or bool((offsets.diff() < 0).any()):
            raise RuntimeError("segment_reduce: the offsets do not fit the data")
    # Whoever calls itself unsafe is checked, too.
    return torch.segment_reduce(
        x, reduce, lengths=lengths, indices=indices, offsets=offsets, axis=axis, unsafe=False, initial=initial
    )

def _pad_packed_sequence(
    x: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: number, total_length: int
) -> Tuple[Tensor, Tensor]:
    if bool((batch_sizes <= 0).any()) or bool((batch_sizes.diff() > 0).any()) or int(batch_sizes.sum()) != x.size(0):
        raise RuntimeError("pad_packed_sequence: the batch sizes do not fit the data")
    return torch._pad_packed_sequence(x, batch_sizes, batch_first, padding_value, total_length)
"""
"""A function of the same name and arguments for each operator."""


def graphs() -> dict[str, Any]:
    """What comes in place of each operator, by its kind."""
    made = {}
    for function in torch.jit.CompilationUnit(SOURCE).get_functions():
        graph = function.inlined_graph
        torch._C._jit_pass_lower_all_tuples(graph)  # an operator's results are several
        made[f"aten::{function.name}"] = graph
    return made


CHECKED = graphs()


def make_safe(function: Any) -> None:
    """Changes a function, or a method, that has not run yet; no others that it calls."""
    if any(map(is_unchecked, nodes(function.inlined_graph, forks=False))):
        torch._C._jit_pass_inline(function.graph)
        for node in list(nodes(function.graph, forks=False)):
            if is_unchecked(node):
                replace(function.graph, node)


def make_module_safe(module: Any) -> None:
    """Changes all methods of a module and of those inside."""
    for inner in module.modules():
        for name in inner._c._method_names():
            make_safe(inner._c._get_method(name))


def is_unchecked(node: Any) -> bool:
    kind = node.kind()
    if kind == "aten::remainder":
        divisor = node.inputsAt(1).toIValue()
        return node.schema().startswith("aten::remainder.int(") and (divisor is None or divisor == 0)
    return kind in CHECKED and node.inputsSize() == len(list(CHECKED[kind].inputs()))  # others have an ``out``


def replace(graph: Any, node: Any) -> None:
    with graph.insert_point_guard(node):
        results = graph.insertGraph(CHECKED[node.kind()], list(node.inputs()))
    for old, new in zip(node.outputs(), results, strict=True):
        old.replaceAllUsesWith(new)
    node.destroy()
