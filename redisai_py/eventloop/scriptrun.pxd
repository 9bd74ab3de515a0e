from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef rai_job *scriptrun_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, RedisModuleString **names,
                           const char **error) noexcept nogil
