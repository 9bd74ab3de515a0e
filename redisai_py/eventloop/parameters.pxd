from redis_api cimport RedisModuleCtx

cdef bint register_parameters(RedisModuleCtx *ctx) noexcept nogil
