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


def may_be_native(found: Effects, device: torch.device) -> bool:
    """Whether a program does the same as PyTorch's package, and may be declined after any part of it."""
    return device.type == "cpu" and not any(
        (found.writes_inputs, found.has_state, found.uses_autograd, found.has_side_effects)
    )


def runner_of_method(interpreter: Any, module: Any, counts: tuple[int, int], found: Effects) -> Any:
    """The runner of a module's ``forward``, which takes and gives so many tensors."""
    program = interpreter.Program.of_method(module._c, "forward")
    return programs.Runner(program, *counts, is_predictable(found.operators))


def runner_of_function(interpreter: Any, compiled: Any, is_entry_point: bool, found: Effects) -> Any:
    """The runner of a script's function; None if it has other parameters or results than tensors."""
    schema = compiled.schema
    kinds = [argument.type.kind() for argument in schema.arguments]
    if not is_entry_point and any(kind != "TensorType" for kind in kinds):
        return None
    result = schema.returns[0].type
    outputs = {"TensorType": 1, "TupleType": -1, "ListType": -1}.get(result.kind())
    if outputs is None:
        return None
    program = interpreter.Program.of_function(compiled, is_entry_point)
    inputs = -1 if is_entry_point else len(kinds)
    return programs.Runner(program, inputs, outputs, is_predictable(found.operators), compiled.name)
