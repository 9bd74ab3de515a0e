from libc.stdint cimport uintptr_t

# Described in runs.py.
cpdef bint run_requests(list requests, bint merged, uintptr_t runner, uintptr_t stop) except -1
