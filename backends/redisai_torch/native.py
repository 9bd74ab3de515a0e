"""Programs, which run TorchScript without Python, where the interpreter is compiled for the installed PyTorch."""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import torch

from redisai_py import extension
from redisai_py.worker import programs

from .graph import Effects
from .predictable import is_predictable


def load_interpreter() -> Any:
    """The compiled module (interpreter.cpp); None if it was not compiled. Raises ImportError if it is broken."""
    path = extension.library_path(torch.__version__, Path(__file__).parent)
    if not path.exists():
        return None
    loader = ExtensionFileLoader("interpreter", str(path))
    spec = spec_from_loader("interpreter", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def may_be_native(found: Effects) -> bool:
    """Whether a program does the same as PyTorch's package, and may be declined after any part of it."""
    return not any((found.writes_inputs, found.has_state, found.uses_autograd, found.has_side_effects))


def may_be_at_once(found: Effects, device: torch.device) -> bool:
    """Whether Redis' event loop may run it, once its runs have shown to be short; it never waits for a GPU."""
    return device.type == "cpu" and is_predictable(found.operators)


def tensors_in(parameters: list[Any]) -> int | None:
    """How many tensors a function takes; None if it has other parameters, which would have to be checked."""
    return len(parameters) if all(p.type.kind() == "TensorType" for p in parameters) else None


def tensors_out(schema: Any) -> int | None:
    """How many tensors a function gives, -1 for a list; None if its result is anything else."""
    result = schema.returns[0].type
    if result.kind() == "TensorType":
        return 1
    if result.kind() == "ListType" and result.getElementType().kind() == "TensorType":
        return -1
    if result.kind() == "TupleType" and all(element.kind() == "TensorType" for element in result.elements()):
        return len(result.elements())
    return None


def runner_of_method(interpreter: Any, module: Any, device: torch.device, found: Effects) -> Any:
    """The runner of a module's ``forward``; None if it has other parameters or results than tensors."""
    if not module._c._has_method("forward"):
        return None
    schema = module._c._get_method("forward").schema
    inputs, outputs = tensors_in(schema.arguments[1:]), tensors_out(schema)
    if inputs is None or outputs is None:
        return None
    program = interpreter.Program.of_method(module._c, "forward", str(device))
    return programs.Runner(program, inputs, outputs, may_be_at_once(found, device))


def runner_of_function(
    interpreter: Any, compiled: Any, is_entry_point: bool, device: torch.device, found: Effects
) -> Any:
    """The runner of a script's function; None if it has other parameters or results than tensors."""
    schema = compiled.schema
    inputs = -1 if is_entry_point else tensors_in(schema.arguments)
    outputs = tensors_out(schema)
    if inputs is None or outputs is None:
        return None
    program = interpreter.Program.of_function(compiled, is_entry_point, str(device))
    return programs.Runner(program, inputs, outputs, may_be_at_once(found, device), compiled.name)
