"""Scripts: TorchScript functions compiled from source. Source of the rules: spec/scripts.md."""

from __future__ import annotations

import builtins
import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any

import torch

from redisai_py.backend import BackendError, Call, Outputs, Redis, Reply, Run, ScriptSource
from redisai_py.worker import runs

from .each import each_of_function
from .graph import (
    AUTOGRAD,
    Effects,
    check_graph,
    fold_numbers,
    has_side_effect,
    nodes,
    operators,
    updates_statistics,
)
from .native import may_be_native, runner_of_function
from .nesting import refuse_deep_calls
from .tensors import to_array, to_arrays, to_clone, to_torch
from .threads import Thread, thread_of
from .unchecked import make_safe

# ---- redis and redisAI in scripts ---------------------------------------------------
#
# The operators come in two layers. torch.library registers operators that are written
# in Python, but their values pass through Python strings, so they cannot carry bytes
# that are not UTF-8, and what Python returns as Any must have elements of one type.
# The functions that scripts see are therefore TorchScript themselves: they send such
# strings as numbers, get flat lists back, and build the reply from those.


def is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


NIL, STRING, INTEGER, ARRAY, ERROR = range(5)

FUNCTIONS = """
def execute(command: str, arguments: List[str]) -> Any:
    words = [command]
    words.extend(arguments)
    plain = True
    for word in words:
        plain = plain and word.isprintable()
    if plain:
        kinds, numbers, strings = operators.execute(words)
    else:
        raw: List[List[int]] = []
        for word in words:
            raw.append([ord(character) for character in word])
        kinds, numbers, strings = operators.execute_raw(raw)
    values: List[Any] = []
    for kind, number in zip(kinds, numbers):
        if kind == 0:
            values.append(None)
        elif kind == 1:
            values.append(strings[number])
        elif kind == 2:
            values.append(number)
        elif kind == 3:
            start = len(values) - number
            items = values[start:]
            values = values[:start]
            values.append(items)
        else:
            raise RuntimeError(strings[number])
    return values[0]

def asList(value: Any) -> List[Any]:
    assert isinstance(value, List[Any]), "the value is not a list"
    return value

def model_execute(key: str, inputs: List[Tensor], count: int) -> List[Tensor]:
    outputs, error = operators.model_execute([ord(character) for character in key], inputs, count)
    if len(error) > 0:
        raise RuntimeError(error)
    return outputs
"""

SCHEMAS = (
    "execute(str[] words) -> (int[], int[], str[])",
    "execute_raw(int[][] words) -> (int[], int[], str[])",
    "model_execute(int[] key, Tensor[] inputs, int count) -> (Tensor[], str)",
)


EXCEPTIONS = {name: value for name, value in vars(builtins).items() if is_exception(value)}


class Caller(threading.local):
    """Whose call this thread is in."""

    call: Call | None = None
    run: Run
    device: torch.device | None = None  # of the script; None: the CPU


class Environment:
    """The global names of scripts; one for the process."""

    def __init__(self, redis: Redis) -> None:
        self.caller = Caller()
        self._redis = redis
        self._library = torch.library.Library("redisai_py", "DEF")
        for schema in SCHEMAS:
            name = schema.partition("(")[0]
            self._library.define(schema)
            self._library.impl(name, getattr(self, "_" + name), "CompositeExplicitAutograd")
        unit = torch._C.CompilationUnit()
        unit.define(FUNCTIONS, {"operators": torch.ops.redisai_py, **EXCEPTIONS}.get)
        redis_names, redisai_names = ModuleType("redis"), ModuleType("redisAI")
        redis_names.execute = unit.find_function("execute")  # type: ignore[attr-defined]
        redis_names.asList = unit.find_function("asList")  # type: ignore[attr-defined]
        redisai_names.model_execute = unit.find_function("model_execute")  # type: ignore[attr-defined]
        self._names = {"torch": Aten("torch"), "redis": redis_names, "redisai": redisai_names}
        self._unit = unit

    def find(self, name: str) -> Any:
        """What a global name of a script stands for; None: nothing."""
        return self._names.get(name.lower()) or EXCEPTIONS.get(name)

    def _execute(self, words: list[str]) -> tuple[list[int], list[int], list[bytes]]:
        return self._call([word.encode() for word in words])

    def _execute_raw(self, words: list[list[int]]) -> tuple[list[int], list[int], list[bytes]]:
        return self._call([bytes(word) for word in words])

    def _call(self, words: list[bytes]) -> tuple[list[int], list[int], list[bytes]]:
        flat = Flat()
        try:
            flat.add(self._redis.execute(self._current(), words))
        except BackendError as error:
            flat.add_error(error)
        return flat.kinds, flat.numbers, flat.strings

    def _model_execute(
        self, key: list[int], inputs: list[torch.Tensor], count: int
    ) -> tuple[list[torch.Tensor], bytes]:
        call, run = self._current(), self.caller.run
        try:
            arrays = [to_array(tensor.contiguous()) for tensor in inputs]
            outputs = self._redis.run_model(call, bytes(key), arrays, count, run)
            return [to_torch(output).to(self.caller.device, copy=True) for output in outputs], b""
        except Exception as error:
            return [], (str(error) or type(error).__name__).encode()

    def _current(self) -> Call:
        call = self.caller.call
        if call is None:
            raise BackendError("ERR redis and redisAI cannot be used in a forked task of a script")
        return call


