from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef rai_job *script_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bint deprecated,
                        RedisModuleString **names, const char **error) noexcept nogil
cdef void report_scopes(RedisModuleCtx *ctx, RedisModuleString **argv, int start, int end, bint in_dag) noexcept nogil
