"""Runners of programs: C or C++ code of a backend that runs a model (module/include/redisai_program.h).

Compiled; everything but the class works without the GIL.
"""

import cython
from cython.cimports.core import (
    RAI_STRING,
    rai_dtype_code,
    rai_dtype_of_code,
    rai_dtype_size,
    rai_run,
    rai_runner,
    rai_tensor,
    rai_tensor_new,
    rai_tensor_release,
)
from cython.cimports.libc.stdint import int32_t, uintptr_t
from cython.cimports.libc.stdlib import free
from cython.cimports.libc.string import memcpy, strdup
from cython.cimports.program import rai_program, rai_view

MOST_INPUTS = cython.declare(cython.int, 64)
MOST_DIMS = cython.declare(cython.int, 64)  # as in numpy, through which the session's Python method goes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take(receiver: cython.p_void, index: int32_t, output: cython.pointer(cython.const[rai_view])) -> cython.int:
    """``rai_take``: copies an output into a new tensor of the run."""
    one: cython.pointer(rai_run) = cython.cast(cython.pointer(rai_run), receiver)
    dtype: int32_t = rai_dtype_of_code(output.code, output.bits)
    tensor: cython.pointer(rai_tensor)
    if index < 0 or index >= one.output_count or one.outputs[index] != cython.NULL:
        return 0
    if dtype < 0 or dtype == RAI_STRING or output.ndim > MOST_DIMS:
        return 0
    tensor = one.outputs[index] = rai_tensor_new(dtype, output.ndim, output.dims, 0, False)
    if tensor == cython.NULL:
        return 0
    memcpy(tensor.data, output.data, tensor.byte_length)
    return 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def view_inputs(one: cython.pointer(rai_run), views: cython.pointer(rai_view)) -> cython.bint:
    """False: programs do not take these."""
    i: int32_t
    tensor: cython.pointer(rai_tensor)
    if one.input_count > MOST_INPUTS:
        return False
    for i in range(one.input_count):
        tensor = one.inputs[i]
        if tensor.dtype == RAI_STRING or tensor.ndim > MOST_DIMS:
            return False
        views[i].code = rai_dtype_code(tensor.dtype)
        views[i].bits = 8 * rai_dtype_size(tensor.dtype)
        views[i].ndim = tensor.ndim
        views[i].dims = tensor.dims
        views[i].data = tensor.data
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run(runner: cython.pointer(rai_runner), stop: cython.p_void, one: cython.pointer(rai_run)) -> cython.int:
    """``rai_runner.run``."""
    program: cython.pointer(rai_program) = cython.cast(cython.pointer(rai_program), runner.state)
    views: rai_view[64]
    done: cython.bint
    i: int32_t
    if not view_inputs(one, views):
        return 0
    done = program.run(program, views, one.input_count, take, one, one.output_count)
    for i in range(one.output_count):
        done = done and one.outputs[i] != cython.NULL
    if done:
        return 1
    for i in range(one.output_count):
        rai_tensor_release(one.outputs[i])
        one.outputs[i] = cython.NULL
    return 0


@cython.final
@cython.cclass
class Runner:
    """A runner for a program, which it keeps alive.

    ``program`` has an attribute ``address``, that of its ``rai_program``; the counts are -1 for any
    number; ``predictable``: the run time follows from the shapes of the inputs; ``function``: of a
    script, None for a model; ``may_wait``: runs divide their work among threads that others use, too.
    """

    runner: rai_runner
    program: object

    def __init__(
        self,
        program: object,
        input_count: int32_t,
        output_count: int32_t,
        predictable: cython.bint,
        function: str | None = None,
        may_wait: cython.bint = False,
    ) -> None:
        address: uintptr_t = program.address
        self.program = program
        self.runner.run = run
        self.runner.state = cython.cast(cython.p_void, address)
        self.runner.input_count = input_count
        self.runner.output_count = output_count
        self.runner.predictable = predictable
        self.runner.may_wait = may_wait
        if function is not None:
            self.runner.function = strdup(function.encode())

    def __dealloc__(self):
        free(cython.cast(cython.p_void, self.runner.function))

    @property
    def address(self) -> int:
        """Of the ``rai_runner``."""
        return cython.cast(uintptr_t, cython.address(self.runner))
