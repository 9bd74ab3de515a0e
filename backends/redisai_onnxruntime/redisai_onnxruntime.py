"""The ONNX backend: onnxruntime. Source of the rules: spec/backends.md, section 7."""

from __future__ import annotations

import re
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from redisai_py.backend import BackendError, Options, Outputs, Run, Source, parse_device

sys.path.insert(0, str(Path(__file__).parent))
import protobuf  # noqa: E402
sys.path.pop(0)

LIMIT_EXCEEDED = "Onnxruntime memory limit exceeded, memory allocation failed."
# How onnxruntime says that its arena may not grow.
ARENA_IS_FULL = re.compile(
    r"Available memory of \d+ is smaller than requested bytes of \d+|Failed to allocate memory for requested buffer"
)
LIBRARY_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
NO_GRAPH = "No graph was found in the protobuf."
SAME_AS_REQUESTED = 1  # arena growth: by what is asked for, not in powers of two
ARENA_CHUNK = 1 << 20  # bytes


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = ort.__version__
        self.options = options
        self.cuda = "CUDAExecutionProvider" in ort.get_available_providers()
        self._lock = threading.Lock()
        self._used = 0
        self._accesses = 0
        if options.memory_limit:
            limit_memory(options.memory_limit)

    def load(self, source: Source) -> Session:
        kind, index = parse_device(source.device)
        if kind == "GPU" and not self.cuda:
            raise BackendError("ERR GPU requested but ONNX couldn't find CUDA")
        if not protobuf.has_graph(source.blob):
            raise BackendError(NO_GRAPH)
        if protobuf.has_external_data(source.blob):
            raise BackendError("ERR ONNX models with external data are not supported: a model must be self-contained")
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "GPU":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or 0}))
        try:
            inference = ort.InferenceSession(source.blob, self._session_options(), providers=providers)
        except Exception as error:
            raise translate(error) from error
        return Session(self, inference, len(source.blob))

    def account(self, used: int, accesses: int) -> None:
        """Counts memory for INFO: what sessions hold (the size of their models), and how often it changed."""
        with self._lock:
            self._used += used
            self._accesses += accesses
            self.options.report_memory(self._used, self._accesses)

    def _session_options(self) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they reach the client anyway
        # One thread a run, several runs at a time: the scheduler spreads runs over the
        # cores, and a thread pool for each session would spin against the event loop.
        options.intra_op_num_threads = self.options.intra_op_parallelism or 1
        if self.options.inter_op_parallelism:
            options.inter_op_num_threads = self.options.inter_op_parallelism
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if self.options.memory_limit:
            options.add_session_config_entry("session.use_env_allocators", "1")
        return options


def limit_memory(limit: int) -> None:
    """One arena of ``limit`` bytes for all sessions of the process."""
    arena = ort.OrtArenaCfg(
        {
            "max_mem": limit,
            "arena_extend_strategy": SAME_AS_REQUESTED,
            "initial_chunk_size_bytes": min(ARENA_CHUNK, limit),
        }
    )
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(info, arena)


def translate(error: Exception) -> Exception:
    """onnxruntime's error with the text that RedisAI's clients know."""
    text = LIBRARY_PREFIX.sub("", str(error))
    if ARENA_IS_FULL.search(text):
        text = ARENA_IS_FULL.sub(LIMIT_EXCEEDED, text)
    return BackendError(text)


class Session:
    """A loaded model."""

    def __init__(self, backend: Backend, inference: Any, size: int) -> None:
        self._backend = backend
        self._inference = inference
        # The public run() checks the names of every feed again, for 1.5 us a call; they come from here.
        self._run = getattr(inference, "_sess", inference).run
        self._size = size
        self.inputs = [node.name for node in inference.get_inputs()]
        self.outputs = [node.name for node in inference.get_outputs()]
        self._strings = [node.type == "tensor(string)" for node in inference.get_inputs()]
        self._tensors = [node.type.startswith("tensor(") for node in inference.get_outputs()]
        self._all_tensors = all(self._tensors)
        self._runs = count()
        backend.account(size, 1 + len(self.inputs) + len(self.outputs))

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        options = run.state
        if options is None:
            options = prepare(run)
        names, outputs, infer = self.inputs, self.outputs, self._run
        results: list[Outputs | Exception] = []
        for tensors in requests:
            try:
                feed = {name: as_input(tensor) for name, tensor in zip(names, tensors, strict=True)}
                results.append(infer(outputs, feed, options))
            except Exception as error:
                results.append(translate(error))
                if options.terminate:
                    options = prepare(run)
        if not self._all_tensors:
            self._drop_non_tensors(results)
        self._backend.account(0, 2 * len(outputs) * len(requests))
        return results

    def close(self) -> None:
        self._backend.account(-self._size, 1 + len(self.inputs) + len(self.outputs))

    def _drop_non_tensors(self, results: list[Outputs | Exception]) -> None:
        """Replaces sequences and maps by None."""
        self._backend.options.log("warning", "non-tensor output from ONNX models, ignoring (currently unsupported)")
        for result in results:
            if isinstance(result, list):
                result[:] = [v if is_tensor else None for v, is_tensor in zip(result, self._tensors, strict=True)]


def prepare(run: Run) -> Any:
    """Gives a worker's run fresh RunOptions, through which it can be terminated."""
    options = ort.RunOptions()
    options.log_severity_level = 4  # a failed run is the client's business, not the log's
    run.state = options

    def terminate() -> None:
        options.terminate = True

    run.terminate = terminate
    return options


def as_input(tensor: Any) -> Any:
    """A tensor as onnxruntime takes it: a numpy array that shares its memory, or one of str."""
    if isinstance(tensor, np.ndarray) or not tensor.is_string:
        return np.asarray(tensor)
    elements = np.array([element.decode(errors="surrogateescape") for element in tensor.elements()], dtype=object)
    return elements.reshape(tensor.shape)