class Aten(ModuleType):
    """``torch`` in scripts: PyTorch's functions and constants, and all operators by their bare names."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(torch, name, None)
        return found if found is not None else getattr(torch.ops.aten, name)


class Flat:
    """A reply as three flat lists: what each value is, a number for each, and the strings. Elements precede arrays."""

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.numbers: list[int] = []
        self.strings: list[bytes] = []

    def add(self, reply: Reply) -> None:
        if reply is None:
            self._append(NIL, 0)
        elif isinstance(reply, int):
            self._append(INTEGER, reply)
        elif isinstance(reply, bytes):
            self._append_string(STRING, reply)
        else:
            for element in reply:
                self.add(element)
            self._append(ARRAY, len(reply))

    def add_error(self, error: Exception) -> None:
        self._append_string(ERROR, str(error).encode(errors="replace"))

    def _append_string(self, kind: int, string: bytes) -> None:
        self._append(kind, len(self.strings))
        self.strings.append(string)

    def _append(self, kind: int, number: int) -> None:
        self.kinds.append(kind)
        self.numbers.append(number)


# ---- compiling ------------------------------------------------------------------------


WRITES_TENSOR = re.compile(r"Tensor(\[\])?\(\w+!")


class Function:
    """A function of a script, and how calls are mapped to its parameters.

    An entry point takes the tensors, the keys and the arguments; any other function
    takes tensors and lists of tensors, as far as they go.
    """

    def __init__(self, compiled: Any, is_entry_point: bool) -> None:
        check_graph(compiled.inlined_graph)
        make_safe(compiled)
        self.name = compiled.name
        self.compiled = compiled
        self.effects = effects_of_function(compiled)
        self.each = None if self.effects.has_side_effects or is_entry_point else each_of_function(compiled)
        self.is_entry_point = is_entry_point
        self._parameters = [str(argument.type) for argument in compiled.schema.arguments]
        self._takes_tensors = all(kind == "Tensor" for kind in self._parameters)

    def arguments(self, call: Call, inputs: list[torch.Tensor]) -> list[Any]:
        """The arguments for a call; raises BackendError."""
        if self.is_entry_point:
            return [inputs, call.keys, call.args]
        lists = call.lists
        singles = len(inputs) - sum(lists)
        if len(self._parameters) > singles + (len(lists) if lists else 0):
            raise BackendError(f"Wrong number of inputs provided to function: {self.name}")
        if self._takes_tensors:
            return inputs[: len(self._parameters)]
        return self._best_effort(inputs, singles, lists)

    def takes_together(self, calls: list[Call]) -> bool:
        """Whether ``each`` can do all these calls."""
        each = self.each
        return (
            each is not None
            and len(calls) > 1
            and all(
                call.function == self.name
                and call.output_count == each.output_count
                and len(call.inputs) >= each.input_count
                and not call.lists
                for call in calls
            )
        )

    def _best_effort(self, inputs: list[torch.Tensor], singles: int, lists: list[int]) -> list[Any]:
        """One tensor for each Tensor; for List[Tensor] the next of LIST_INPUTS or, without that, all the rest.

        What is left without an argument is TorchScript's to complain about.
        """
        single = iter(inputs[:singles])
        listed = iter(inputs[singles:])
        lengths = iter(lists)
        arguments: list[Any] = []
        for kind in self._parameters:
            if kind == "Tensor":
                arguments += islice(single, 1)
            elif kind != "List[Tensor]":
                raise BackendError(f"Unsupported input type in function definition: {self.name}")
            elif lists:
                arguments.append(list(islice(listed, next(lengths, 0))))
            else:
                arguments.append(list(single))
                break
        return arguments


def effects_of_function(compiled: Any) -> Effects:
    """What the calls of a function need; a write to any tensor counts as one to an input."""
    found = list(nodes(compiled.inlined_graph))
    graph = compiled.inlined_graph.copy()
    fold_numbers(graph)
    return Effects(
        writes_inputs=any(WRITES_TENSOR.search(node.schema()) or updates_statistics(node) for node in found),
        has_state=False,
        uses_autograd=any(node.kind() in AUTOGRAD for node in found),
        has_side_effects=any(has_side_effect(node.kind()) for node in found),
        operators=operators(graph),
    )


SIGNATURE = ["List[Tensor]", "List[str]", "List[str]"]


def compile_script(source: ScriptSource, environment: Environment) -> dict[str, Function]:
    """The functions of a script by name; raises BackendError, or the compiler's error."""
    refuse_deep_calls(source.text)
    unit = torch._C.CompilationUnit()
    unit.define(source.text + "\n", environment.find)  # the compiler wants the last line to have an end, too
    compiled = {function.name: function for function in unit.get_functions()}
    for name in source.entry_points:
        check_entry_point(name, compiled.get(name))
    return {name: Function(function, name in source.entry_points) for name, function in compiled.items()}


