"""The protocol between the module and a backend (docs/backends.md).

A backend is a Python file, or an extension module, that defines a class
``Backend``. It is imported on a worker thread when it is first needed. All
methods are called with the GIL, never on Redis's event loop, and may release it
and block. Inputs are read-only tensors that support the buffer protocol
(``numpy.asarray(tensor)`` shares the memory); outputs are arrays or anything else
with a C-contiguous buffer, and, for STRING, numpy arrays of str or bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from redisai_py.worker.run import Run as Run


class BackendError(Exception):
    """An error whose text is sent to the client as it stands; begin it with ``ERR `` as a rule."""


@dataclass(frozen=True)
class Options:
    """What the module was configured with; 0 means the framework's default, or no limit."""

    intra_op_parallelism: int
    inter_op_parallelism: int
    memory_limit: int
    """Bytes."""
    log: Callable[[str, str], None]
    """``log(level, text)``; the level is one of debug, verbose, notice and warning."""
    report_memory: Callable[[int, int], None]
    """``report_memory(bytes in use, accesses so far)``: what INFO shows, with the accesses of runners."""


@dataclass(frozen=True)
class Source:
    """A model to be loaded. ``inputs`` and ``outputs`` are the names given by the user (TF only)."""

    blob: bytes
    device: str
    """As typed: ``CPU``, ``GPU``, or either with ``:n``; any case."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batched: bool
    """The user gave BATCHSIZE."""


class Tensor(Protocol):
    """A stored tensor; ``redisai_py.worker.buffers.Tensor``."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def is_string(self) -> bool: ...
    def elements(self) -> list[bytes]: ...


@dataclass(frozen=True)
class ScriptSource:
    """A script to be compiled."""

    text: str
    device: str
    entry_points: tuple[str, ...]


Reply = int | bytes | list["Reply"] | None
"""What a Redis command replied: an integer, a string or a status, an array, or nil."""


class Call(Protocol):
    """The execution of one function of a script."""

    function: str
    inputs: list[Any]
    """Tensors; those of LIST_INPUTS come last."""
    output_count: int

    @property
    def lists(self) -> list[int]:
        """How many of the last inputs belong to each list of LIST_INPUTS."""

    @property
    def keys(self) -> list[bytes]: ...
    @property
    def args(self) -> list[bytes]: ...


class Redis(Protocol):
    """What a script may do with Redis: on a worker thread, as the user and in the database of its client."""

    def execute(self, call: Call, words: list[bytes]) -> Reply:
        """Runs a command; raises BackendError with its error."""

    def run_model(self, call: Call, key: bytes, inputs: list[Any], output_count: int, run: Run) -> Outputs:
        """Runs a stored model, on this thread; raises BackendError, or what the model raises."""


Outputs = list[Any]


class Session(Protocol):
    """A loaded model.

    It may have an attribute ``memory``: the bytes that it holds besides the model's blob, as far as they are
    known; MEMORY USAGE of its key counts them. It may have ``declared_inputs``, for WARMUP: for each input the
    name of its dtype (None: tensors have no such dtype) and its dims, None or less than 1 where they are not known.
    """

    inputs: Sequence[str]
    """The model's input names, in the order in which tensors are given."""
    outputs: Sequence[str]

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        """Runs the model once for each request, a list of input tensors.

        Returns, in the same order, the outputs of each, or the exception that its
        run raised: one request's error does not fail the others. None stands for
        an output that is not a tensor.
        """

    # A session may also have ``execute_natively(requests, merged, run)``, which is then called
    # first: it hands the requests to ``redisai_py.worker.runs.run_requests`` with the
    # address of a ``rai_runner`` (module/include/runner.h). When it returns False, ``execute`` is
    # called as if it had not been. A script's session has ``natively(function)`` instead, which
    # returns such a method for one of its functions, or None.

    def close(self) -> None:
        """Called once, after the last run."""


class Backend(Protocol):
    """A framework."""

    version: str

    def __init__(self, options: Options) -> None: ...

    def load(self, source: Source) -> Session:
        """Creates a session; raises BackendError, or any exception, whose text the client gets."""

    def load_script(self, source: ScriptSource, redis: Redis) -> Session:
        """The same for a script; TORCH only.

        Its ``execute`` gets a list of calls, and it has no names of inputs and outputs,
        but ``functions``: the names of the script's functions.
        """


BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""What numpy, which has no bfloat16, sees of BFLOAT16 tensors, and how a backend returns them.

``array.view(np.uint16)`` has the bits. Arrays of ml_dtypes' bfloat16 are results, too.
"""

_NUMPY_TYPES: dict[str, Any] = {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "BOOL": np.bool_,
    "STRING": np.object_,
    "FLOAT16": np.float16,
    "BFLOAT16": BFLOAT16,
}

DTYPES: dict[np.dtype[Any], str] = {np.dtype(kind): name for name, kind in _NUMPY_TYPES.items()}
"""The names of the dtypes that arrays have."""


def as_array(tensor: Any) -> np.ndarray[Any, Any]:
    """A stored tensor as a numpy array of its shape that shares its memory.

    STRING becomes a copy, an array of bytes objects. An array, such as a batch that
    was concatenated already, is returned as it is.
    """
    array: np.ndarray[Any, Any]
    if isinstance(tensor, np.ndarray) or not tensor.is_string:
        array = np.asarray(tensor)
    else:
        array = np.array(tensor.elements(), dtype=object).reshape(tensor.shape)
    return array


def parse_device(device: str) -> tuple[str, int | None]:
    """``("CPU", None)``, ``("GPU", None)`` or ``("GPU", n)`` for a device as typed.

    Anything that begins with CPU is the CPU. Raises BackendError.
    Source of the rule: spec/backends.md, section 2.
    """
    upper = device.upper()
    if upper.startswith("CPU"):
        return "CPU", None
    if upper == "GPU":
        return "GPU", None
    if upper.startswith("GPU:"):
        digits = upper[4:]
        return "GPU", int(digits) if digits.isdigit() else 0
    raise BackendError("ERR unsupported device")


def no_such_gpu(device: str, framework: str, found: int) -> BackendError:
    """The error for a device as typed whose number is none of the GPUs that a framework finds."""
    return BackendError(f"ERR there is no {device}: {framework} finds {found} GPU{'' if found == 1 else 's'}")
