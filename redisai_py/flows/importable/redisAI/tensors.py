"""Tensors, and keys that hold them. Source of the rules: spec/gears-python-api.md, section 1, and Q19."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from redisai_py.backend import DTYPES
from redisai_py.flows.errors import GearsError
from redisai_py.flows.rights import current_rights
from redisai_py.worker import buffers
from redisai_py.worker.core import address, ffi, lib, text

from . import checks

WRONG_SIZE = "ERR data length does not match tensor shape and type"
WRONG_DTYPE = "Failed creating tensor, make sure you put the right data type."
NO_TENSOR = "Given argument is not of type PyTensor"

NUMPY_TYPES = {name: dtype for dtype, name in DTYPES.items()}


class PyTensor:
    """A tensor; it never changes. ``numpy.asarray`` gives a view of its data, or, for STRING, an array of bytes."""

    __slots__ = ("stored",)

    def __init__(self, stored: Any) -> None:
        self.stored = stored
        """``redisai_py.worker.buffers.Tensor``."""

    @property
    def dtype(self) -> str:
        return str(self.stored.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.stored.is_string:
            array = np.array(self.stored.elements(), object).reshape(self.shape)
        else:
            array = np.asarray(self.stored)
        return np.array(array, dtype) if copy or dtype is not None else array

    def __str__(self) -> str:
        return repr(tensorToFlatList(self))


# ---- creating --------------------------------------------------------------------------


def _shape(dims: Any) -> list[int]:
    return checks.each_of_type(dims, int, "dims argument must be iterable", "dims arguments must be long")


def _empty(dtype: str, shape: list[int]) -> Any:
    """A tensor of the C API that may still be written to."""
    pointer = lib.RAI_TensorCreate(dtype.encode(), ffi.new("long long[]", shape), len(shape))
    if pointer == ffi.NULL:
        raise GearsError(WRONG_DTYPE)
    return pointer


def _filled(pointer: Any, data: Any) -> PyTensor:
    """Gives a tensor its data, which belongs to a buffer; raises GearsError."""
    stored = buffers.adopt_tensor(address(pointer))
    source = ffi.from_buffer(data)
    if not stored.is_string and len(source) != lib.RAI_TensorByteSize(pointer):
        raise GearsError(WRONG_SIZE)
    if not lib.RAI_TensorSetData(pointer, source, len(source)):
        if stored.is_string:
            raise GearsError("ERR Number of string elements in data blob does not match tensor length")
        raise GearsError("ERR BOOL tensor elements must be 0 or 1")
    return PyTensor(stored)


def _convert(dtype: str, values: list[Any]) -> bytes:
    """Values as a blob; integers and booleans may be given as such or as floats, which are cut (Q19)."""
    if dtype == "STRING":
        texts = [value.encode() if isinstance(value, str) else value for value in values]
        if not all(isinstance(value, bytes) for value in texts):
            raise GearsError("values arguments must be double")
        return b"".join(value + b"\0" for value in texts)
    is_float = dtype in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
    if not all(isinstance(value, float if is_float else (float, int, np.number, np.bool_)) for value in values):
        raise GearsError("values arguments must be double")
    if dtype == "BFLOAT16":
        return np.array([lib.rai_bfloat_from_double(value) for value in values], np.uint16).tobytes()
    kind = NUMPY_TYPES[dtype]
    if is_float:
        return np.array(values, kind).tobytes()
    if dtype == "BOOL":
        return np.array([value != 0 for value in values], kind).tobytes()
    limits = np.iinfo(kind)
    if not all(math.isfinite(value) and limits.min <= int(value) <= limits.max for value in values):
        raise GearsError("ERR invalid value")
    return np.array([int(value) for value in values], kind).tobytes()


def createTensorFromValues(*arguments: Any) -> PyTensor:
    """(type, shape, values): FLOAT and DOUBLE of floats, integers and BOOL of numbers, STRING of str or bytes."""
    checks.count(arguments, "createTensorFromValues", 3)
    dtype = checks.of_type(arguments[0], str, "type argument must be a string")
    shape = _shape(arguments[1])
    pointer = _empty(dtype, shape)
    try:
        values = checks.iterable(arguments[2], "values argument must be iterable")
        blob = _convert(dtype.upper(), values)
        if len(values) != lib.RAI_TensorLength(pointer):
            raise GearsError(WRONG_SIZE)
    except BaseException:
        lib.RAI_TensorFree(pointer)
        raise
    return _filled(pointer, blob)


def createTensorFromBlob(*arguments: Any) -> PyTensor:
    """(type, shape, blob): bytes, a bytearray, or anything with a buffer."""
    checks.count(arguments, "createTensorFromBlob", 3)
    dtype = checks.of_type(arguments[0], str, "type argument must be a string")
    shape = _shape(arguments[1])
    try:
        view = memoryview(arguments[2])
    except TypeError:
        raise GearsError("blob argument must be bytes, byte array or a buffer") from None
    except BufferError:
        raise GearsError("Error getting buffer info.") from None
    return _filled(_empty(dtype, shape), view if view.c_contiguous else view.tobytes())


def createTensorFromArray(array: Any) -> PyTensor:
    """A copy of a numpy array, or of what ``numpy.asarray`` takes; its dtype decides. Not part of RedisGears."""
    try:
        return PyTensor(buffers.new_tensor(np.asarray(array)))
    except (TypeError, ValueError, BufferError) as error:
        raise GearsError(str(error)) from None


# ---- reading ---------------------------------------------------------------------------


def tensorToFlatList(*arguments: Any) -> list[Any]:
    """(tensor): its elements in row-major order, as floats, or as integers."""
    checks.count(arguments, "tensorToFlatList", 1)
    tensor = checks.of_type(arguments[0], PyTensor, NO_TENSOR)
    if tensor.stored.is_string:
        raise GearsError("Failed converting tensor to flat list")
    array = np.asarray(tensor.stored).ravel()
    if tensor.dtype == "BFLOAT16":
        return [lib.rai_bfloat_to_double(int(bits)) for bits in array.view(np.uint16)]
    flat: list[Any] = (array.astype(np.int64) if array.dtype == np.bool_ else array).tolist()
    return flat


def tensorGetDataAsBlob(*arguments: Any) -> bytearray:
    """(tensor): a copy of its bytes."""
    checks.count(arguments, "tensorGetDataAsBlob", 1)
    tensor = checks.of_type(arguments[0], PyTensor, NO_TENSOR)
    pointer = ffi.cast("RAI_Tensor *", tensor.stored.address)
    return bytearray(ffi.buffer(lib.RAI_TensorData(pointer), lib.RAI_TensorByteSize(pointer)))


def tensorGetDims(*arguments: Any) -> tuple[int, ...]:
    """(tensor): its dimensions."""
    checks.count(arguments, "tensorGetDims", 1)
    return checks.of_type(arguments[0], PyTensor, NO_TENSOR).shape


# ---- keys ------------------------------------------------------------------------------


def _store(tensors: dict[str, PyTensor]) -> None:
    """Stores and replicates all of them, or none."""
    keys = [checks.encode(key) for key in tensors]
    texts = [ffi.from_buffer(key) for key in keys]
    pointers = [ffi.cast("rai_tensor *", tensor.stored.address) for tensor in tensors.values()]
    error = ffi.new("char const **")
    lengths = ffi.new("size_t[]", [len(key) for key in keys])
    rights = current_rights()
    stored = lib.rai_call_store_tensors(
        rights.call, len(keys), ffi.new("char *[]", texts), lengths, ffi.new("rai_tensor *[]", pointers), error
    )
    if not stored:
        raise GearsError(text(error[0]))


def _find(names: list[str]) -> list[PyTensor]:
    keys = [checks.encode(name) for name in names]
    texts = [ffi.from_buffer(key) for key in keys]
    found = ffi.new("rai_tensor *[]", max(1, len(keys)))
    error = ffi.new("char const **")
    lengths = ffi.new("size_t[]", [len(key) for key in keys])
    rights = current_rights()
    if not lib.rai_call_find_tensors(rights.call, len(keys), ffi.new("char *[]", texts), lengths, found, error):
        raise GearsError(text(error[0]))
    return [PyTensor(buffers.adopt_tensor(address(found[i]))) for i in range(len(keys))]


def setTensorInKey(*arguments: Any) -> None:
    """(key, tensor): stores it, and, unlike RedisGears, replicates that."""
    checks.count(arguments, "setTensorInKey", 2)
    key = checks.of_type(arguments[0], str, "key name argument must be a string")
    _store({key: checks.of_type(arguments[1], PyTensor, NO_TENSOR)})


def msetTensorsInKeyspace(*arguments: Any) -> None:
    """({key: tensor}): all of them, or none when a key holds another type."""
    checks.count(arguments, "msetTensorInKeyspace", 1)
    tensors = checks.of_type(arguments[0], dict, "Given argument is not of type PyDict")
    for key, tensor in tensors.items():
        checks.of_type(key, str, "key name argument must be a string")
        checks.of_type(tensor, PyTensor, NO_TENSOR)
    _store(tensors)


def getTensorFromKey(*arguments: Any) -> PyTensor:
    """(key): the tensor there."""
    checks.count(arguments, "getTensorFromKey", 1)
    (tensor,) = _find([checks.of_type(arguments[0], str, "key name argument must be a string")])
    return tensor


def mgetTensorsFromKeyspace(*arguments: Any) -> list[PyTensor]:
    """(keys): the tensors there, or an error when one is missing."""
    checks.count(arguments, "getTensorsFromKeyspace", 1)
    text = "key name argument must be a string"
    return _find(checks.each_of_type(arguments[0], str, "keys argument must be iterable", text))
