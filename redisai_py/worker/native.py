"""The compiled bridge between workers and the C core, for what every request passes through.

cffi serves the rest of the worker side; here, where a request of a tiny model has
about two microseconds to spare, compiled code reads the C structs directly
(docs/architecture.md has the figures). Everything in this module holds the GIL
except where it waits.
"""

import cython
from cython.cimports.core import (
    RAI_ABANDONED,
    RAI_JOB_DAG,
    RAI_JOB_RETUNE,
    RAI_TFLITE,
    rai_call,
    rai_config,
    rai_control_queue,
    rai_job,
    rai_job_fail,
    rai_job_new,
    rai_job_spawn,
    rai_jobs_begin,
    rai_jobs_complete,
    rai_latency_add,
    rai_model,
    rai_model_loaded,
    rai_names,
    rai_now_us,
    rai_queue,
    rai_queue_add_gil_wait,
    rai_queue_attentive,
    rai_queue_occupied,
    rai_queue_take,
    rai_run_jobs,
    rai_runner,
    rai_statistics_add,
    rai_tensor,
    rai_tensor_release,
    rai_watchdog_arm,
)
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject
from cython.cimports.libc.stdint import INT64_MAX, int64_t, uintptr_t
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memcpy
from cython.cimports.redis_api import RedisModule_Free
from cython.cimports.redisai_py.worker.buffers import tensor_of, wrap

from redisai_py.backend import BackendError
from redisai_py.worker.errors import error_text, forget_frames

MOST_JOBS = cython.declare(cython.int, 64)  # taken from a queue at a time

COUNT_OF_INPUTS = b"Number of keys given as INPUTS here does not match model definition"
COUNT_OF_OUTPUTS = b"Number of keys given as OUTPUTS here does not match model definition"


@cython.cfunc
def signature_of(tensor: cython.pointer(rai_tensor)) -> tuple:
    return tensor.dtype, tuple([tensor.dims[i] for i in range(1, tensor.ndim)])


# ---- requests ---------------------------------------------------------------------


@cython.cfunc
def names_of(names: cython.pointer(rai_names)) -> list:
    if names == cython.NULL:
        return []
    return [names.items[i].data[: names.items[i].length] for i in range(names.count)]


@cython.final
@cython.freelist(64)
@cython.cclass
class Call:
    """The execution of a script's function, as its session gets it (``redisai_py.backend.Call``).

    It belongs to a request, and may be used until that is answered.
    """

    call: cython.pointer(rai_call)
    function = cython.declare(str, visibility="readonly")
    inputs = cython.declare(list, visibility="readonly")
    output_count = cython.declare(cython.int, visibility="readonly")

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


@cython.final
@cython.freelist(256)
@cython.cclass
class Request:
    """One execution that a client waits for.

    ``model`` is the loaded model (``redisai_py.worker.models.LoadedModel``),
    ``inputs`` the stored tensors or, for a script, a ``Call``, ``rows`` the first dimension that all inputs
    share (0: there is none), ``enqueued`` and ``deadline`` monotonic seconds
    (deadline: infinity without TIMEOUT).
    """

    job: cython.pointer(rai_job)
    known_signature: tuple
    known_inputs: object
    id = cython.declare(int64_t, visibility="readonly")
    model = cython.declare(object, visibility="readonly")
    rows = cython.declare(int64_t, visibility="readonly")
    enqueued = cython.declare(cython.double, visibility="readonly")
    deadline = cython.declare(cython.double, visibility="readonly")

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

    def signature(self) -> tuple:
        """What requests must have in common to run as one batch: dtypes and all dims but the first."""
        if self.known_signature is None:
            self.known_signature = tuple([signature_of(self.job.inputs[i]) for i in range(self.job.input_count)])
        return self.known_signature


@cython.cfunc
def make_request(job: cython.pointer(rai_job)) -> Request:
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


@cython.cfunc
@cython.inline
def fail_job(job: cython.pointer(rai_job), text: bytes) -> cython.void:
    rai_job_fail(job, text, len(text))


