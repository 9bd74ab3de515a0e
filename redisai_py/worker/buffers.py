"""Tensors as backends see them: C tensors that support the buffer protocol, and arrays turned into C tensors.

Compiled, with the GIL. What other compiled modules use is declared in ``buffers.pxd``.
"""

import cython
from cython.cimports.core import (
    RAI_BFLOAT16,
    RAI_BOOL,
    RAI_DOUBLE,
    RAI_FLOAT,
    RAI_FLOAT16,
    RAI_INT8,
    RAI_INT16,
    RAI_INT32,
    RAI_INT64,
    RAI_STRING,
    RAI_UINT8,
    RAI_UINT16,
    RAI_UINT32,
    RAI_UINT64,
    rai_dtype_from_name,
    rai_dtype_name,
    rai_dtype_size,
    rai_tensor,
    rai_tensor_index_strings,
    rai_tensor_new,
    rai_tensor_release,
    rai_tensor_retain,
)
from cython.cimports.cpython.buffer import (
    Py_buffer,
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
from cython.cimports.libc.stdint import int64_t, uintptr_t
from cython.cimports.libc.string import memcpy, strstr

from redisai_py.backend import BFLOAT16

# struct-module formats of the dtypes, in their order; STRING has none, BFLOAT16 that of
# redisai_py.backend.BFLOAT16.
FORMATS = cython.declare(
    cython.p_char[14],
    [b"f", b"d", b"b", b"h", b"i", b"l", b"B", b"H", b"?", b"", b"e", b"T{H:bfloat16:}", b"I", b"L"],
)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def dtype_of_format(view: cython.pointer(Py_buffer)) -> cython.int:
    """The dtype that the format of a buffer's elements stands for; -1 for none."""
    size: cython.Py_ssize_t = view.itemsize
    code: cython.char = b"B"[0] if view.format == cython.NULL else view.format[0]
    if code == b"<"[0] or code == b"="[0] or code == b"@"[0]:
        code = view.format[1]
    if code == b"f"[0]:
        return RAI_FLOAT
    if code == b"d"[0]:
        return RAI_DOUBLE
    if code == b"?"[0]:
        return RAI_BOOL
    if code == b"e"[0]:
        return RAI_FLOAT16
    if code == b"b"[0] or code == b"h"[0] or code == b"i"[0] or code == b"l"[0] or code == b"q"[0]:
        return RAI_INT8 if size == 1 else RAI_INT16 if size == 2 else RAI_INT32 if size == 4 else RAI_INT64
    if code == b"B"[0] or code == b"H"[0] or code == b"I"[0] or code == b"L"[0] or code == b"Q"[0]:
        return RAI_UINT8 if size == 1 else RAI_UINT16 if size == 2 else RAI_UINT32 if size == 4 else RAI_UINT64
    if code == b"T"[0] and size == 2 and strstr(view.format, b"H:bfloat16:") != cython.NULL:
        return RAI_BFLOAT16
    return -1


def dtype_of_buffer(view: cython.pointer(Py_buffer)) -> cython.int:
    """The dtype of a buffer's elements; -1 for one that has no counterpart."""
    dtype: cython.int = dtype_of_format(view)
    return dtype if dtype >= 0 and rai_dtype_size(dtype) == view.itemsize else -1


@cython.freelist(256)
@cython.cclass
class Tensor:
    """A stored tensor, as backends see it: read-only, row major, without a copy.

    It supports the buffer protocol, so ``numpy.asarray(tensor)`` shares its
    memory (64-byte aligned, kept alive by the array); STRING tensors have
    ``elements()`` instead.
    """

    def __dealloc__(self):
        rai_tensor_release(self.tensor)

    @property
    def dtype(self) -> str:
        """The dtype's RedisAI name, for example ``FLOAT``."""
        return cython.cast(bytes, rai_dtype_name(self.tensor.dtype)).decode()

    @property
    def shape(self) -> tuple:
        """The dims; empty for a scalar."""
        return tuple([self.tensor.dims[i] for i in range(self.tensor.ndim)])

    @property
    def is_string(self) -> bool:
        return self.tensor.dtype == RAI_STRING

    @property
    def address(self) -> int:
        """Of the C tensor, for cffi."""
        return cython.cast(uintptr_t, self.tensor)

    def elements(self) -> list:
        """The elements of a STRING tensor as bytes, without their NULs, in row-major order."""
        if self.tensor.dtype != RAI_STRING:
            raise TypeError("only STRING tensors have elements")
        return [cython.cast(bytes, self.tensor.data + self.tensor.offsets[i]) for i in range(self.tensor.length)]

    def __getbuffer__(self, view: cython.pointer(Py_buffer), flags: cython.int):
        tensor: cython.pointer(rai_tensor) = self.tensor
        i: cython.int
        stride: cython.Py_ssize_t
        if tensor.dtype == RAI_STRING:
            raise BufferError("a STRING tensor has no buffer; use elements()")
        strides: cython.pointer(cython.Py_ssize_t) = self.strides
        view.internal = cython.NULL
        if tensor.ndim > 8:
            view.internal = PyMem_Malloc(tensor.ndim * cython.sizeof(cython.Py_ssize_t))
            if view.internal == cython.NULL:
                raise MemoryError
            strides = cython.cast(cython.pointer(cython.Py_ssize_t), view.internal)
        stride = rai_dtype_size(tensor.dtype)
        for i in range(tensor.ndim - 1, -1, -1):
            strides[i] = stride
            stride *= tensor.dims[i]
        view.buf = tensor.data
        view.obj = self
        view.len = tensor.byte_length
        view.itemsize = rai_dtype_size(tensor.dtype)
        view.readonly = 1
        view.ndim = tensor.ndim
        view.format = FORMATS[tensor.dtype]
        view.shape = cython.cast(cython.pointer(cython.Py_ssize_t), tensor.dims)
        view.strides = strides
        view.suboffsets = cython.NULL

    def __releasebuffer__(self, view: cython.pointer(Py_buffer)):
        PyMem_Free(view.internal)


def wrap(tensor: cython.pointer(rai_tensor)) -> Tensor:
    """A C tensor, of which this takes a reference."""
    wrapped: Tensor = Tensor.__new__(Tensor)
    wrapped.tensor = rai_tensor_retain(tensor)
    return wrapped


def borrow_tensor(address: uintptr_t) -> Tensor:
    """The same, for Python that is not compiled."""
    return wrap(cython.cast(cython.pointer(rai_tensor), address))


def adopt(tensor: cython.pointer(rai_tensor)) -> Tensor:
    """A C tensor, with a reference that the caller had."""
    wrapped: Tensor = Tensor.__new__(Tensor)
    wrapped.tensor = tensor
    return wrapped


def adopt_tensor(address: uintptr_t) -> Tensor:
    """The same, for Python that is not compiled."""
    return adopt(cython.cast(cython.pointer(rai_tensor), address))


def zeros(dtype: str, shape: tuple) -> Tensor:
    """A new tensor of zeros, or empty strings, as a stored one; raises MemoryError."""
    dims: int64_t[64]
    count: int64_t = 1
    i: cython.int
    name: bytes = dtype.encode()
    tensor: Tensor = Tensor.__new__(Tensor)
    for i in range(len(shape)):
        dims[i] = shape[i]
        count *= dims[i]
    tensor.tensor = rai_tensor_new(rai_dtype_from_name(name, len(name)), len(shape), dims, count, True)
    if tensor.tensor == cython.NULL:
        raise MemoryError("ERR no memory for an input tensor")
    if tensor.tensor.dtype == RAI_STRING:
        rai_tensor_index_strings(tensor.tensor)
    return tensor


@cython.cfunc
def tensor_of_buffer(source: object) -> cython.pointer(rai_tensor):
    """A new C tensor with a copy of a C-contiguous buffer; raises TypeError or BufferError."""
    view: Py_buffer
    dtype: cython.int
    tensor: cython.pointer(rai_tensor) = cython.NULL
    PyObject_GetBuffer(source, cython.address(view), PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    dtype = dtype_of_buffer(cython.address(view))
    if dtype >= 0:
        tensor = rai_tensor_new(dtype, view.ndim, cython.cast(cython.pointer(int64_t), view.shape), 0, False)
        if tensor != cython.NULL:
            memcpy(tensor.data, view.buf, view.len)
    PyBuffer_Release(cython.address(view))
    if dtype < 0:
        raise TypeError("ERR unsupported dtype")
    if tensor == cython.NULL:
        raise MemoryError("ERR no memory for an output tensor")
    return tensor


@cython.cfunc
def tensor_of_strings(source: object) -> cython.pointer(rai_tensor):
    """A new STRING tensor from a numpy array of str or bytes."""
    elements: list = [
        (element.encode() if isinstance(element, str) else bytes(element)) for element in source.ravel().tolist()
    ]
    data: bytes = b"".join([element if element.endswith(b"\0") else element + b"\0" for element in elements])
    shape: tuple = source.shape
    dims: int64_t[64]
    i: cython.int
    tensor: cython.pointer(rai_tensor)
    for i in range(len(shape)):
        dims[i] = shape[i]
    tensor = rai_tensor_new(RAI_STRING, len(shape), dims, len(data), False)
    if tensor == cython.NULL:
        raise MemoryError("ERR no memory for an output tensor")
    memcpy(tensor.data, cython.cast(cython.p_const_char, data), len(data))
    if not rai_tensor_index_strings(tensor):
        rai_tensor_release(tensor)
        raise ValueError("ERR a string element of an output contains a NUL character")
    return tensor


def tensor_of(source: object) -> cython.pointer(rai_tensor):
    """A new C tensor from what a backend returned: an array, or anything with a C-contiguous buffer."""
    if isinstance(source, Tensor):
        return rai_tensor_retain(cython.cast(Tensor, source).tensor)
    try:
        return tensor_of_buffer(source)
    except (TypeError, BufferError, ValueError):
        kind = getattr(getattr(source, "dtype", None), "kind", None)
        if kind is None:
            raise
    if kind in "OSU":
        return tensor_of_strings(source)
    if kind == "V" and source.dtype.name == "bfloat16":  # of ml_dtypes, which has no buffers
        return tensor_of_buffer(source.copy(order="C").view(BFLOAT16))
    if not source.flags.c_contiguous:
        return tensor_of_buffer(source.copy(order="C"))
    raise TypeError("ERR unsupported dtype")


def new_tensor(source: object) -> Tensor:
    """A tensor with a copy of an array; raises TypeError, BufferError, ValueError or MemoryError."""
    wrapped: Tensor = Tensor.__new__(Tensor)
    wrapped.tensor = tensor_of(source)
    return wrapped
