cimport cython


@cython.final
cdef class Run:
    cdef public object terminate
    cdef public dict state
    cdef public bint alone
    cdef public int core
    cdef public bint has_room
    cdef public bint away
    cdef public bint wide
    cdef public bint retune
    cdef public bint prefer
    cdef public double started
    cdef public double deadline
    cdef public object overdue
    cdef public object ended
    cdef public object batch
    cdef public list requests
    cdef public object lock