@cython.cfunc
def fail_wrong_count(job: cython.pointer(rai_job), what: cython.p_const_char, expected: int64_t, given: int64_t):
    """The error of another module's run, which is checked by no parser: that of the backend."""
    text: cython.char[128]
    if job.model.backend == RAI_TFLITE:
        snprintf(text, cython.sizeof(text), b"Inconsistent number of %s", what)
    else:
        snprintf(text, cython.sizeof(text), b"ERR Expected %lld %s but got %lld", expected, what, given)
    fail_job(job, text)


@cython.cfunc
def fail_wrong_counts(job: cython.pointer(rai_job)) -> cython.bint:
    """Fails a request whose model's signature was not known, or not looked at, and that does not fit it."""
    checked_late: cython.bint = job.client != cython.NULL or job.dag != cython.NULL
    if job.call != cython.NULL:
        return False
    if job.input_count != job.model.inputs.count:
        if checked_late:
            fail_job(job, COUNT_OF_INPUTS)
        else:
            fail_wrong_count(job, b"inputs", job.model.inputs.count, job.input_count)
    elif job.output_count != job.model.outputs.count:
        if checked_late:
            fail_job(job, COUNT_OF_OUTPUTS)
        else:
            fail_wrong_count(job, b"outputs", job.model.outputs.count, job.output_count)
    else:
        return False
    return True


@cython.cfunc
def is_over(job: cython.pointer(rai_job)) -> cython.bint:
    """Whether a job needs no run, but is here to be completed by a worker."""
    return job.kind == RAI_JOB_DAG or job.error != cython.NULL or fail_wrong_counts(job)


@cython.cfunc
def complete_jobs(jobs: cython.pointer(cython.pointer(rai_job)), count: cython.int):
    """Answers; without the GIL if somebody is called back, who may wait for those that need it."""
    i: cython.int
    for i in range(count):
        if jobs[i].calls_back:
            with cython.nogil:
                rai_jobs_complete(jobs, count)
            return
    rai_jobs_complete(jobs, count)


def take(queue: uintptr_t, deadline: cython.double) -> tuple:
    """Waits for work: ``(requests, ids of cancelled requests)``.

    ``deadline`` is in monotonic seconds: 0 does not wait, infinity waits for ever.
    """
    jobs: cython.pointer(rai_job)[64]
    cancelled: int64_t[64]
    cancelled_count: int64_t = 0
    taken: int64_t
    taken_at: int64_t
    i: int64_t
    deadline_us: int64_t = INT64_MAX if deadline > 1e12 else cython.cast(int64_t, deadline * 1e6)
    requests: list = []
    with cython.nogil:
        taken = rai_queue_take(
            cython.cast(cython.pointer(rai_queue), queue),
            jobs,
            MOST_JOBS,
            cancelled,
            MOST_JOBS,
            cython.address(cancelled_count),
            deadline_us,
        )
        taken_at = rai_now_us()
    rai_queue_add_gil_wait(cython.cast(cython.pointer(rai_queue), queue), rai_now_us() - taken_at)
    for i in range(taken):
        if is_over(jobs[i]):
            complete_jobs(cython.address(jobs[i]), 1)
        else:
            requests.append(make_request(jobs[i]))
    return requests, [cancelled[i] for i in range(cancelled_count)]


def begin_long_run(queue: uintptr_t, more_work: cython.bint) -> None:
    """Tells the queue that this worker will be away: another one is woken or started if need be."""
    rai_queue_occupied(cython.cast(cython.pointer(rai_queue), queue), more_work)


def end_long_run(queue: uintptr_t) -> None:
    rai_queue_attentive(cython.cast(cython.pointer(rai_queue), queue))


def begin(requests: list, runs: cython.int) -> None:
    """Records that the requests of a batch begin to run; ``runs`` is how often their session is called for them."""
    jobs: cython.pointer(rai_job)[256]
    count: cython.int = 0
    for request in requests:
        jobs[count] = cython.cast(Request, request).job
        count += 1
        if count == 256:
            rai_jobs_begin(jobs, count, runs)
            count = 0
            runs = 0
    if count > 0:
        rai_jobs_begin(jobs, count, runs)


