"""The TFLITE backend. Source of the rules: spec/backends.md, section 8.

ai_edge_litert is the successor of tflite_runtime; TensorFlow has the same
interpreter. Whichever is there, in this order, is used.
"""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np

from redisai_py.backend import DTYPES as DTYPE_NAMES
from redisai_py.backend import BackendError, Options, Outputs, Run, Source, as_array, parse_device
from redisai_py.cores import CORES, HEAVY, Pool

from . import model_file

RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite.python.interpreter", "tensorflow"),
)


DTYPES = frozenset(map(np.dtype, ("f4", "f2", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?")))
GUESSES = (32, 128)
"""For lengths that a model does not declare, where 1 is too short for it."""

MOST_DIMS = 6
"""What the runtime's kernels of XNNPACK take. They do not look: more dims than these end the process."""

# Operators that keep something from run to run; and those whose bodies, which are not listed, may do so to variables.
KEEPERS = frozenset(
    {
        "ASSIGN_VARIABLE",
        "SVDF",
        *(f"{kind}DIRECTIONAL_SEQUENCE_{cell}" for kind in ("UNI", "BI") for cell in ("LSTM", "RNN")),
        *("LSTM", "RNN"),
    }
)
VARIABLE = "VAR_HANDLE"
BODIES = frozenset({"IF", "WHILE", "CALL"})
WRONG_TYPE = "Input tensor type doesn't match the type expected by the model definition"


def find_runtime() -> tuple[Any, str]:
    """The interpreter's module and its version; raises ImportError of the first choice."""
    missing: ImportError | None = None
    for module, package in RUNTIMES:
        try:
            found = import_module(module)
        except ImportError as error:
            missing = missing or error
            continue
        try:
            return found, version(package)
        except PackageNotFoundError:  # a build of TensorFlow under another name
            return found, "unknown"
    raise missing or ImportError("no TFLite runtime")


runtime, runtime_version = find_runtime()


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = runtime_version
        self.log = options.log
        self.threads = options.intra_op_parallelism

    def load(self, source: Source) -> Session:
        try:
            parse_device(source.device)  # GPU is the CPU, too
        except BackendError as error:
            raise BackendError("ERR Unsupported device") from error
        try:
            model_file.check(source.blob)
        except model_file.Unreadable as error:
            raise self.error("Failed to load model from buffer", error) from error
        return Session(self, source.blob)

    def error(self, text: str, reason: Exception) -> BackendError:
        """The error that RedisAI's clients know; the runtime's own words go to the log."""
        self.log("verbose", f"TFLITE: {text}: {reason}")
        return BackendError(text)


class Session:
    """A loaded model: one interpreter for each run that is going on at the same time.

    INTRA_OP_PARALLELISM decides how many threads an interpreter has. When it is not
    given that is one, since the scheduler spreads the runs over the cores; a heavy
    run that has the machine to itself gets an interpreter that uses all of them.

    A model with state has one interpreter, and one run at a time.
    """

    def __init__(self, backend: Backend, blob: bytes) -> None:
        self._backend = backend
        self._blob = blob
        self.memory = len(blob)  # of which each interpreter reads its weights
        first = Interpreter(backend, blob, backend.threads or 1)
        self._idle: dict[int, list[Interpreter]] = {1: [], CORES: []}  # by threads
        self._idle[first.threads] = [first]
        self._lock = Lock() if first.has_state else None
        self._seconds = 0.0  # of the latest run on one thread
        self.inputs, self.outputs = first.input_names, first.output_names
        self.declared_inputs = first.declared_inputs

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        narrow = self._backend.threads or 1
        if self._lock is not None:
            with self._lock:
                return self._execute(requests, narrow, run)
        run.wide = run.alone and self._backend.threads == 0 and self._seconds > HEAVY
        if run.wide:
            return self._execute(requests, CORES, run)
        started = monotonic()
        results = self._execute(requests, narrow, run)
        self._seconds = (monotonic() - started) / len(requests)
        return results

    def _execute(self, requests: list[list[Any]], threads: int, run: Run) -> list[Outputs | Exception]:
        interpreter = self._take(threads)
        if threads > 1 and run.away:
            interpreter.pool.arrange(run.core)
        results: list[Outputs | Exception] = []
        for tensors in requests:
            try:
                results.append(interpreter.run(tensors))
            except Exception as error:
                results.append(error)
                if interpreter.broken:
                    interpreter = self._take(threads)
        self._idle[threads].append(interpreter)
        return results

    def close(self) -> None:
        for idle in self._idle.values():
            idle.clear()

    def _take(self, threads: int) -> Interpreter:
        try:
            return self._idle[threads].pop()  # the one that ran last: its memory is warm
        except IndexError:
            return Interpreter(self._backend, self._blob, threads)


class Interpreter:
    """One interpreter, which divides its work among so many threads.

    Calls go to the object below the public class, which looks for views of its
    memory in every call. There are none: GetTensor copies.

    One that could not take the shapes of some inputs is broken: what it allocated
    until then stays in it, and makes it ever slower.
    """

    def __init__(self, backend: Backend, blob: bytes, threads: int) -> None:
        self._backend = backend
        self.threads = threads
        public = create(backend, blob, threads)
        inputs, outputs = public.get_input_details(), public.get_output_details()
        self.input_names = [detail["name"] for detail in inputs]
        self.output_names = [detail["name"] for detail in outputs]
        self._inputs = [(detail["index"], np.dtype(detail["dtype"])) for detail in inputs]
        self._shapes = [tuple(detail["shape"].tolist()) for detail in inputs]
        self._declared_dims = [len(shape) for shape in self._shapes]
        self.declared_inputs = [(DTYPE_NAMES.get(np.dtype(d["dtype"])), d["shape_signature"].tolist()) for d in inputs]
        self._outputs = [detail["index"] for detail in outputs]
        self._unsupported = next(filter(None, (unsupported(np.dtype(d["dtype"]), "output") for d in outputs)), None)
        self.has_state = keeps_state({operator["op_name"] for operator in public._get_ops_details()})
        self._output_details = public.get_output_details
        self._native = public._interpreter
        self.broken = False
        self.pool = Pool()
        with self.pool.adopt() if threads > 1 else nullcontext():
            self._allocate_declared([detail["shape_signature"].tolist() for detail in inputs])

    def _allocate_declared(self, signatures: list[list[int]]) -> None:
        """Allocates for the declared shapes; lengths that are not declared are guessed until there are inputs."""
        tried = [self._shapes]  # where such lengths are 1 as a rule
        if any(-1 in signature[1:] for signature in signatures):
            tried += [[guessed(signature, length) for signature in signatures] for length in GUESSES]
        for shapes in tried:
            try:
                self._allocate(shapes)
                return
            except BackendError:
                if shapes is tried[-1]:
                    raise

    def run(self, tensors: list[Any]) -> Outputs:
        """The outputs for these inputs; they are copies. Raises BackendError."""
        native = self._native
        arrays = self._fit(tensors)
        for (index, _), array in zip(self._inputs, arrays, strict=True):
            native.SetTensor(index, array)
        try:
            native.Invoke()
        except Exception as error:
            raise self._backend.error("Failed to invoke TfLite", error) from error
        if self._unsupported is not None:
            raise BackendError(self._unsupported)
        try:
            return [native.GetTensor(index) for index in self._outputs]
        except ValueError:  # the runtime's Python binding knows no tensors without elements
            return [self._output(detail) for detail in self._output_details()]

    def _output(self, detail: dict[str, Any]) -> np.ndarray[Any, Any]:
        if 0 in detail["shape"]:
            return np.empty(detail["shape"], detail["dtype"])
        array: np.ndarray[Any, Any] = self._native.GetTensor(detail["index"])
        return array

    def _fit(self, tensors: list[Any]) -> list[Any]:
        """The inputs as arrays, after their dtypes are checked and the interpreter has their shapes."""
        if len(tensors) != len(self._inputs):
            raise BackendError("Inconsistent number of inputs")
        arrays = []
        resize = False
        for position, tensor in enumerate(tensors):
            array = as_array(tensor)
            expected = self._inputs[position][1]
            if array.dtype != expected:
                raise BackendError(WRONG_TYPE)
            if expected not in DTYPES:
                raise BackendError(unsupported(expected, "input"))
            resize = resize or array.shape != self._shapes[position]
            arrays.append(array)
        if resize:
            self._resize(arrays)
        return arrays

    def _resize(self, arrays: list[Any]) -> None:
        wanted = [array.shape for array in arrays]
        if not all(map(may_become, wanted, self._declared_dims)):
            raise BackendError("Failed to resize input tensors")
        self.broken = True
        self._allocate(wanted)
        self.broken = False

    def _allocate(self, shapes: list[tuple[int, ...]]) -> None:
        """Allocates for inputs of these shapes; raises BackendError."""
        try:
            for (index, _), shape, known in zip(self._inputs, shapes, self._shapes, strict=True):
                if shape != known:
                    self._native.ResizeInputTensor(index, np.array(shape, np.int32), False)
        except Exception as error:
            raise self._backend.error("Failed to resize input tensors", error) from error
        self._shapes = shapes
        try:
            self._native.AllocateTensors()
        except Exception as error:
            raise self._backend.error("Failed to allocate tensors", error) from error


def guessed(signature: list[int], length: int) -> tuple[int, ...]:
    """A shape with this length where the model does not declare one, but for its batch."""
    return tuple(known if known >= 0 else length if position > 0 else 1 for position, known in enumerate(signature))


def may_become(shape: tuple[int, ...], declared_dims: int) -> bool:
    """Whether an input of so many dims may get a shape: the kernels look at nothing, and end the process.

    More than MOST_DIMS belong to inputs that are declared with as many, for which there are other kernels. Some
    kernels read the last dim of a scalar, or the first element of nothing.
    """
    return 0 not in shape and len(shape) <= max(MOST_DIMS, declared_dims) and (len(shape) > 0 or declared_dims == 0)


def create(backend: Backend, blob: bytes, threads: int) -> Any:
    """The runtime's own interpreter, without its memory."""
    options: dict[str, Any] = {}
    if runtime.__name__.startswith("tensorflow"):
        # Its default delegates may run any TensorFlow operation, also those that read files.
        options["experimental_op_resolver_type"] = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        return runtime.Interpreter(model_content=blob, num_threads=threads, **options)
    except ValueError as error:  # no flatbuffer, or of another version
        raise backend.error("Failed to load model from buffer", error) from error
    except Exception as error:
        raise backend.error("Failed to construct interpreter", error) from error


def keeps_state(operators: set[str]) -> bool:
    """Whether a run of a graph of these operators may depend on the runs before."""
    return not operators.isdisjoint(KEEPERS) or (VARIABLE in operators and not operators.isdisjoint(BODIES))


def unsupported(dtype: np.dtype[Any], direction: str) -> str:
    """The error for a dtype of the model that tensors do not have; empty for the others."""
    if dtype in DTYPES:
        return ""
    return f"Unsupported {direction} data type"
