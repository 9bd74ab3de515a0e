cimport cython
from libc.stdint cimport int64_t
from redisai_py.worker.loaded_model cimport LoadedModel
from redisai_py.worker.request cimport Request as WorkerRequest

cdef double SHORT
cdef double SHORT_ON_GPU
cdef int SHORT_WORKERS_ON_GPU
cdef double TINY
cdef double TURN
cdef double LONG_TURN
cdef double SMOOTHING
cdef double FIT_SMOOTHING
cdef int SOLITARY


@cython.final
cdef class Batch:
    cdef readonly LoadedModel model
    cdef readonly list requests
    cdef readonly bint merged
    cdef readonly double expected
    cdef readonly bint is_long
    cdef readonly bint has_more


@cython.final
cdef class _Cost:
    cdef double rows
    cdef double seconds
    cdef double rows_rows
    cdef double rows_seconds
    cdef double weight

    cdef add(self, double rows, double seconds)
    cdef bint is_mostly_fixed(self) except -1


@cython.final
cdef class _Line:
    cdef object waiting
    cdef bint in_turn
    cdef int running
    cdef int long_turns
    cdef double seconds
    cdef _Cost cost


@cython.final
cdef class Scheduler:
    cdef int _workers
    cdef int _cores
    cdef double _short
    cdef int _short_workers
    cdef object _turns
    cdef object _urgent_turns
    cdef list _deadlines
    cdef dict _open
    cdef int _running
    cdef int64_t _solitary

    @cython.locals(line=_Line)
    cpdef push(self, WorkerRequest request)
    @cython.locals(request=WorkerRequest, line=_Line)
    cpdef WorkerRequest cancel(self, int64_t request_id)
    cpdef list expired(self, double now)
    cpdef Batch next(self, double now)
    @cython.locals(model=LoadedModel, line=_Line, batch=Batch)
    cdef Batch _next_of(self, turns, double now)
    cpdef bint leaves_cores_idle(self) except -1
    cpdef bint leaves_room(self) except -1
    cpdef double next_deadline(self) except -1
    cpdef double wake_at(self) except -1
    @cython.locals(model=LoadedModel, line=_Line, request=WorkerRequest, ripe=double)
    cpdef double ripe_at(self) except -1
    @cython.locals(model=LoadedModel, line=_Line)
    cpdef bint has_ready(self, double now) except -1
    @cython.locals(line=_Line, request=WorkerRequest, latest=double)
    cpdef finished(self, Batch batch, double seconds, int runs, bint wide=*)
    @cython.locals(line=_Line)
    cpdef overdue(self, Batch batch, double seconds)
    cdef bint _is_short(self, _Line line) except -1
    cdef int _limit(self, LoadedModel model, _Line line) except -1
    cdef bint _fills_a_turn(self, LoadedModel model, _Line line) except -1
    @cython.locals(count=cython.int, requests=list, request=WorkerRequest, expected=double, merged=bint)
    cdef Batch _collect(self, LoadedModel model, _Line line, double now)
    @cython.locals(waiting=cython.int, seconds=double, is_short=bint)
    cdef int _share(self, LoadedModel model, _Line line) except -1
    @cython.locals(first=WorkerRequest, rows=int64_t, members=list, request=WorkerRequest, is_full=bint)
    cdef list _members(self, LoadedModel model, _Line line, double now)
    cdef list _members_behind(self, LoadedModel model, _Line line, double now)


cdef _take(_Line line, list members)
cdef bint _runs_alone(LoadedModel model, WorkerRequest request) except -1
cdef bint _min_batch_timed_out(LoadedModel model, WorkerRequest first, double now) except -1
