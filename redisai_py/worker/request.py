"""Requests as workers see them: executions that clients wait for, read from the C jobs.

Compiled, with the GIL. What other compiled modules use is declared in ``request.pxd``.
"""

import cython
from cython.cimports.core import RAI_ABANDONED, rai_call, rai_job, rai_names, rai_tensor
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import int64_t, uintptr_t
from cython.cimports.redisai_py.worker.buffers import wrap


@cython.cfunc
def signature_of(job: cython.pointer(rai_job)) -> bytes:
    """dtype, number of dims and all dims but the first of each input, as raw integers."""
    length: cython.Py_ssize_t = 0
    i: cython.int
    j: cython.int
    tensor: cython.pointer(rai_tensor)
    for i in range(job.input_count):
        length += 1 + (job.inputs[i].ndim if job.inputs[i].ndim > 0 else 1)
    signature: bytes = PyBytes_FromStringAndSize(cython.NULL, length * cython.sizeof(int64_t))
    at: cython.pointer(int64_t) = cython.cast(cython.pointer(int64_t), cython.cast(cython.p_char, signature))
    for i in range(job.input_count):
        tensor = job.inputs[i]
        at[0] = tensor.dtype
        at[1] = tensor.ndim
        at += 2
        for j in range(1, tensor.ndim):
            at[0] = tensor.dims[j]
            at += 1
    return signature


@cython.cfunc
def names_of(names: cython.pointer(rai_names)) -> list:
    if names == cython.NULL:
        return []
    return [names.items[i].data[: names.items[i].length] for i in range(names.count)]


@cython.freelist(64)
@cython.cclass
class Call:
    """The execution of a script's function, as its session gets it (``redisai_py.backend.Call``).

    It belongs to a request, and may be used until that is answered.
    """

    @property
    def keys(self) -> list:
        return names_of(self.call.keys)

    @property
    def args(self) -> list:
        return names_of(self.call.args)

    @property
    def lists(self) -> list:
        """How many of the last inputs belong to each list of LIST_INPUTS."""
        return [self.call.list_lengths[i] for i in range(self.call.list_count)]

    @property
    def address(self) -> int:
        """Of the C struct, for cffi."""
        return cython.cast(uintptr_t, self.call)


@cython.cfunc
def name_of_function(call: cython.pointer(rai_call)) -> str:
    return call.function.data[: call.function.length].decode("utf-8", "surrogateescape")


@cython.cfunc
def make_call(job: cython.pointer(rai_job), inputs: list) -> Call:
    call: Call = Call.__new__(Call)
    call.call = job.call
    call.function = name_of_function(job.call)
    call.inputs = inputs
    call.output_count = job.output_count
    return call


@cython.freelist(256)
@cython.cclass
class Request:
    """One execution that a client waits for.

    ``model`` is the loaded model (``redisai_py.worker.loaded_model.LoadedModel``),
    ``inputs`` the stored tensors or, for a script, a ``Call``, ``rows`` the first dimension that all inputs
    share (0: there is none), ``enqueued`` and ``deadline`` monotonic seconds
    (deadline: infinity without TIMEOUT).
    """

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer, and it should not begin; false once it is answered."""
        return self.job != cython.NULL and self.job.cancelled != 0

    @property
    def abandoned(self) -> bool:
        """Whether the client is gone, and the run should end; false once it is answered."""
        return self.job != cython.NULL and self.job.cancelled == RAI_ABANDONED

    @property
    def inputs(self):
        """The tensors, or the call; made when first asked for, which is never where a model runs without Python."""
        if self.known_inputs is None:
            tensors: list = [wrap(self.job.inputs[i]) for i in range(self.job.input_count)]
            self.known_inputs = tensors if self.job.call == cython.NULL else make_call(self.job, tensors)
        return self.known_inputs

    def signature(self) -> bytes:
        """What requests must have in common to run as one batch: dtypes and all dims but the first."""
        if self.known_signature is None:
            self.known_signature = signature_of(self.job)
        return self.known_signature


def make_request(job: cython.pointer(rai_job)) -> Request:
    """The request of a job, which has a model with a session."""
    request: Request = Request.__new__(Request)
    tensor: cython.pointer(rai_tensor)
    rows: int64_t = 0
    i: cython.int
    for i in range(job.input_count):
        tensor = job.inputs[i]
        if tensor.ndim == 0 or (i > 0 and tensor.dims[0] != rows):
            rows = -1
        elif rows >= 0:
            rows = tensor.dims[0]
    request.job = job
    request.id = job.id
    request.model = cython.cast(object, cython.cast(cython.pointer(PyObject), job.model.session))
    if job.call != cython.NULL:
        request.model = request.model.functions.get(name_of_function(job.call), request.model)
    if job.urgent:
        request.model = request.model.urgent
    request.rows = rows if rows > 0 and not job.in_place else 0  # who waits in place does not wait for others
    request.enqueued = job.enqueued_us * 1e-6
    request.deadline = request.enqueued + job.timeout_ms * 1e-3 if job.timeout_ms > 0 else float("inf")
    return request
