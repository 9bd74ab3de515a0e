from redis_api cimport RedisModuleCtx, RedisModuleString

cdef void notify(RedisModuleCtx *ctx, const char *event, RedisModuleString *key) noexcept nogil
cdef void notify_deleted(RedisModuleCtx *ctx, const char *event, RedisModuleString *key) noexcept nogil
