from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString
from redisai_py.eventloop.running cimport Grammar

cdef int run_model(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, Grammar *grammar) noexcept nogil
cdef rai_job *model_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, Grammar *grammar,
                       RedisModuleString **names, const char **error) noexcept nogil
cdef rai_job *modelexecute_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, RedisModuleString **names,
                              const char **error) noexcept nogil
