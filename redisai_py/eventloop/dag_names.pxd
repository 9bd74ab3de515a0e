from libc.stdint cimport int32_t

from redis_api cimport RedisModuleString

cdef void forget_names(int most) noexcept nogil
cdef void define_name(RedisModuleString *name, int32_t slot) noexcept nogil
cdef bint claim_name(RedisModuleString *name) noexcept nogil
cdef int32_t slot_of(RedisModuleString *name) noexcept nogil
