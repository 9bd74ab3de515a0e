from core cimport rai_call, rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef rai_call *new_call(RedisModuleCtx *ctx, RedisModuleString *function) noexcept nogil
cdef void report_scopes(RedisModuleCtx *ctx, RedisModuleString **argv, int start, int end, bint in_dag) noexcept nogil
cdef rai_job *scriptexecute_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, RedisModuleString **names,
                               const char **error) noexcept nogil
