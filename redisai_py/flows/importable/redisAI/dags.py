"""DAGs. Source of the rules: spec/gears-python-api.md, section 2."""

from __future__ import annotations

import asyncio
from typing import Any

from redisai_py.flows import runs
from redisai_py.flows.errors import GearsError
from redisai_py.flows.rights import current_rights
from redisai_py.worker.core import ffi, lib

from . import checks
from .runners import NO_INPUT, Runner, find, outputs_of
from .tensors import PyTensor


def createDAGRunner(*arguments: Any) -> PyDAGRunner:
    """A DAG without operations."""
    checks.count(arguments, "createDAGRunner", 0)
    return PyDAGRunner(lib.RAI_DAGRunCtxCreate())


def _name_and_tensor(arguments: tuple[Any, ...], text: str) -> tuple[bytes, Any]:
    if len(arguments) != 2:
        raise GearsError(text)
    name, tensor = checks.name_and_tensor(*arguments)
    name = checks.of_type(name, str, "Tensor name argument must be a string")
    tensor = checks.of_type(tensor, PyTensor, NO_INPUT)
    return checks.encode(name), ffi.cast("RAI_Tensor *", tensor.stored.address)


def _names(keywords: dict[str, Any], key: str, what: str) -> list[str]:
    text = f"{what} {key} must be iterable"
    return checks.each_of_type(keywords[key], str, text, f"{key[:-1].capitalize()} name must be a string")


def _find(key: str, kind: int) -> Any:
    try:
        return find(key, kind)
    except LookupError as error:
        raise GearsError(str(error)) from None


class PyDAGRunner(Runner):
    """Operations on tensors with names; each method but Run returns the runner itself."""

    free = lib.RAI_DAGFree

    def Input(self, *arguments: Any) -> PyDAGRunner:
        """(name, tensor) or (tensor, name): a tensor that all operations see; the first of a name counts."""
        context = self.valid()
        lib.RAI_DAGLoadTensor(context, *_name_and_tensor(arguments, "Wrong number of args to DAG load input"))
        return self

    AddInput = Input

    def TensorSet(self, *arguments: Any) -> PyDAGRunner:
        """(name, tensor) or (tensor, name): defines a tensor."""
        context = self.valid()
        lib.RAI_DAGAddTensorSet(context, *_name_and_tensor(arguments, "Wrong number of args to DAG load input"))
        return self

    def TensorGet(self, *arguments: Any) -> PyDAGRunner:
        """(name): the tensor is an output."""
        context = self.valid()
        if len(arguments) != 1:
            raise GearsError("Wrong number of args to TensorSet op")  # that is what RedisGears calls it
        name = checks.of_type(arguments[0], str, "Tensor name argument must be a string")
        lib.RAI_DAGAddTensorGet(context, checks.encode(name))
        return self

    def ModelRun(self, **keywords: Any) -> PyDAGRunner:
        """(name=, inputs=, outputs=): runs the model at the key ``name``."""
        self.valid()
        if "name" not in keywords:
            raise GearsError("Model key name was not given")
        key = checks.of_type(keywords["name"], str, "Model name argument must be a string")
        operation = lib.RAI_DAGCreateModelRunOp(_find(key, lib.RAI_MODEL))
        for end in ("inputs", "outputs"):
            if end not in keywords:
                lib.RAI_DAGRunOpFree(operation)
                raise GearsError(f"Must specify model {end}")
        return self._add(operation, keywords, "Model")

    def ScriptRun(self, **keywords: Any) -> PyDAGRunner:
        """(name=, func=, inputs=, outputs=): runs a function of the script at the key ``name``."""
        self.valid()
        if "name" not in keywords:
            raise GearsError("Script key name was not given")
        key = checks.of_type(keywords["name"], str, "Script name argument must be a string")
        if "func" not in keywords:
            raise GearsError("Function name was not given")
        function = checks.of_type(keywords["func"], str, "Function name argument must be a string")
        script = _find(key, lib.RAI_SCRIPT)
        operation = lib.RAI_DAGCreateScriptRunOp(script, checks.encode(function))
        return self._add(operation, {"inputs": (), "outputs": (), **keywords}, "Script")

    def _add(self, operation: Any, keywords: dict[str, Any], what: str) -> PyDAGRunner:
        """Adds an operation with its names, or frees it and raises."""
        error = runs.Error()
        try:
            for name in _names(keywords, "inputs", what):
                lib.RAI_DAGRunOpAddInput(operation, checks.encode(name))
            for name in _names(keywords, "outputs", what):
                lib.RAI_DAGRunOpAddOutput(operation, checks.encode(name))
            lib.RAI_DAGAddRunOp(self.context, operation, error.error)
            error.raise_if_set(GearsError)
        except BaseException:
            lib.RAI_DAGRunOpFree(operation)
            raise
        return self

    def OpsFromString(self, *arguments: Any) -> PyDAGRunner:
        """(text): operations as AI.DAGEXECUTE has them, each behind ``|>``."""
        context = self.valid()
        if len(arguments) != 1:
            raise GearsError("Wrong number of args")
        text = checks.of_type(arguments[0], str, "ops argument must be a string")
        error = runs.Error()
        lib.rai_flow_add_operations(context, checks.encode(text), current_rights().call, error.error)
        error.raise_if_set(GearsError)
        return self

    def Run(self) -> asyncio.Future[list[Any]]:
        """An awaitable of the outputs, in the order of TensorGet; what makes no sense as a DAG is raised at once."""
        self.valid()
        number, future = runs.expect(_finish)
        error = runs.Error()
        rights = current_rights()
        lib.rai_call_act_as(rights.call)
        failed = lib.RAI_DAGRun(self.context, lib.rai_flow_run_finished, ffi.cast("void *", number), error.error)
        lib.rai_call_act_as(ffi.NULL)
        if failed:
            runs.forget(number)
            self.context = None
            raise GearsError(error.text)
        self.take()
        return future


def _finish(finished: Any) -> list[Any]:
    context = ffi.gc(ffi.cast("RAI_DAGRunCtx *", finished), lib.RAI_DAGFree)
    if lib.RAI_DAGRunError(finished):
        text = lib.RAI_GetErrorOneLine(ffi.cast("RAI_Error *", lib.RAI_DAGGetError(finished)))
        raise Exception(ffi.string(text).decode(errors="replace"))
    count = lib.RAI_DAGNumOutputs(finished)
    outputs = outputs_of(runs.tensors_of(count, lambda i: lib.RAI_DAGOutputTensor(finished, i)))
    del context
    return outputs
