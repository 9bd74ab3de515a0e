from redis_api cimport RedisModuleCtx

cdef bint register_tensor_type(RedisModuleCtx *ctx) noexcept nogil