def execution_limit() -> float:
    """MODEL_EXECUTION_TIMEOUT: seconds that one call of a backend may take."""
    return rai_config().model_execution_timeout_ms * 1e-3


def arm_watchdog(deadline: cython.double) -> None:
    """Has the watchdog look at the runs at ``deadline`` (monotonic seconds) at the latest."""
    rai_watchdog_arm(cython.cast(int64_t, deadline * 1e6))


@cython.cfunc
def succeed(request: Request, outputs: list, seconds: cython.double):
    """Records a request's outputs; None is an output that the model did not produce as a tensor.

    Raises what the conversion of an output raises; the request is then still open.
    """
    job: cython.pointer(rai_job) = request.job
    i: cython.int
    if len(outputs) != job.output_count:
        raise ValueError("ERR Model did not generate the expected number of outputs")
    for i in range(job.output_count):
        if outputs[i] is not None:
            job.outputs[i] = tensor_of(outputs[i])
    count_success(job, seconds)


@cython.cfunc
@cython.inline
def count_success(job: cython.pointer(rai_job), seconds: cython.double) -> cython.void:
    first: cython.pointer(rai_tensor) = job.outputs[0] if job.output_count > 0 else cython.NULL
    samples: int64_t = 0
    if first != cython.NULL:
        samples = first.dims[0] if first.ndim > 0 else 1
    if not job.in_place:
        rai_statistics_add(job.model, False, cython.cast(int64_t, seconds * 1e6), samples)


def record(requests: list, results: object, seconds: cython.double) -> None:
    """Records one result for each request: its outputs, or the exception that its run raised.

    ``seconds`` is the run time that each of them counts. ``results`` is None when a
    runner has put outputs and errors into the jobs.
    """
    if results is None:
        record_jobs(requests, seconds)
        return
    for request, result in zip(requests, results):
        count_time(cython.cast(Request, request).job, seconds)
        if isinstance(result, BaseException):
            fail(request, error_text(result))
            forget_frames(result)
            continue
        try:
            succeed(request, result, seconds)
        except BaseException as error:  # what cannot be converted becomes the request's error
            fail(request, error_text(error))


@cython.cfunc
@cython.inline
def count_time(job: cython.pointer(rai_job), seconds: cython.double) -> cython.void:
    rai_latency_add(job.model.latency, job.begun_us - job.ready_us, cython.cast(int64_t, seconds * 1e6 + 0.5))


@cython.cfunc
def record_jobs(requests: list, seconds: cython.double):
    job: cython.pointer(rai_job)
    for request in requests:
        job = cython.cast(Request, request).job
        count_time(job, seconds)
        if job.error != cython.NULL:
            if not job.in_place:
                rai_statistics_add(job.model, True, 0, 0)
        else:
            count_success(job, seconds)


@cython.cfunc
def fail(request: Request, text: bytes):
    """Records a failed run; ``text`` is the whole error, with its code."""
    fail_job(request.job, text)
    if not request.job.in_place:
        rai_statistics_add(request.job.model, True, 0, 0)


def time_out(request: Request) -> None:
    """Records that the request's TIMEOUT passed before it ran."""
    request.job.timed_out = 1


def complete(requests: list) -> None:
    """Answers the clients of requests whose result is recorded; the requests are spent."""
    jobs: cython.pointer(rai_job)[256]
    count: cython.int = 0
    for request in requests:
        jobs[count] = cython.cast(Request, request).job
        cython.cast(Request, request).job = cython.NULL  # from here on it belongs to the event loop
        count += 1
        if count == 256:
            complete_jobs(jobs, count)
            count = 0
    complete_jobs(jobs, count)


# ---- runners (module/src/runner.c) -----------------------------------------------------


