from core cimport rai_tensor
from redis_api cimport RedisModuleCtx, RedisModuleKey, RedisModuleString

cdef void store_tensor(RedisModuleKey *key, rai_tensor *tensor) noexcept nogil
cdef void replicate_tensor(RedisModuleCtx *ctx, RedisModuleString *name, rai_tensor *tensor) noexcept nogil
cdef const char *parse_formats(RedisModuleString **argv, int argc, int *formats) noexcept nogil
cdef int reply_with_tensor(RedisModuleCtx *ctx, rai_tensor *tensor, int formats) noexcept nogil
