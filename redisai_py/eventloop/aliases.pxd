from redis_api cimport RedisModuleCtx

cdef bint register_alias_type(RedisModuleCtx *ctx) noexcept nogil
