"""The ONNX backend: onnxruntime. Source of the rules: spec/backends.md, section 7."""

from __future__ import annotations

import os
import re
from threading import Lock
from time import monotonic
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # a server sends nothing anywhere and keeps no database about it

import numpy as np
import onnxruntime as ort

from redisai_py.backend import BackendError, Options, Outputs, Run, Source, as_array, parse_device

from . import protobuf
from .memory import Memory, restate

LIBRARY_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
CORES = len(os.sched_getaffinity(0))
HEAVY = 2e-3  # seconds: a run that is worth several threads
HEAVY_RUNS = 5  # so many of them in a row make a model heavy
SMALL = 64 << 20  # bytes: two sessions of such a model do not hurt
NO_GRAPH = "No graph was found in the protobuf."


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = ort.__version__
        self.options = options
        self.cuda = "CUDAExecutionProvider" in ort.get_available_providers()
        self.memory = Memory(options.memory_limit, options.report_memory)

    def load(self, source: Source) -> Session:
        kind, index = parse_device(source.device)
        if kind == "GPU" and not self.cuda:
            raise BackendError("ERR GPU requested but ONNX couldn't find CUDA")
        if not protobuf.has_graph(source.blob):
            raise BackendError(NO_GRAPH)
        refuse_external_data(source.blob)
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "GPU":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or 0}))
        size = len(source.blob)
        self.memory.reserve(size)
        try:
            return Session(self, source.blob, providers)
        except Exception as error:
            self.memory.release(size)
            raise translate(error) from error

    def create(self, blob: bytes, providers: list[Any], threads: int) -> Any:
        """An InferenceSession whose runs use up to ``threads`` threads each."""
        return ort.InferenceSession(blob, self._session_options(threads), providers=providers)

    def _session_options(self, threads: int) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they reach the client anyway
        options.intra_op_num_threads = threads
        if self.options.inter_op_parallelism:
            options.inter_op_num_threads = self.options.inter_op_parallelism
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # Idle pool threads sleep: spinning ones would compete with the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Work is divided as threads come: runs that share the cores do not wait for each other's.
        options.add_session_config_entry("session.dynamic_block_base", "4")
        self.memory.configure(options)
        return options


def refuse_external_data(blob: bytes) -> None:
    """Raises BackendError for a model that refers to files, or that cannot be searched for that."""
    try:
        external = protobuf.has_external_data(blob)
    except protobuf.MalformedError as error:
        raise BackendError("ERR the model is not a valid ONNX protobuf") from error
    if external:
        raise BackendError("ERR ONNX models with external data are not supported: a model must be self-contained")


def translate(error: Exception) -> BackendError:
    """onnxruntime's error with the text that RedisAI's clients know; ours as they are."""
    return BackendError(restate(LIBRARY_PREFIX.sub("", str(error))))


class Session:
    """A loaded model.

    INTRA_OP_PARALLELISM decides how many threads a run uses. When it is not given,
    runs use one, since the scheduler spreads them over the cores and a short run
    only loses by being divided. A model whose runs have shown to be heavy gets a
    second, wide session that uses all cores, for runs that are alone, so that a
    single client sees what the machine can do; of a model of more than SMALL bytes
    only the wide one is kept.
    """

    def __init__(self, backend: Backend, blob: bytes, providers: list[Any]) -> None:
        self._backend = backend
        self._providers = providers
        self._size = self.memory = len(blob)
        threads = backend.options.intra_op_parallelism
        inference = backend.create(blob, providers, threads or 1)
        self.inputs = [node.name for node in inference.get_inputs()]
        self.outputs = [node.name for node in inference.get_outputs()]
        self._tensors = [node.type.startswith("tensor(") for node in inference.get_outputs()]
        self._all_tensors = all(self._tensors)
        has_strings = any(node.type == "tensor(string)" for node in inference.get_inputs())
        self._as_input = as_input if has_strings else np.asarray
        self._run = self._run_wide = runner(inference)
        self._lock = Lock()
        self._heavy_runs_to_go = HEAVY_RUNS if threads == 0 and CORES > 1 else 0

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        control = run.state.get(Control) or Control()
        if control.options.terminate:  # the end of the last run came first
            control.renew()
        run.state[Control] = run.terminate = control
        names, outputs, convert = self.inputs, self.outputs, self._as_input
        infer = self._run_wide if run.alone else self._run
        results: list[Outputs | Exception] = []
        started = monotonic()
        for tensors in requests:
            try:
                results.append(infer(outputs, dict(zip(names, map(convert, tensors), strict=True)), control.options))
            except Exception as error:
                results.append(self._retry(tensors, error, control))
        if self._heavy_runs_to_go > 0:
            self._watch_for_heavy_runs((monotonic() - started) / len(requests), run)
        if not self._all_tensors:
            self._drop_non_tensors(results)
        self._backend.memory.count(0, 2 * len(outputs) * len(requests))
        return results

    def retune(self, blob: bytes) -> None:
        """Creates the wide session."""
        self._run_wide = runner(self._backend.create(blob, self._providers, CORES))
        if self._size > SMALL:
            self._run = self._run_wide

    def close(self) -> None:
        self._backend.memory.release(self._size)

    def _watch_for_heavy_runs(self, seconds: float, run: Run) -> None:
        """Asks for ``retune`` after HEAVY_RUNS heavy runs in a row: a single slow one may be the machine's fault."""
        with self._lock:
            self._heavy_runs_to_go = self._heavy_runs_to_go - 1 if seconds > HEAVY else HEAVY_RUNS
            run.retune = self._heavy_runs_to_go == 0

    def _retry(self, tensors: list[Any], error: Exception, control: Control) -> Outputs | Exception:
        """What a failed run leads to: once more with a shrunk arena, if it was that, or its error."""
        memory = self._backend.memory
        if memory.is_exceeded(error):
            memory.shrink()
            try:
                feed = dict(zip(self.inputs, map(self._as_input, tensors), strict=True))
                outputs: Outputs = self._run(self.outputs, feed, control.options)
                return outputs
            except Exception as again:
                error = again
        if control.options.terminate:
            control.renew()  # the flag stays set, and would end the next run, too
        return translate(error)

    def _drop_non_tensors(self, results: list[Outputs | Exception]) -> None:
        """Replaces sequences and maps by None."""
        self._backend.options.log("warning", "non-tensor output from ONNX models, ignoring (currently unsupported)")
        for result in results:
            if isinstance(result, list):
                result[:] = [v if is_tensor else None for v, is_tensor in zip(result, self._tensors, strict=True)]


def runner(inference: Any) -> Any:
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
    """A tensor as onnxruntime takes it: an array that shares its memory; for STRING, one of str."""
    array = as_array(tensor)
    if array.dtype != object:
        return array
    try:
        texts = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise BackendError("ERR a STRING tensor for an ONNX model must be valid UTF-8") from error
    strings: np.ndarray[Any, Any] = np.array(texts, dtype=object).reshape(array.shape)
    return strings
