cimport cython
from core cimport rai_tensor


@cython.final
cdef class Tensor:
    cdef rai_tensor *tensor
    cdef Py_ssize_t strides[8]


cdef Tensor wrap(rai_tensor *tensor)
# A new C tensor from what a backend returned: an array, or anything with a C-contiguous buffer.
cdef rai_tensor *tensor_of(object source) except NULL
