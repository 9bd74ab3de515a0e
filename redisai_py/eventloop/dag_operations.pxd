from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef const char *parse_operations(RedisModuleCtx *ctx, rai_job *owner, RedisModuleString **argv, int argc, int at,
                                  bint in_deprecated, bint in_read_only) noexcept nogil
