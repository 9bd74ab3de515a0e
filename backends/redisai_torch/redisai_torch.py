"""The TORCH backend: TorchScript on PyTorch. Source of the rules: spec/backends.md, sections 3 and 6."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import torch

from redisai_py.backend import (
    BackendError,
    Options,
    Outputs,
    Redis,
    Run,
    ScriptSource,
    Source,
    no_such_gpu,
    parse_device,
)
from redisai_py.cores import CORES, HEAVY
from redisai_py.worker import programs, runs

from . import archive, native
from .each import each_of_module
from .graph import Effects, effects, refuse_file_operators
from .scripts import Environment, ScriptSession
from .tensors import to_arrays, to_clone, to_torch
from .threads import REST, TRIES, Pool, Thread, thread_of
from .unchecked import make_module_safe

FIRST_RUNS = 3  # in which PyTorch profiles and optimises a model

T = TypeVar("T")


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = torch.__version__
        self.options = options
        self.pool = Pool()
        self.interpreter = find_interpreter(options)
        self._environment: Environment | None = None  # of scripts
        torch.set_num_threads(options.intra_op_parallelism or 1)  # loading is no reason for a pool either
        torch.sparse.check_sparse_tensor_invariants.enable()  # kernels trust the indices of sparse tensors

    def load(self, source: Source) -> Session:
        device = find_device(source.device)
        archive.check(source.blob)
        self.set_inter_op_threads()
        with torch.inference_mode():  # its parameters are then spared the bookkeeping for gradients, in every run
            module = load_module(source.blob, device)
            found = effects(module)
        if found.uses_autograd:
            module = load_module(source.blob, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # runs are in other streams
        if self.interpreter is not None and native.may_be_native(found):
            runner = native.runner_of_method(self.interpreter, module, device, found)
            if runner is not None:
                return NativeSession(self, module, device, found, runner)
        return Session(self, module, device, found)

    def load_script(self, source: ScriptSource, redis: Redis) -> ScriptSession:
        device = find_device(source.device)
        if self._environment is None:
            self._environment = Environment(redis)
        return ScriptSession(source, device, self._environment, self.options.intra_op_parallelism, self.interpreter)

    def set_inter_op_threads(self) -> None:
        """Applies INTER_OP_PARALLELISM, which PyTorch has once for the process, and takes only before it is used."""
        wanted = self.options.inter_op_parallelism
        if wanted in (0, torch.get_num_interop_threads()):
            return
        try:
            torch.set_num_interop_threads(wanted)
        except RuntimeError:
            raise BackendError("Cannot set number of inter-op threads after parallel work has started") from None


def find_interpreter(options: Options) -> Any:
    """The compiled interpreter, or None."""
    try:
        interpreter = native.load_interpreter()
        why = f"nothing was compiled for PyTorch {torch.__version__} (python -m redisai_py compile)"
    except (ImportError, OSError) as error:
        interpreter, why = None, str(error)
    if interpreter is None:
        options.log("notice", f"TorchScript runs through PyTorch's Python package: {why}")
    return interpreter


def load_module(blob: bytes, device: torch.device) -> Any:
    module = torch.jit.load(io.BytesIO(blob), map_location=device)
    refuse_file_operators(module)
    make_module_safe(module)
    return module


def find_device(typed: str) -> torch.device:
    """The PyTorch device for a device as typed; raises BackendError."""
    kind, index = parse_device(typed)
    if kind == "CPU":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendError("GPU requested but Torch couldn't find CUDA")
    if index is not None and index >= torch.cuda.device_count():
        raise no_such_gpu(typed, "PyTorch", torch.cuda.device_count())
    return torch.device("cuda", index or 0)


class Session:
    """A loaded model. A run cannot be ended: TorchScript has no means for it."""

    def __init__(self, backend: Backend, module: Any, device: torch.device, found: Effects) -> None:
        self.inputs, self.outputs = signature(module)
        self.memory = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        self._output_count = len(self.outputs)
        self._forward = module.forward
        self._pool = backend.pool
        self._intra_op = backend.options.intra_op_parallelism
        self._may_be_wide = self._intra_op == 0 and CORES > 1 and device.type == "cpu"
        self._seconds = 0.0  # of a run on one thread
        self._narrow_runs_to_go = 1
        self._slower_runs = 0
        self._inference = not found.uses_autograd
        self._lock = Lock() if found.has_state else None
        self._each = None if found.has_state else each_of_module(module)
        self._to_input: Any = to_torch
        self._gpu = None if device.type == "cpu" else device
        # Forked tasks do not take over their caller's stream.
        self._own_stream = not (found.has_state or found.has_side_effects)
        self._first_runs = FIRST_RUNS
        self._first_lock = Lock()
        if self._gpu is not None:
            self._to_input = self._to_device
        elif found.writes_inputs:
            self._to_input = to_clone

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        thread = thread_of(run, self._intra_op)
        wide = self._goes_wide(run, thread)
        work = self._work(thread, self._execute, requests, thread.inference_mode)
        started = monotonic()
        results = self._pool.run(work, run.core) if wide else work()
        self._learn((monotonic() - started) / len(requests), wide)
        return results

    def _work(self, thread: Thread, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """The call of a function, on the session's device."""
        call = partial(function, *arguments)
        if self._gpu is None:
            return call
        call = partial(thread.run_on, self._gpu, self._own_stream, call)
        return partial(self._one_by_one, call) if self._first_runs > 0 else call

    def _one_by_one(self, call: Callable[[], T]) -> T:
        """The result of a call that PyTorch may compute constants in."""
        with self._first_lock:
            result = call()
            self._first_runs -= 1
        return result

    def _goes_wide(self, run: Run, thread: Thread) -> bool:
        wide = run.alone and self._may_be_wide and self._seconds > HEAVY and self._narrow_runs_to_go <= 0
        run.wide = run.prefer = wide and self._pool.belongs_to(thread)
        if run.away:
            thread.pool.arrange(run.core)
        return run.wide

    def _learn(self, seconds: float, wide: bool) -> None:
        """Decides by its run time whether a model is worth several threads, and whether it gains by them."""
        if not wide:
            self._seconds = seconds
            self._narrow_runs_to_go -= 1
            return
        # When something else keeps the cores busy, the parts of a run wait for each other.
        self._slower_runs = self._slower_runs + 1 if seconds > self._seconds else 0
        if self._slower_runs == TRIES:
            self._slower_runs = 0
            self._narrow_runs_to_go = REST
        elif seconds * CORES < HEAVY:
            self._seconds = seconds * CORES

    def close(self) -> None:
        pass

    def _execute(self, requests: list[list[Any]], inference_mode: Any) -> list[Outputs | Exception]:
        with inference_mode if self._inference else NOTHING:
            if self._each is not None and len(requests) > 1:
                try:
                    return self._each.run(requests, self._to_input)
                except Exception:
                    pass  # it is the error of one of them: each by itself, then
            if self._lock is None:
                return [self._run(tensors) for tensors in requests]
            with self._lock:
                return [self._kept(self._run(tensors)) for tensors in requests]

    def _run(self, tensors: list[Any]) -> Outputs | Exception:
        try:
            return to_arrays(self._forward(*map(self._to_input, tensors)), "forward", self._output_count)
        except Exception as error:
            return error

    def _kept(self, result: Outputs | Exception) -> Outputs | Exception:
        """A result that no later run can change."""
        if self._gpu is not None:
            torch.cuda.current_stream(self._gpu).synchronize()
        return result if isinstance(result, Exception) else [array.copy() for array in result]

    def _to_device(self, tensor: Any) -> torch.Tensor:
        return to_torch(tensor).to(self._gpu)