def check_entry_point(name: str, function: Any) -> None:
    """Raises BackendError unless the function has an entry point's signature."""
    if function is None:
        raise BackendError(f"Function {name} does not exist in the given script.")
    types = [str(argument.type) for argument in function.schema.arguments]
    if len(types) != len(SIGNATURE):
        raise BackendError(f"Wrong number of inputs in function {name}. Expected 3 but was {len(types)}")
    if types != SIGNATURE:
        raise BackendError(
            f"Wrong inputs type in function {name}. Expected signature similar to: "
            f"def {name}(tensors: List[Tensor], keys: List[str], args: List[str])"
        )


# ---- running --------------------------------------------------------------------------


class ScriptSession:
    """A compiled script. A run cannot be ended: TorchScript has no means for it."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __init__(
        self, source: ScriptSource, device: torch.device, environment: Environment, intra_op: int, interpreter: Any
    ) -> None:
        """``interpreter`` is the compiled one, or None."""
        self.functions = compile_script(source, environment)
        self._runners: dict[str, Any] = {}
        for name, function in self.functions.items():
            if interpreter is not None and may_be_native(function.effects):
                self._runners[name] = runner_of_function(
                    interpreter, function.compiled, function.is_entry_point, device, function.effects
                )
        self._device = None if device.type == "cpu" else device
        self._caller = environment.caller
        self._intra_op = intra_op

    def execute(self, requests: list[Call], run: Run) -> list[Outputs | Exception]:
        thread = thread_of(run, self._intra_op)
        if self._device is None:
            return self._execute(requests, run, thread)
        # Forked tasks do not take over their caller's stream.
        called = {self.functions.get(call.function) for call in requests}
        own_stream = not any(function and function.effects.has_side_effects for function in called)
        return thread.run_on(self._device, own_stream, partial(self._execute, requests, run, thread))

    def _execute(self, requests: list[Call], run: Run, thread: Thread) -> list[Outputs | Exception]:
        function = self.functions.get(requests[0].function)
        if function is not None and function.takes_together(requests):
            try:
                return self._run_together(function, requests, thread)
            except Exception:
                pass  # it is the error of one of them: each by itself, then
        caller = self._caller
        caller.run, caller.device = run, self._device
        results: list[Outputs | Exception] = []
        for call in requests:
            caller.call = call
            try:
                results.append(self._run(call, thread))
            except Exception as error:
                results.append(error)
        caller.call = None
        return results

    def natively(self, function: str) -> Any:
        """``execute_natively`` for requests of this function; None: it has to be run by ``execute``."""
        runner = self._runners.get(function)
        return None if runner is None else partial(self._execute_natively, runner)

    def _execute_natively(self, runner: Any, requests: list[Any], merged: bool, run: Run) -> bool:
        thread = thread_of(run, self._intra_op)
        work = partial(runs.run_requests, requests, merged, runner.address, 0)
        done: bool = work() if self._device is None else thread.run_on(self._device, True, work)
        return done

    def close(self) -> None:
        pass

    def _run(self, call: Call, thread: Thread) -> Outputs:
        function = self.functions.get(call.function)
        if function is None:
            raise BackendError(f"Function does not exist: {call.function}")
        to_input = self._to_input(function)
        arguments = function.arguments(call, list(map(to_input, call.inputs)))
        with self._mode(function, thread):
            result = function.compiled(*arguments)
        return to_arrays(result, call.function, call.output_count) if call.output_count > 0 else []

    def _run_together(self, function: Function, calls: list[Call], thread: Thread) -> list[Any]:
        """The results of all calls, or the error of any of them."""
        assert function.each is not None
        inputs = [call.inputs[: function.each.input_count] for call in calls]
        with self._mode(function, thread):
            return function.each.run(inputs, self._to_input(function))

    def _mode(self, function: Function, thread: Thread) -> Any:
        return NOTHING if function.effects.uses_autograd else thread.inference_mode

    def _to_input(self, function: Function) -> Callable[[Any], torch.Tensor]:
        if self._device is not None:
            return self._to_device
        return to_clone if function.effects.writes_inputs else to_torch

    def _to_device(self, tensor: Any) -> torch.Tensor:
        return to_torch(tensor).to(self._device)


NOTHING = nullcontext()
