from core cimport rai_tensor
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef rai_tensor *parse_tensor(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const char **error) noexcept nogil
