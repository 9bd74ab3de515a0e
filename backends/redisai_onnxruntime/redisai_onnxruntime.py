"""The ONNX backend: onnxruntime. Source of the rules: spec/backends.md, section 7."""

from __future__ import annotations

import os
import re
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # a server sends nothing anywhere and keeps no database about it

import onnxruntime as ort

from redisai_py.backend import BackendError, Options, Outputs, Run, Source, as_array, parse_device

from . import protobuf
from .memory import Memory, restate

LIBRARY_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
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
        if protobuf.has_external_data(source.blob):
            raise BackendError("ERR ONNX models with external data are not supported: a model must be self-contained")
        providers: list[Any] = ["CPUExecutionProvider"]
        if kind == "GPU":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": index or 0}))
        size = len(source.blob)
        self.memory.reserve(size)
        try:
            inference = ort.InferenceSession(source.blob, self._session_options(), providers=providers)
        except Exception as error:
            self.memory.release(size)
            raise translate(error) from error
        return Session(self, inference, size)

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
        self.memory.configure(options)
        return options


def translate(error: Exception) -> BackendError:
    """onnxruntime's error with the text that RedisAI's clients know."""
    return BackendError(restate(LIBRARY_PREFIX.sub("", str(error))))


class Session:
    """A loaded model."""

    def __init__(self, backend: Backend, inference: Any, size: int) -> None:
        self._backend = backend
        # What is below the public class: its run() checks the names of every feed again, for
        # 1.5 us a call, though they come from here; and it keeps the model's bytes for ever.
        self._run = getattr(inference, "_sess", inference).run
        self._size = size
        self.inputs = [node.name for node in inference.get_inputs()]
        self.outputs = [node.name for node in inference.get_outputs()]
        self._tensors = [node.type.startswith("tensor(") for node in inference.get_outputs()]
        self._all_tensors = all(self._tensors)

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        control = run.state.get(Control) or Control()
        run.state[Control] = run.terminate = control
        names, outputs, infer = self.inputs, self.outputs, self._run
        results: list[Outputs | Exception] = []
        for tensors in requests:
            try:
                feed = {name: as_array(tensor) for name, tensor in zip(names, tensors, strict=True)}
                results.append(infer(outputs, feed, control.options))
            except Exception as error:
                results.append(self._retry(tensors, error, control))
        if not self._all_tensors:
            self._drop_non_tensors(results)
        self._backend.memory.count(0, 2 * len(outputs) * len(requests))
        return results

    def close(self) -> None:
        self._backend.memory.release(self._size)

    def _retry(self, tensors: list[Any], error: Exception, control: Control) -> Outputs | Exception:
        """What a failed run leads to: once more with a shrunk arena, if it was that, or its error."""
        memory = self._backend.memory
        if memory.is_exceeded(error):
            memory.shrink()
            try:
                feed = {name: as_array(tensor) for name, tensor in zip(self.inputs, tensors, strict=True)}
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


class Control:
    """A worker's RunOptions, through which its run can be terminated: calling it does that."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = 4  # a failed run is the client's business, not the log's

    def __call__(self) -> None:
        self.options.terminate = True
