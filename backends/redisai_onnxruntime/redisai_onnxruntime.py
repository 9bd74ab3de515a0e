"""The ONNX backend: onnxruntime. Source of the rules: spec/backends.md, section 7."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # a server sends nothing anywhere and keeps no database about it

import numpy as np
import onnxruntime as ort

from redisai_py.backend import BFLOAT16, BackendError, Options, Outputs, Run, Source, as_array, parse_device
from redisai_py.cores import CORES, HEAVY, Pool
from redisai_py.worker import onnx_runner, runs

from . import protobuf
from .checks import checked
from .memory import Memory, restate
from .predictable import is_predictable

LIBRARY_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
HEAVY_RUNS = 5  # so many of them in a row make a model heavy
SMALL = 64 << 20  # bytes: two sessions of such a model do not hurt
NO_GRAPH = "No graph was found in the protobuf."
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
NO_CUDA = "ERR GPU requested but ONNX couldn't find CUDA"

ENTRIES = {
    "session.load_model_format": "ONNX",
    # Pool threads spin while a run goes on, and sleep between runs: then they would compete with the event loop.
    "session.intra_op.allow_spinning": "1",
    "session.inter_op.allow_spinning": "1",
    "session.force_spinning_stop": "1",
    # Work is divided as threads come: runs that share the cores do not wait for each other's.
    "session.dynamic_block_base": "4",
}
"""Configuration of every session, in onnxruntime's words."""

AWAKE_ENTRIES = ENTRIES | {"session.force_spinning_stop": "0", "session.intra_op.spin_duration_us": "50"}
"""Of one for runs that are alone: its threads are still awake when such a client's next request comes.

Waking a core from idle takes longer than all else.
"""
KNOWS_DURATION = tuple(map(int, ort.__version__.split(".")[:2])) >= (1, 27)  # without, they spin for tens of ms


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = ort.__version__
        self.options = options
        self.cuda = CUDA in ort.get_available_providers()
        self.memory = Memory(options.memory_limit, options.report_memory)
        # The memory limit is kept by the arena of the package, which the C API's sessions do not share.
        self.has_runners = options.memory_limit == 0 and has_library(options)

    def load(self, source: Source) -> Session:
        kind, index = parse_device(source.device)
        if kind == "GPU" and not self.cuda:
            raise BackendError(NO_CUDA)
        if not protobuf.has_graph(source.blob):
            raise BackendError(NO_GRAPH)
        blob = prepared(source.blob)
        size = len(blob)
        self.memory.reserve(size)
        try:
            if kind == "GPU":
                return CudaSession(self, blob, index or 0)
            if self.has_runners:
                with suppress(onnx_runner.Unsupported):
                    return RunnerSession(self, blob)
            return PackageSession(self, blob)
        except Exception as error:
            self.memory.release(size)
            raise translate(error) from error


def has_library(options: Options) -> bool:
    """Whether onnxruntime's package brings the library with the C API; opens it."""
    folder = Path(ort.__file__).parent / "capi"
    for library in sorted(folder.glob("libonnxruntime.so*")):
        try:
            onnx_runner.open_library(str(library))
            return True
        except OSError as error:
            options.log("warning", f"onnxruntime's C API cannot be used: {error}")
    return False


def prepared(blob: bytes) -> bytes:
    """A model as it is run. Raises BackendError for one that refers to files, or that ``checks`` refuses."""
    try:
        if protobuf.has_external_data(blob):
            raise BackendError("ERR ONNX models with external data are not supported: a model must be self-contained")
        return checked(blob)
    except protobuf.MalformedError as error:
        raise BackendError("ERR the model is not a valid ONNX protobuf") from error


def translate(error: Exception) -> BackendError:
    """onnxruntime's error with the text that RedisAI's clients know; ours as they are."""
    return BackendError(restate(LIBRARY_PREFIX.sub("", str(error))))


