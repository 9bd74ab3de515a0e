cimport cython
from core cimport rai_tensor
from cpython.buffer cimport Py_buffer


@cython.final
cdef class Tensor:
    cdef rai_tensor *tensor
    cdef Py_ssize_t strides[8]


cdef Tensor wrap(rai_tensor *tensor)
cdef Tensor adopt(rai_tensor *tensor)
# The dtype of a buffer's elements; -1 for one that has no counterpart.
cdef int dtype_of_buffer(Py_buffer *view) noexcept
# A new C tensor from what a backend returned: an array, or anything with a C-contiguous buffer.
cdef rai_tensor *tensor_of(object source) except NULL
