"""Runs of models and of scripts' functions. Source of the rules: spec/gears-python-api.md, sections 1 and 3."""

from __future__ import annotations

import asyncio
from typing import Any

from redisai_py.flows import runs
from redisai_py.flows.errors import GearsError
from redisai_py.flows.rights import current_rights
from redisai_py.worker.core import ffi, lib, text

from . import checks
from .tensors import PyTensor

NO_INPUT = "Given argument is not of type PyTensorType"


def find(key: str, kind: int) -> Any:
    """The model or script at a key, with a reference that goes with the result; raises the reason as LookupError."""
    error = ffi.new("char const **")
    encoded = checks.encode(key)
    rights = current_rights()
    model = lib.rai_call_find_model(rights.call, kind, encoded, len(encoded), error)
    if model == ffi.NULL:
        raise LookupError(text(error[0]))
    return ffi.gc(model, lib.rai_model_release)


def find_for_runner(key: Any, kind: int, what: str) -> Any:
    key = checks.of_type(key, str, "key argument must be a string")
    try:
        return find(key, kind)
    except LookupError as error:
        refused = str(error).startswith("NOPERM")
        raise GearsError(str(error) if refused else f"given key do not contain RedisAI {what}") from None


def outputs_of(tensors: list[Any]) -> list[Any]:
    return [None if tensor is None else PyTensor(tensor) for tensor in tensors]


class Runner:
    """A context of a run; running it uses it up."""

    free: Any

    def __init__(self, context: Any) -> None:
        self.context = ffi.gc(context, self.free)

    def valid(self) -> Any:
        if self.context is None:
            raise GearsError(f"{type(self).__name__} is invalid")
        return self.context

    def take(self) -> Any:
        """The context, which is nobody's from here on."""
        context, self.context = self.valid(), None
        ffi.gc(context, None)
        return context

    def __str__(self) -> str:
        return f"{type(self).__name__} to str"


class PyGraphRunner(Runner):
    """A run of a model."""

    free = lib.RAI_ModelRunCtxFree


class PyTorchScriptRunner(Runner):
    """A run of a script's function."""

    free = lib.RAI_ScriptRunCtxFree


def _runner(value: Any, kind: type[Any]) -> Any:
    return checks.of_type(value, kind, f"Given argument is not of type {kind.__name__}").valid()


def _pointer(tensor: PyTensor) -> Any:
    return ffi.cast("RAI_Tensor *", tensor.stored.address)


# ---- models ------------------------------------------------------------------------------


def createModelRunner(*arguments: Any) -> PyGraphRunner:
    """(key): a run of the model there."""
    checks.count(arguments, "createModelRunner", 1)
    return PyGraphRunner(lib.RAI_ModelRunCtxCreate(find_for_runner(arguments[0], lib.RAI_MODEL, "model")))


def modelRunnerAddInput(*arguments: Any) -> int:
    """(runner, name, tensor) or (runner, tensor, name): the next input; the name does not matter."""
    checks.count(arguments, "modelRunnerAddInput", 3)
    context = _runner(arguments[0], PyGraphRunner)
    name, tensor = checks.name_and_tensor(*arguments[1:])
    name = checks.of_type(name, str, "input name argument must be a string")
    tensor = checks.of_type(tensor, PyTensor, NO_INPUT)
    return int(lib.RAI_ModelRunCtxAddInput(context, checks.encode(name), _pointer(tensor)))


def modelRunnerAddOutput(*arguments: Any) -> int:
    """(runner, name): asks for the next output."""
    checks.count(arguments, "modelRunnerAddOutput", 2)
    context = _runner(arguments[0], PyGraphRunner)
    name = checks.of_type(arguments[1], str, "output name argument must be a string")
    return int(lib.RAI_ModelRunCtxAddOutput(context, checks.encode(name)))


def _model_outputs(context: Any) -> list[Any]:
    count = lib.RAI_ModelRunCtxNumOutputs(context)
    return outputs_of(runs.tensors_of(count, lambda i: lib.RAI_ModelRunCtxOutputTensor(context, i)))


def modelRunnerRun(*arguments: Any) -> list[Any]:
    """(runner): runs it, and waits on this thread. Not for ONNX."""
    checks.count(arguments, "modelRunnerRun", 1)
    _runner(arguments[0], PyGraphRunner)
    context = ffi.gc(arguments[0].take(), lib.RAI_ModelRunCtxFree)
    error = runs.Error()
    lib.RAI_ModelRun(ffi.new("RAI_ModelRunCtx *[]", [context]), 1, error.error)
    error.raise_if_set(GearsError)
    return _model_outputs(context)