class NativeSession(Session):
    """A model that runs without Python, too; what its program declines, the package does."""

    def __init__(
        self, backend: Backend, module: Any, device: torch.device, found: Effects, runner: programs.Runner
    ) -> None:
        super().__init__(backend, module, device, found)
        self._runner = runner

    def execute_natively(self, requests: list[Any], merged: bool, run: Run) -> bool:
        thread = thread_of(run, self._intra_op)
        wide = self._goes_wide(run, thread)
        work = self._work(thread, runs.run_requests, requests, merged, self._runner.address, 0)
        started = monotonic()
        done: bool = self._pool.run(work, run.core) if wide else work()
        if done:
            self._learn((monotonic() - started) / (1 if merged else len(requests)), wide)
        return done


NOTHING = nullcontext()


def signature(module: Any) -> tuple[list[str], list[str]]:
    """The names of forward's parameters, and one empty name for each of its results; raises BackendError."""
    if not module._c._has_method("forward"):
        raise BackendError("Erorr while trying to retrive model inputs number: std::exception")
    schema = module._c._get_method("forward").schema
    count = 0
    for result in schema.returns:
        kind = result.type.kind()
        if kind == "ListType":
            raise BackendError("Erorr while trying to retrive model outputs number: std::exception")
        types = result.type.elements() if kind == "TupleType" else [result.type]
        count += sum(element.kind() == "TensorType" for element in types)
    return [argument.name for argument in schema.arguments[1:]], [""] * count