class Session(ABC):
    """A loaded model.

    INTRA_OP_PARALLELISM decides how many threads a run uses. When it is not given,
    runs use one, since the scheduler spreads them over the cores and a short run
    only loses by being divided. A model whose runs have shown to be heavy gets a
    second, wide inference that uses all cores, for runs that are alone, or so few that
    they leave half of the cores idle; of a model of more than SMALL bytes only the wide
    one is kept.
    """

    inputs: list[str]
    outputs: list[str]

    def __init__(self, backend: Backend, blob: bytes) -> None:
        self._memory = backend.memory
        self._options = backend.options
        self.memory = len(blob)
        self._lock = Lock()
        threads = backend.options.intra_op_parallelism
        self._heavy_runs_to_go = HEAVY_RUNS if threads == 0 and CORES > 1 else 0
        self._pool = Pool()  # the threads of the wide inference, besides a worker's
        with self._pool.adopt() if threads > 1 else nullcontext():
            self._narrow = self._wide = self.create(blob, threads or 1, ENTRIES)

    @abstractmethod
    def create(self, blob: bytes, threads: int, entries: dict[str, str]) -> Any:
        """What runs the model, with up to ``threads`` threads for each run, configured by ``entries``."""

    def retune(self, blob: bytes) -> None:
        """Creates the wide inference. Runs go on meanwhile, and hold on to the inference that they use."""
        blob = prepared(blob)
        if len(blob) > SMALL:
            with self._pool.adopt():
                wide = self.create(blob, CORES, ENTRIES)
            self._narrow = self._wide = wide
            return
        self._memory.reserve(len(blob))
        try:
            with self._pool.adopt():
                wide = self.create(blob, CORES, AWAKE_ENTRIES if KNOWS_DURATION else ENTRIES)
            self._wide = wide
        except Exception:
            self._memory.release(len(blob))
            raise
        self.memory += len(blob)

    def close(self) -> None:
        self._memory.release(self.memory)

    def _choose(self, run: Run) -> Any:
        """The inference for a run. Several in the wide one share its threads."""
        run.wide = self._wide is not self._narrow and (run.alone or run.has_room)
        inference = self._wide if run.wide else self._narrow
        if inference is self._wide and run.away:
            self._pool.arrange(run.core)
        return inference

    def _note(self, started: float, runs: int, run: Run) -> None:
        """Asks for ``retune`` after HEAVY_RUNS heavy ones in a row: a single slow one may be the machine's fault."""
        if self._heavy_runs_to_go <= 0:
            return
        seconds = (monotonic() - started) / runs
        with self._lock:
            if self._heavy_runs_to_go > 0:  # nobody else has brought it there meanwhile
                self._heavy_runs_to_go = self._heavy_runs_to_go - 1 if seconds > HEAVY else HEAVY_RUNS
                run.retune = self._heavy_runs_to_go == 0


class RunnerSession(Session):
    """A model that runs through the C API: workers need no Python for its runs. Raises Unsupported."""

    def create(self, blob: bytes, threads: int, entries: dict[str, str]) -> onnx_runner.Inference:
        inter_op = self._options.inter_op_parallelism
        predictable = threads == 1 and inter_op == 0 and is_predictable(blob)
        inference = onnx_runner.Inference(blob, threads, inter_op, entries, predictable)
        self.inputs, self.outputs = inference.inputs, inference.outputs
        self.declared_inputs = inference.declared_inputs
        return inference

    def execute_natively(self, requests: list[Any], merged: bool, run: Run) -> bool:
        inference = self._choose(run)
        started = monotonic()
        done: bool = onnx_runner.run_requests(inference, requests, merged, run)
        self._note(started, 1 if merged else len(requests), run)
        return done

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        started = monotonic()
        stop = onnx_runner.stop_of(run)
        inference = self._narrow  # held for as long as it runs
        results: list[Outputs | Exception] = []
        for tensors in requests:
            try:
                results.append([np.asarray(t) for t in runs.run_arrays(tensors, inference.address, stop.address)])
            except Exception as error:
                results.append(translate(error))
        self._note(started, len(requests), run)
        return results


