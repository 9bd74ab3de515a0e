from redis_api cimport RedisModuleCtx, RedisModuleString

cdef const char *obstacle(RedisModuleCtx *ctx, RedisModuleString **names, int count) noexcept nogil