def run_requests(requests: list, merged: cython.bint, runner: uintptr_t, stop: uintptr_t) -> None:
    """Runs requests of one model by its runner, without the GIL; what comes out of it is in their jobs.

    ``runner`` and ``stop`` are addresses, the latter may be 0 (``rai_runner`` in core.h).
    """
    count: cython.int = len(requests)
    i: cython.int
    jobs: cython.pointer(cython.pointer(rai_job)) = cython.cast(
        cython.pointer(cython.pointer(rai_job)), PyMem_Malloc(count * cython.sizeof(cython.p_void))
    )
    if jobs == cython.NULL:
        raise MemoryError
    for i in range(count):
        jobs[i] = cython.cast(Request, requests[i]).job
    with cython.nogil:
        rai_run_jobs(
            cython.cast(cython.pointer(rai_runner), runner), cython.cast(cython.p_void, stop), jobs, count, merged
        )
    PyMem_Free(jobs)


def run_arrays(inputs: list, runner: uintptr_t, stop: uintptr_t) -> list:
    """Runs a model once by its runner: a list of tensors or arrays in, a list of tensors out; raises BackendError."""
    made: cython.pointer(rai_runner) = cython.cast(cython.pointer(rai_runner), runner)
    tensors: cython.pointer(rai_tensor)[128]
    error: cython.p_char = cython.NULL
    input_count: cython.int = made.input_count
    output_count: cython.int = made.output_count
    i: cython.int
    if len(inputs) != input_count:
        raise BackendError(f"ERR Expected {input_count} inputs but got {len(inputs)}")
    if input_count + output_count > 128:
        raise BackendError("ERR too many inputs and outputs")
    for i in range(input_count + output_count):
        tensors[i] = cython.NULL
    outputs: list = []
    try:
        for i in range(input_count):
            tensors[i] = tensor_of(inputs[i])
        with cython.nogil:
            error = made.run(made, cython.cast(cython.p_void, stop), tensors, tensors + input_count)
        if error != cython.NULL:
            raise BackendError(cython.cast(bytes, error).decode(errors="replace"))
        outputs = [wrap(tensors[input_count + i]) for i in range(output_count)]
    finally:
        RedisModule_Free(error)
        for i in range(input_count + output_count):
            rai_tensor_release(tensors[i])
    return outputs


# ---- sessions ------------------------------------------------------------------------


def publish(model: uintptr_t, loaded: object) -> None:
    """Gives a model its loaded form, and releases the executions that waited for it."""
    Py_INCREF(loaded)
    rai_model_loaded(cython.cast(cython.pointer(rai_model), model), cython.cast(cython.p_void, loaded), cython.NULL, 0)


def publish_failure(model: uintptr_t, error: bytes) -> None:
    """Marks a model as failed, and answers the executions that waited for it with the error."""
    rai_model_loaded(cython.cast(cython.pointer(rai_model), model), cython.NULL, error, len(error))


def session_of(model: uintptr_t) -> object:
    """The loaded form of a model, which has one."""
    session: cython.p_void = cython.cast(cython.pointer(rai_model), model).session
    return cython.cast(object, cython.cast(cython.pointer(PyObject), session))


def retune(request: Request) -> None:
    """Has the control worker call ``session.retune`` for the request's model."""
    retune_model(cython.cast(uintptr_t, request.job.model))


def retune_model(model: uintptr_t) -> None:
    """The same for a model that a script ran."""
    rai_job_spawn(rai_job_new(RAI_JOB_RETUNE, cython.cast(cython.pointer(rai_model), model), 0, 0), rai_control_queue())


def drop(session: uintptr_t) -> object:
    """Takes over the reference to a loaded model that no C model holds any more."""
    loaded: object = cython.cast(object, cython.cast(cython.pointer(PyObject), session))
    Py_DECREF(loaded)
    return loaded


def copy_bytes(address: uintptr_t, length: cython.Py_ssize_t) -> bytes:
    """A bytes object with a copy of C memory, made without holding the GIL."""
    copy: bytes = PyBytes_FromStringAndSize(cython.NULL, length)
    target: cython.p_char = cython.cast(cython.p_char, copy)
    with cython.nogil:
        memcpy(target, cython.cast(cython.p_const_void, address), length)
    return copy
