from core cimport rai_tensor
from redis_api cimport RedisModuleCtx, RedisModuleKey, RedisModuleString

cdef rai_tensor *parse_tensor(RedisModuleString **argv, int argc, const char **error) noexcept nogil
cdef void store_tensor(RedisModuleKey *key, rai_tensor *tensor) noexcept nogil
cdef void replicate_tensor(RedisModuleCtx *ctx, RedisModuleString *name, rai_tensor *tensor) noexcept nogil
