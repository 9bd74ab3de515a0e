"""What a model does to memory that is not its own, read from its graph.

Stored tensors are handed to PyTorch without a copy, other clients read the same
bytes, and several workers may run one model: in-place operators and attributes
that change have to be known before the first run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from redisai_py.backend import BackendError

from .archive import FILE_OPERATORS, USES_FILES

# Calls of Python functions that TorchScript did not compile: a script reaches some by way of the torch package.
PYTHON_CALLS = frozenset({"prim::PythonOp", "prim::IgnoredPythonOp"})
CALLS_PYTHON = "ERR TorchScript that calls Python functions is not supported"

# Operators that need autograd, which inference mode switches off for good.
AUTOGRAD = frozenset({"aten::set_grad_enabled", "aten::grad", "aten::backward", "aten::requires_grad_"})
CALLS = frozenset({"prim::CallMethod", "prim::CallFunction"})  # what cannot be inlined: its callee is not known


# Operators that do more than compute, or hand their work to other threads.
SIDE_EFFECTS = frozenset({"prim::Print", "aten::warn", "prim::fork", "aten::wait", "prim::awaitable"})
UNKNOWN = frozenset({"?"})


class Effects(NamedTuple):
    """What runs of a method, or of a function, need."""

    writes_inputs: bool
    """An in-place operator may reach an input: inputs have to be copied."""
    has_state: bool
    """Runs may change the module: one at a time, and results have to be copied before the next."""
    uses_autograd: bool
    has_side_effects: bool
    """What a run did is seen elsewhere, or may be: a failed one must not be repeated."""
    operators: frozenset[str]


def effects(module: Any) -> Effects:
    """The effects of ``forward``; what cannot be analysed counts as everything, and what is not there as nothing."""
    if not module._c._has_method("forward"):
        return Effects(False, False, False, False, UNKNOWN)
    try:
        return analyse(module)
    except (RuntimeError, AttributeError):
        return Effects(True, True, True, True, UNKNOWN)


def analyse(module: Any) -> Effects:
    graph = module._c._get_method("forward").graph.copy()
    torch._C._jit_pass_inline(graph)
    kinds = {node.kind() for node in nodes(graph)}
    fold_flags(module, graph)
    aliases = graph.alias_db()
    found = list(nodes(graph))
    opaque = any(node.kind() in CALLS for node in found)
    inputs = list(graph.inputs())[1:]
    # The alias analysis assumes that loops are entered: what is carried into one may still be an input after it.
    loops = any(node.kind() == "prim::Loop" for node in found)
    unseen = any(updates_statistics(node) for node in found if node.kind() not in ANALYSED)
    return Effects(
        writes_inputs=unseen or any(map(aliases.has_writers, inputs)) or (loops and any(map(is_write, found))),
        has_state=opaque or unseen or any(changes_state(node, aliases) for node in found),
        uses_autograd=opaque or not kinds.isdisjoint(AUTOGRAD),
        has_side_effects=opaque or any(map(has_side_effect, kinds)),
        operators=operators(graph),
    )


def has_side_effect(kind: str) -> bool:
    """Whether an operator has effects besides its result, or belongs to somebody of whom that is not known."""
    return kind in SIDE_EFFECTS or not kind.startswith(("aten::", "prim::"))


def operators(graph: Any) -> frozenset[str]:
    """The kinds of a graph's nodes, but for numbers that serve for nothing but to view a tensor in another shape."""
    return frozenset(node.kind() for node in nodes(graph) if not is_size_of_view(node))


def is_size_of_view(node: Any) -> bool:
    if node.kind() != "aten::size" or node.output().type().kind() != "IntType":
        return False
    lists = [use.user for use in node.output().uses()]
    return all(
        user.kind() == "prim::ListConstruct" and all(use.user.kind() in VIEWS for use in user.output().uses())
        for user in lists
    )