class PackageSession(Session):
    """A model that runs through onnxruntime's Python package."""

    providers: Sequence[Any] = (CPU,)

    def create(self, blob: bytes, threads: int, entries: dict[str, str]) -> Any:
        inference = ort.InferenceSession(blob, self._session_options(threads, entries), providers=self.providers)
        self.check(inference)
        self.inputs = [node.name for node in inference.get_inputs()]
        self.outputs = [node.name for node in inference.get_outputs()]
        self.declared_inputs = [declared(node) for node in inference.get_inputs()]
        self._tensors = [node.type.startswith("tensor(") for node in inference.get_outputs()]
        self._all_tensors = all(self._tensors)
        # The package gives those out as arrays of another dtype.
        self._has_unknown = any(is_unknown(node.type) for node in inference.get_outputs())
        special = any(node.type in ("tensor(string)", "tensor(bfloat16)") for node in inference.get_inputs())
        self._as_input = as_input if special else np.asarray
        return run_function(inference)

    def check(self, inference: Any) -> None:
        """Raises BackendError for an inference that cannot be used."""

    def _session_options(self, threads: int, entries: dict[str, str]) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they reach the client anyway
        options.intra_op_num_threads = threads
        if self._options.inter_op_parallelism:
            options.inter_op_num_threads = self._options.inter_op_parallelism
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        self._memory.configure(options)
        return options

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        control = run.state.get(Control) or Control()
        if control.options.terminate:  # the end of the last run came first
            control.renew()
        run.state[Control] = run.terminate = control
        names, outputs, convert = self.inputs, self.outputs, self._as_input
        infer = self._choose(run)
        results: list[Outputs | Exception] = []
        started = monotonic()
        for tensors in requests:
            try:
                results.append(infer(outputs, dict(zip(names, map(convert, tensors), strict=True)), control.options))
            except Exception as error:
                results.append(self._retry(tensors, error, control))
        self._note(started, len(requests), run)
        self._memory.count(0, 2 * len(outputs) * len(requests))
        if self._has_unknown:
            return [BackendError("ERR unsupported dtype") if isinstance(result, list) else result for result in results]
        if not self._all_tensors:
            self._drop_non_tensors(results)
        return results

    def _retry(self, tensors: list[Any], error: Exception, control: Control) -> Outputs | Exception:
        """What a failed run leads to: once more with a shrunk arena, if it was that, or its error."""
        if self._memory.is_exceeded(error):
            self._memory.shrink()
            try:
                feed = dict(zip(self.inputs, map(self._as_input, tensors), strict=True))
                outputs: Outputs = self._narrow(self.outputs, feed, control.options)
                return outputs
            except Exception as again:
                error = again
        if control.options.terminate:
            control.renew()  # the flag stays set, and would end the next run, too
        return translate(error)

    def _drop_non_tensors(self, results: list[Outputs | Exception]) -> None:
        """Replaces sequences and maps by None."""
        self._options.log("warning", "non-tensor output from ONNX models, ignoring (currently unsupported)")
        for result in results:
            if isinstance(result, list):
                result[:] = [v if is_tensor else None for v, is_tensor in zip(result, self._tensors, strict=True)]


@cache
def open_cuda() -> None:
    """Opens CUDA's libraries, once: those that pip packages bring are in no place where the loader looks."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


class CudaSession(PackageSession):
    """A model on a GPU. The threads of its runs do little: a wide inference would be a second copy of its weights."""

    def __init__(self, backend: Backend, blob: bytes, index: int) -> None:
        self.providers = (CUDA, {"device_id": index}), CPU
        open_cuda()
        super().__init__(backend, blob)
        self._heavy_runs_to_go = 0

    def check(self, inference: Any) -> None:
        """Raises BackendError where onnxruntime, which only prints that, has fallen back to the CPU."""
        if CUDA not in inference.get_providers():
            raise BackendError(NO_CUDA)


ELEMENT_TYPES = {
    "tensor(float)": "FLOAT",
    "tensor(double)": "DOUBLE",
    "tensor(bool)": "BOOL",
    "tensor(string)": "STRING",
    "tensor(float16)": "FLOAT16",
    "tensor(bfloat16)": "BFLOAT16",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


def is_unknown(kind: str) -> bool:
    """Whether this is a tensor of a dtype that the module's tensors do not have."""
    return kind.startswith("tensor(") and kind not in ELEMENT_TYPES


def declared(node: Any) -> tuple[str | None, list[int | None]]:
    """The dtype and the dims of an input, as the model declares them."""
    return ELEMENT_TYPES.get(node.type), [dim if isinstance(dim, int) else None for dim in node.shape]


def run_function(inference: Any) -> Any:
    """The run function below the public class.

    The public one checks the names of every feed again, for 1.5 us a call, though
    they come from here; and its object keeps the model's bytes for ever.
    """
    return getattr(inference, "_sess", inference).run


class Control:
    """A worker's RunOptions, through which its run can be terminated: calling it does that."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = 4  # a failed run is the client's business, not the log's

    def __call__(self) -> None:
        self.options.terminate = True


def as_input(tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor as onnxruntime's package takes it: an array that shares its memory; for STRING, one of str."""
    array = as_array(tensor)
    if array.dtype == BFLOAT16:
        raise BackendError("ERR BFLOAT16 tensors need a server without BACKEND_MEMORY_LIMIT, and the CPU")
    if array.dtype != object:
        return array
    try:
        texts = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise BackendError("ERR a STRING tensor for an ONNX model must be valid UTF-8") from error
    strings: np.ndarray[Any, Any] = np.array(texts, dtype=object).reshape(array.shape)
    return strings
