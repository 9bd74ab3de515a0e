cimport cython
from core cimport rai_call, rai_job
from libc.stdint cimport int64_t
from redisai_py.worker.loaded_model cimport LoadedModel


@cython.final
cdef class Call:
    cdef rai_call *call
    cdef readonly str function
    cdef readonly list inputs
    cdef readonly int output_count


@cython.final
cdef class Request:
    cdef rai_job *job
    cdef bytes known_signature
    cdef object known_inputs
    cdef readonly int64_t id
    cdef readonly LoadedModel model
    cdef readonly int64_t rows
    cdef readonly double enqueued
    cdef readonly double deadline


cdef Request make_request(rai_job *job)
