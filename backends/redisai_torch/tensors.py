"""Tensors of the module to and from PyTorch. Source of the error texts: spec/backends.md, section 4."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from redisai_py.backend import BFLOAT16, BackendError

# Dtypes that RedisAI refuses in results, with its names for them; a later PyTorch may lack some.
REFUSED = {
    getattr(torch, name): text
    for name, text in {
        "qint8": "QInt8",
        "quint8": "QUInt8",
        "qint32": "QInt32",
        "complex32": "ComplexHalf",
        "complex64": "ComplexFloat",
        "complex128": "ComplexDouble",
    }.items()
    if hasattr(torch, name)
}
# Looked up once: each of these serves every tensor of every request.
asarray, from_numpy, Tensor = np.asarray, torch.from_numpy, torch.Tensor
UINT16 = getattr(torch, "uint16", None)  # PyTorch 2.3 has it, and hardly an operator for it

# PyTorch warns once about read-only memory, which all stored tensors are; sessions see to it that nothing writes.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.from_numpy(np.frombuffer(bytes(4), np.float32))


def to_torch(tensor: Any) -> torch.Tensor:
    """A stored tensor, or an array, as a CPU tensor that shares its memory and must not be written to.

    Raises BackendError for the dtypes that PyTorch has no tensors of, UINT16 and STRING.
    """
    try:
        value = from_numpy(asarray(tensor))
    except TypeError:
        return of_other_dtype(asarray(tensor))
    if value.dtype is UINT16:
        raise BackendError("Unsupported kUInt bits 16")
    return value


def of_other_dtype(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A tensor of an array of which numpy's bridge to PyTorch knows nothing; raises BackendError."""
    if array.dtype == BFLOAT16:
        return from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if array.dtype.kind == "u":  # an older PyTorch
        raise BackendError(f"Unsupported kUInt bits {8 * array.dtype.itemsize}")
    raise BackendError("Unsupported code 7")


def to_clone(tensor: Any) -> torch.Tensor:
    """The same as a copy, for what writes to its inputs: stored tensors are everybody's."""
    return to_torch(tensor).clone()


def to_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """A result as an array, which shares the memory of a tensor that is on the CPU; the module copies it.

    Raises BackendError for a dtype that tensors of the module do not have.
    """
    if tensor.dtype in REFUSED:
        raise BackendError(f"{REFUSED[tensor.dtype]} is not supported by dlpack")
    array: np.ndarray[Any, Any]
    try:
        array = tensor.numpy()
    except (RuntimeError, TypeError):  # it is on a GPU, or a parameter, or lazily negated, or of BFLOAT16
        plain = tensor.detach().cpu().resolve_neg()
        if plain.dtype is torch.bfloat16:
            array = plain.contiguous().view(torch.int16).numpy().view(BFLOAT16)
        else:
            array = plain.numpy()
    return array


def to_arrays(result: Any, function: str, count: int) -> list[Any]:
    """What a function returned - a tensor, or a list or tuple of tensors - as ``count`` arrays.

    Raises BackendError when it is anything else; ``function`` is its name in the text.
    """
    if isinstance(result, Tensor):
        if count == 1:
            return [to_array(result)]
        result = (result,)
    if not isinstance(result, (list, tuple)) or not all(isinstance(value, Tensor) for value in result):
        raise BackendError(f"Function returned non-tensor values{function}")
    if len(result) != count:
        raise BackendError(f"Function returned unexpected number of outputs - {function}")
    return [to_array(value) for value in result]