VIEWS = frozenset({"aten::view", "aten::reshape"})


def nodes(block: Any, *, forks: bool = True) -> Iterator[Any]:
    """All nodes of a graph, those of nested blocks included, and those of forked graphs unless ``forks`` is false."""
    open_blocks = [(block, iter(block.nodes()))]  # a graph lives as long as somebody holds it
    while open_blocks:
        node = next(open_blocks[-1][1], None)
        if node is None:
            open_blocks.pop()
            continue
        yield node
        inner = list(node.blocks())
        if forks and node.hasAttribute("Subgraph"):
            inner.append(node.g("Subgraph"))
        open_blocks += [(each, iter(each.nodes())) for each in reversed(inner)]


def is_write(node: Any) -> bool:
    """Whether the operator may write to an argument."""
    return "!" in node.schema() or updates_statistics(node)


UPDATE_FLAGS = ("training", "use_input_stats", "update")
ANALYSED = frozenset({"aten::batch_norm", "aten::instance_norm"})  # what alias analysis knows such updates of


def updates_statistics(node: Any) -> bool:
    """Whether a normalisation may update running statistics, which hardly any of their schemas mark as written to."""
    if "running_mean" not in node.schema():
        return False
    names = [argument.name for argument in torch._C.parse_schema(node.schema()).arguments]
    given = dict(zip(names, node.inputs(), strict=True))
    flags = [given[name] for name in UPDATE_FLAGS if name in given]
    return not given["running_mean"].node().mustBeNone() and not any(flag.toIValue() is False for flag in flags)


def changes_state(node: Any, aliases: Any) -> bool:
    if node.kind() == "prim::SetAttr":
        return bool(next(node.inputs()).node().kind() != "prim::CreateObject")
    return node.kind() == "prim::GetAttr" and bool(aliases.has_writers(node.output()))


def fold_flags(module: Any, graph: Any) -> None:
    """Replaces flags such as ``training`` by their values, and drops the branches that are thereby never taken."""
    found = list(nodes(graph))
    changed = {node.s("name") for node in found if node.kind() == "prim::SetAttr"}
    owner = next(graph.inputs())
    objects = {owner.debugName(): module._c}
    for node in found:
        if node.kind() != "prim::GetAttr" or next(node.inputs()).debugName() not in objects:
            continue
        name, output = node.s("name"), node.output()
        value = objects[next(node.inputs()).debugName()].getattr(name)
        if isinstance(value, torch._C.ScriptModule):
            objects[output.debugName()] = value
        elif isinstance(value, bool) and name not in changed:
            with graph.insert_point_guard(node):
                output.replaceAllUsesWith(graph.insertConstant(value))
    fold_numbers(graph)


def fold_numbers(graph: Any) -> None:
    """Replaces what follows from constants, and drops the branches that are thereby never taken.

    Numbers and strings only, as the compiler itself does: tensors may be of any size, and are made by runs.
    """
    torch._C._jit_pass_constant_propagation_immutable_types(graph)


def refuse_file_operators(module: Any) -> None:
    """Raises BackendError when ``forward``, or whatever it may call, reads or writes files."""
    if not module._c._has_method("forward"):
        return
    graph = module._c._get_method("forward").inlined_graph
    check_graph(graph)
    if not any(node.kind() in CALLS for node in nodes(graph)):
        return
    # A call by way of an interface: it may be of any module inside.
    for inner in module.modules():
        for name in inner._c._method_names():
            check_graph(inner._c._get_method(name).inlined_graph)


def check_graph(graph: Any) -> None:
    """Raises BackendError for a graph, of a method or a function, that reads or writes files, or calls Python."""
    kinds = {node.kind() for node in nodes(graph)}
    if not kinds.isdisjoint(FILE_OPERATORS):
        raise BackendError(USES_FILES)
    if not kinds.isdisjoint(PYTHON_CALLS):
        raise BackendError(CALLS_PYTHON)
