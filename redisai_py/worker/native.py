"""The compiled bridge between workers and the C core, for what every request passes through.

cffi serves the rest of the worker side; here, where a request of a tiny model has
about two microseconds to spare, compiled code reads the C structs directly
(docs/architecture.md has the figures). Everything in this module holds the GIL
except where it waits.
"""

import cython
from cython.cimports.core import (
    RAI_JOB_DAG,
    RAI_JOB_RETUNE,
    RAI_TFLITE,
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
    rai_now_us,
    rai_queue,
    rai_queue_add_gil_wait,
    rai_queue_attentive,
    rai_queue_due,
    rai_queue_expect,
    rai_queue_look,
    rai_queue_occupied,
    rai_queue_prefer_this_worker,
    rai_queue_push,
    rai_queue_settled,
    rai_queue_stuck,
    rai_queue_take,
    rai_queue_take_waiting,
    rai_statistics_add,
    rai_tensor,
    rai_watchdog_arm,
)
from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject
from cython.cimports.libc.stdint import INT64_MAX, int64_t, uintptr_t
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memcpy
from cython.cimports.redisai_py.worker.buffers import tensor_of
from cython.cimports.redisai_py.worker.request import Request, make_request

from redisai_py.worker.errors import error_text, forget_frames

MOST_JOBS = cython.declare(cython.int, 64)  # taken from a queue at a time

MOST_DIMS = cython.declare(cython.int, 64)  # of Python's buffers, and of numpy

TOO_MANY_DIMS = b"ERR models and scripts take tensors of at most 64 dims"
COUNT_OF_INPUTS = b"Number of keys given as INPUTS here does not match model definition"
COUNT_OF_OUTPUTS = b"Number of keys given as OUTPUTS here does not match model definition"


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
def fail_too_many_dims(job: cython.pointer(rai_job)) -> cython.bint:
    """Fails a request with an input that no framework could be given."""
    i: cython.int
    for i in range(job.input_count):
        if job.inputs[i].ndim > MOST_DIMS:
            fail_job(job, TOO_MANY_DIMS)
            return True
    return False


@cython.cfunc
def is_over(job: cython.pointer(rai_job)) -> cython.bint:
    """Whether a job needs no run, but is here to be completed by a worker."""
    if job.kind == RAI_JOB_DAG or job.timed_out or job.error != cython.NULL:
        return True
    return fail_wrong_counts(job) or fail_too_many_dims(job)


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
    at: cython.pointer(rai_queue) = cython.cast(cython.pointer(rai_queue), queue)
    requests: list = []
    if deadline_us <= 0:  # handing the GIL on and getting it back takes several times as long as this
        taken = rai_queue_take(at, jobs, MOST_JOBS, cancelled, MOST_JOBS, cython.address(cancelled_count), 0)
    else:
        with cython.nogil:
            taken = rai_queue_take(
                at, jobs, MOST_JOBS, cancelled, MOST_JOBS, cython.address(cancelled_count), deadline_us
            )
            taken_at = rai_now_us()
        rai_queue_add_gil_wait(at, rai_now_us() - taken_at)
        rai_queue_settled()
    for i in range(taken):
        if is_over(jobs[i]):
            complete_jobs(cython.address(jobs[i]), 1)
        else:
            requests.append(make_request(jobs[i]))
    return requests, [cancelled[i] for i in range(cancelled_count)]


def due(queue: uintptr_t) -> float:
    """When the watchdog is to look for requests whose TIMEOUT has passed; monotonic seconds, or infinity."""
    due_us: int64_t = rai_queue_due(cython.cast(cython.pointer(rai_queue), queue))
    return float("inf") if due_us == INT64_MAX else due_us * 1e-6


def expect(queue: uintptr_t, timeout: cython.double) -> None:
    """A TIMEOUT passes then; infinity: none does."""
    if timeout < 1e12:
        rai_queue_expect(cython.cast(cython.pointer(rai_queue), queue), cython.cast(int64_t, timeout * 1e6))


def take_waiting(queue: uintptr_t) -> tuple:
    """The same for the watchdog, who does not wait, and leaves jobs that call somebody back to workers."""
    at: cython.pointer(rai_queue) = cython.cast(cython.pointer(rai_queue), queue)
    jobs: cython.pointer(rai_job)[64]
    cancelled: int64_t[64]
    cancelled_count: int64_t = 0
    i: int64_t
    taken: int64_t = rai_queue_take_waiting(at, jobs, MOST_JOBS, cancelled, MOST_JOBS, cython.address(cancelled_count))
    requests: list = []
    for i in range(taken):
        if not is_over(jobs[i]):
            requests.append(make_request(jobs[i]))
        elif jobs[i].calls_back:
            rai_queue_push(at, jobs[i])
        else:
            complete_jobs(cython.address(jobs[i]), 1)
    return requests, [cancelled[i] for i in range(cancelled_count)]


def complete_or_push(queue: uintptr_t, requests: list) -> None:
    """Answers clients, and gives requests that call somebody back to a worker again; the requests are spent."""
    job: cython.pointer(rai_job)
    for request in requests:
        job = cython.cast(Request, request).job
        cython.cast(Request, request).job = cython.NULL
        if job.calls_back:
            rai_queue_push(cython.cast(cython.pointer(rai_queue), queue), job)
        else:
            complete_jobs(cython.address(job), 1)


def look(queue: uintptr_t) -> None:
    """Has a worker, when one can, look at the scheduler."""
    rai_queue_look(cython.cast(cython.pointer(rai_queue), queue))


def begin_long_run(queue: uintptr_t, more_work: cython.bint) -> cython.int:
    """Tells the queue that this worker will be away: another one is woken or started if need be.

    Returns the core that the worker is on; -1: unknown.
    """
    return rai_queue_occupied(cython.cast(cython.pointer(rai_queue), queue), more_work)


def replace_stuck_worker(queue: uintptr_t) -> None:
    """Called by another thread for a worker whose run was expected to be short and is not."""
    rai_queue_stuck(cython.cast(cython.pointer(rai_queue), queue), True)


def end_long_run(queue: uintptr_t) -> None:
    rai_queue_attentive(cython.cast(cython.pointer(rai_queue), queue))


def prefer_this_worker(queue: uintptr_t) -> None:
    """Has the queue wake the calling thread, when it sleeps, before its others."""
    rai_queue_prefer_this_worker(cython.cast(cython.pointer(rai_queue), queue))


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


def calls_back(requests: list) -> cython.bint:
    """Whether ``complete`` calls another module, which may take its time."""
    for request in requests:
        if cython.cast(Request, request).job.calls_back:
            return True
    return False


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
