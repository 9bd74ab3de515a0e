from core cimport rai_job, rai_model
from redis_api cimport RedisModuleCtx, RedisModuleString
from redisai_py.eventloop.running cimport Request

cdef int submit(RedisModuleCtx *ctx, RedisModuleString **argv, rai_model *model, Request *request) noexcept nogil
cdef rai_job *new_op(RedisModuleString **argv, rai_model *model, Request *request, RedisModuleString **names,
                     const char **error) noexcept nogil
cdef rai_job *modelexecute_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, RedisModuleString **names,
                              const char **error) noexcept nogil
