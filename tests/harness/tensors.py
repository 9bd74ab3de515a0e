"""numpy arrays to and from AI.TENSORSET and AI.TENSORGET."""

from __future__ import annotations

from typing import Any

import numpy as np

from redisai_py.backend import BFLOAT16

from .wire import OK, Argument, Wire, as_dict

NUMPY_TYPES = {
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
    "FLOAT16": np.float16,
    "BFLOAT16": BFLOAT16,
    "BOOL": np.bool_,
}
DTYPES = (*NUMPY_TYPES, "STRING")
DTYPE_NAMES = {np.dtype(numpy_type): name for name, numpy_type in NUMPY_TYPES.items()}

# One array of each dtype, with its extremes.
SAMPLES = {
    "FLOAT": np.array([[0.0, -2.5], [3.4e38, np.inf]], np.float32),
    "DOUBLE": np.array([[0.0, -2.5], [1.7e308, -np.inf]], np.float64),
    **{
        name: np.array([[0, 1], [np.iinfo(numpy_type).min, np.iinfo(numpy_type).max]], numpy_type)
        for name, numpy_type in NUMPY_TYPES.items()
        if numpy_type is not BFLOAT16 and np.issubdtype(numpy_type, np.integer)
    },
    "FLOAT16": np.array([[0.0, -2.5], [65504, np.inf]], np.float16),
    "BFLOAT16": np.array([[0, 0xC020], [0x7F7F, 0x7F80]], np.uint16).view(BFLOAT16),  # 0, -2.5, the largest, inf
    "BOOL": np.array([[False, True], [True, True]]),
    "STRING": np.array([[b"", b"a"], ["h\u00e9llo".encode(), b"\xff\xfe"]], object),
}


def blob_of(array: np.ndarray) -> bytes:
    """The bytes of BLOB: little-endian rows, or NUL-terminated strings."""
    if array.dtype == object:
        return b"".join(element + b"\0" for element in array.ravel())
    return array.tobytes()


def tensorset(key: str, array: np.ndarray) -> tuple[Argument, ...]:
    """The AI.TENSORSET command that stores an array (object arrays: of bytes)."""
    dtype = "STRING" if array.dtype == object else DTYPE_NAMES[array.dtype]
    return ("AI.TENSORSET", key, dtype, *array.shape, "BLOB", blob_of(array))


def put(wire: Wire, key: str, array: Any) -> None:
    reply = wire(*tensorset(key, np.asarray(array)))
    assert reply == OK, reply


def array_of(reply: list[Any] | dict[bytes, Any]) -> np.ndarray:
    """The array in a META BLOB reply."""
    assert isinstance(reply, list | dict), reply
    fields = as_dict(reply)
    dtype, shape, blob = fields["dtype"].decode(), fields["shape"], fields["blob"]
    if dtype == "STRING":
        assert blob.endswith(b"\0"), "a STRING blob ends with a NUL"
        return np.array(blob[:-1].split(b"\0"), object).reshape(shape)
    return np.frombuffer(blob, NUMPY_TYPES[dtype]).reshape(shape)


def get(wire: Wire, key: str) -> np.ndarray:
    return array_of(wire("AI.TENSORGET", key))


def assert_tensor(wire: Wire, key: str, expected: Any) -> None:
    """The key holds exactly this array: dtype, shape and bytes."""
    actual = get(wire, key)
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert blob_of(actual) == blob_of(expected)
