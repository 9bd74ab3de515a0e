"""The remainder of integers by zero: an error in Python, and in TorchScript whatever the processor makes of it.

PyTorch checks the divisor of ``//`` only. So ``a % b`` becomes ``a - a // b * b``,
which is the same for all others.
"""

from __future__ import annotations

from typing import Any

import torch

from .graph import nodes


def make_safe(function: Any) -> None:
    """Changes a function, or a method, that has not run yet; no others that it calls."""
    if any(map(is_unsafe, nodes(function.inlined_graph, forks=False))):
        torch._C._jit_pass_inline(function.graph)
        for node in list(nodes(function.graph, forks=False)):
            if is_unsafe(node):
                replace(function.graph, node)


def make_module_safe(module: Any) -> None:
    """Changes all methods of a module and of those inside."""
    for inner in module.modules():
        for name in inner._c._method_names():
            make_safe(inner._c._get_method(name))


def is_unsafe(node: Any) -> bool:
    if node.kind() != "aten::remainder" or not node.schema().startswith("aten::remainder.int("):
        return False
    divisor = list(node.inputs())[1].toIValue()
    return divisor is None or divisor == 0


def replace(graph: Any, node: Any) -> None:
    dividend, divisor = node.inputs()
    with graph.insert_point_guard(node):
        quotient = insert(graph, "aten::floordiv", dividend, divisor)
        rest = insert(graph, "aten::sub", dividend, insert(graph, "aten::mul", quotient, divisor))
    node.output().replaceAllUsesWith(rest)
    node.destroy()


def insert(graph: Any, kind: str, *inputs: Any) -> Any:
    """The integer that a new operator gives."""
    node = graph.create(kind, list(inputs), 1)
    node.output().setType(torch._C.IntType.get())
    return graph.insertNode(node).output()
