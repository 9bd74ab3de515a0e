cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class LoadedModel:
    cdef readonly str backend
    cdef readonly object session
    cdef readonly object execute
    cdef readonly object execute_natively
    cdef readonly int64_t batch_size
    cdef readonly int64_t min_batch_size
    cdef readonly double min_batch_timeout
    cdef public object line
    cdef readonly bint is_urgent
    cdef readonly LoadedModel urgent
    cdef readonly dict functions
