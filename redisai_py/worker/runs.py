"""What runs in C: models by their runners, and the joining and dividing of batches (module/src/runner.c, merging.c).

Compiled; the GIL is released for what takes time.
"""

import cython
from cython.cimports.core import (
    RAI_STRING,
    rai_divide_output,
    rai_job,
    rai_join_inputs,
    rai_now_us,
    rai_queue_add_gil_wait,
    rai_run,
    rai_run_jobs,
    rai_runner,
    rai_tensor,
    rai_tensor_release,
)
from cython.cimports.cpython.buffer import (
    Py_buffer,
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
from cython.cimports.libc.stdint import int64_t, uintptr_t
from cython.cimports.redis_api import RedisModule_Free
from cython.cimports.redisai_py.worker.buffers import adopt, dtype_of_buffer, tensor_of, wrap
from cython.cimports.redisai_py.worker.request import Request

from redisai_py.backend import BackendError


@cython.cfunc
def jobs_of(requests: list) -> cython.pointer(cython.pointer(rai_job)):
    """Their jobs, to be freed with PyMem_Free; raises MemoryError."""
    i: cython.int
    count: cython.int = len(requests)
    jobs: cython.pointer(cython.pointer(rai_job)) = cython.cast(
        cython.pointer(cython.pointer(rai_job)), PyMem_Malloc(count * cython.sizeof(cython.p_void))
    )
    if jobs == cython.NULL:
        raise MemoryError
    for i in range(count):
        jobs[i] = cython.cast(Request, requests[i]).job
    return jobs


# ---- runners ---------------------------------------------------------------------------


def run_requests(requests: list, merged: cython.bint, runner: uintptr_t, stop: uintptr_t) -> bool:
    """Runs requests of one model by its runner, without the GIL; what comes out of it is in their jobs.

    ``runner`` and ``stop`` are addresses, the latter may be 0 (``rai_runner`` in runner.h).
    False when the runner declined one of them: they are to be run by the session's Python method.
    """
    done: cython.int
    ended: int64_t
    count: cython.int = len(requests)
    jobs: cython.pointer(cython.pointer(rai_job)) = jobs_of(requests)
    with cython.nogil:
        done = rai_run_jobs(
            cython.cast(cython.pointer(rai_runner), runner), cython.cast(cython.p_void, stop), jobs, count, merged
        )
        ended = rai_now_us()
    rai_queue_add_gil_wait(jobs[0].model.queue, rai_now_us() - ended)
    PyMem_Free(jobs)
    return done != 0


def run_arrays(inputs: list, runner: uintptr_t, stop: uintptr_t) -> list:
    """Runs a model once by its runner, which never declines: a list of tensors or arrays in, a list of tensors out.

    Raises BackendError.
    """
    made: cython.pointer(rai_runner) = cython.cast(cython.pointer(rai_runner), runner)
    tensors: cython.pointer(rai_tensor)[128]
    one: rai_run
    input_count: cython.int = made.input_count
    output_count: cython.int = made.output_count
    i: cython.int
    if len(inputs) != input_count:
        raise BackendError(f"ERR Expected {input_count} inputs but got {len(inputs)}")
    if input_count + output_count > 128:
        raise BackendError("ERR too many inputs and outputs")
    for i in range(input_count + output_count):
        tensors[i] = cython.NULL
    one.input_count = input_count
    one.output_count = output_count
    one.inputs = tensors
    one.outputs = tensors + input_count
    one.error = cython.NULL
    outputs: list = []
    try:
        for i in range(input_count):
            tensors[i] = tensor_of(inputs[i])
        with cython.nogil:
            made.run(made, cython.cast(cython.p_void, stop), cython.address(one))
        if one.error != cython.NULL:
            raise BackendError(cython.cast(bytes, one.error).decode(errors="replace"))
        outputs = [wrap(tensors[input_count + i]) for i in range(output_count)]
    finally:
        RedisModule_Free(one.error)
        for i in range(input_count + output_count):
            rai_tensor_release(tensors[i])
    return outputs


# ---- batches ---------------------------------------------------------------------------


def join_inputs(requests: list) -> list | None:
    """The inputs of requests that fit together, concatenated along the first dimension; None for strings.

    Raises MemoryError.
    """
    count: int64_t = len(requests)
    first: cython.pointer(rai_job) = cython.cast(Request, requests[0]).job
    jobs: cython.pointer(cython.pointer(rai_job))
    tensor: cython.pointer(rai_tensor)
    i: cython.int
    for i in range(first.input_count):
        if first.inputs[i].dtype == RAI_STRING:
            return None
    joined: list = []
    jobs = jobs_of(requests)
    try:
        for i in range(first.input_count):
            with cython.nogil:
                tensor = rai_join_inputs(jobs, count, i)
            if tensor == cython.NULL:
                raise MemoryError("ERR no memory for a batch")
            joined.append(adopt(tensor))
    finally:
        PyMem_Free(jobs)
    return joined


@cython.cfunc
def divide_output(
    jobs: cython.pointer(cython.pointer(rai_job)), count: int64_t, position: cython.int, output: object
) -> cython.bint:
    """Gives each job its rows of one output; false, with nothing done, for one whose memory is not to be read."""
    view: Py_buffer
    dtype: cython.int
    divided: cython.int = 0
    rows: int64_t = 0
    i: int64_t
    if not PyObject_CheckBuffer(output):
        return False
    try:
        PyObject_GetBuffer(output, cython.address(view), PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, ValueError):
        return False
    for i in range(count):
        rows += jobs[i].inputs[0].dims[0]
    # A backend's object may call its shape what it likes: what counts is the memory.
    dtype = dtype_of_buffer(cython.address(view)) if view.ndim > 0 and view.shape[0] == rows else -1
    if dtype >= 0:
        with cython.nogil:
            divided = rai_divide_output(
                dtype, view.ndim, cython.cast(cython.pointer(int64_t), view.shape), view.buf, jobs, count, position
            )
    PyBuffer_Release(cython.address(view))
    if dtype >= 0 and not divided:
        raise MemoryError("ERR no memory for an output tensor")
    return dtype >= 0


def divide_outputs(requests: list, outputs: list) -> cython.bint:
    """Gives each request its rows of every output, None being nobody's.

    The outputs have as many rows as the requests together. False, with nothing done, when one of them
    has to be converted first, or when there are not as many as each request wants. Raises MemoryError.
    """
    count: int64_t = len(requests)
    i: int64_t
    position: cython.int
    given: cython.bint = True
    jobs: cython.pointer(cython.pointer(rai_job))
    if len(outputs) != cython.cast(Request, requests[0]).job.output_count:
        return False
    jobs = jobs_of(requests)
    try:
        for position in range(len(outputs)):
            if outputs[position] is not None and not divide_output(jobs, count, position, outputs[position]):
                given = False
                break
    except BaseException:
        given = False
        raise
    finally:
        for i in range(0 if given else count):
            for position in range(jobs[i].output_count):
                rai_tensor_release(jobs[i].outputs[position])
                jobs[i].outputs[position] = cython.NULL
        PyMem_Free(jobs)
    return given
