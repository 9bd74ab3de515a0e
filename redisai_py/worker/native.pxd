from libc.stdint cimport uintptr_t
from redisai_py.worker.request cimport Request

# Described in native.py; here is what the compiled loop calls, without objects for numbers.
cpdef tuple take(uintptr_t queue, double deadline)
cpdef tuple take_waiting(uintptr_t queue)
cpdef double due(uintptr_t queue) except -1
cpdef expect(uintptr_t queue, double timeout)
cpdef look(uintptr_t queue)
cpdef int begin_long_run(uintptr_t queue, bint more_work) except? -1
cpdef end_long_run(uintptr_t queue)
cpdef replace_stuck_worker(uintptr_t queue)
cpdef prefer_this_worker(uintptr_t queue)
cpdef begin(list requests, int runs)
cpdef double execution_limit() except -1
cpdef arm_watchdog(double deadline)
cpdef record(list requests, object results, double seconds)
cpdef time_out(Request request)
cpdef bint calls_back(list requests) except -1
cpdef complete(list requests)
cpdef complete_or_push(uintptr_t queue, list requests)
cpdef retune(Request request)