def _finish_model(finished: Any) -> list[Any]:
    error = runs.Error()
    context = ffi.gc(lib.RAI_GetAsModelRunCtx(finished, error.error), lib.RAI_ModelRunCtxFree)
    error.raise_if_set(Exception)
    return _model_outputs(context)


def modelRunnerRunAsync(*arguments: Any) -> asyncio.Future[list[Any]]:
    """(runner): an awaitable of its outputs; requests of clients may be batched with it."""
    checks.count(arguments, "modelRunnerRunAsync", 1)
    _runner(arguments[0], PyGraphRunner)
    return runs.start_model(arguments[0].take(), _finish_model)


# ---- scripts -----------------------------------------------------------------------------


def createScriptRunner(*arguments: Any) -> PyTorchScriptRunner:
    """(key, function): a run of a function of the script there."""
    checks.count(arguments, "createScriptRunner", 2)
    checks.of_type(arguments[0], str, "key argument must be a string")
    function = checks.of_type(arguments[1], str, "function name argument must be a string")
    script = find_for_runner(arguments[0], lib.RAI_SCRIPT, "script")
    return PyTorchScriptRunner(lib.RAI_ScriptRunCtxCreate(script, checks.encode(function)))


def scriptRunnerAddInput(*arguments: Any) -> None:
    """(runner, tensor) or (runner, tensor, name): the next input."""
    checks.count(arguments, "scriptRunnerAddInput", 2, 3)
    context = _runner(arguments[0], PyTorchScriptRunner)
    tensor = checks.of_type(arguments[1], PyTensor, NO_INPUT)
    lib.RAI_ScriptRunCtxAddTensorInput(context, _pointer(tensor))


def scriptRunnerAddInputList(*arguments: Any) -> None:
    """(runner, tensors): the next inputs."""
    checks.count(arguments, "scriptRunnerAddInput", 2)  # that is what RedisGears calls it
    context = _runner(arguments[0], PyTorchScriptRunner)
    tensors = checks.each_of_type(arguments[1], PyTensor, "Tensors argument must be iterable", NO_INPUT)
    for tensor in tensors:
        lib.RAI_ScriptRunCtxAddTensorInput(context, _pointer(tensor))


def scriptRunnerAddOutput(*arguments: Any) -> int:
    """(runner) or (runner, name): asks for the next output."""
    checks.count(arguments, "scriptRunnerAddOutput", 1, 2)
    return int(lib.RAI_ScriptRunCtxAddOutput(_runner(arguments[0], PyTorchScriptRunner)))


def _script_outputs(context: Any) -> list[Any]:
    count = lib.RAI_ScriptRunCtxNumOutputs(context)
    return outputs_of(runs.tensors_of(count, lambda i: lib.RAI_ScriptRunCtxOutputTensor(context, i)))


def scriptRunnerRun(*arguments: Any) -> list[Any]:
    """(runner): runs it, and waits on this thread."""
    checks.count(arguments, "scriptRunnerRun", 1)
    _runner(arguments[0], PyTorchScriptRunner)
    context = ffi.gc(arguments[0].take(), lib.RAI_ScriptRunCtxFree)
    error = runs.Error()
    rights = current_rights()
    lib.rai_call_act_as(rights.call)
    lib.RAI_ScriptRun(context, error.error)
    lib.rai_call_act_as(ffi.NULL)
    error.raise_if_set(GearsError)
    return _script_outputs(context)


def _finish_script(finished: Any) -> list[Any]:
    error = runs.Error()
    context = ffi.gc(lib.RAI_GetAsScriptRunCtx(finished, error.error), lib.RAI_ScriptRunCtxFree)
    error.raise_if_set(Exception)
    return _script_outputs(context)


def scriptRunnerRunAsync(*arguments: Any) -> asyncio.Future[list[Any]]:
    """(runner): an awaitable of its outputs. Commands of the script have the rights of the flow's caller."""
    checks.count(arguments, "scriptRunnerRunAsync", 1)
    _runner(arguments[0], PyTorchScriptRunner)
    number, future = runs.expect(_finish_script)
    rights = current_rights()
    lib.rai_call_act_as(rights.call)
    lib.RAI_ScriptRunAsync(arguments[0].take(), lib.rai_flow_run_finished, ffi.cast("void *", number))
    lib.rai_call_act_as(ffi.NULL)
    return future
