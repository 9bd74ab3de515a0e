from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef const char *NO_TIMEOUT_IN_DAG
cdef const char *NO_PRIORITY_IN_DAG
cdef const char *BAD_PRIORITY

cdef bint cannot_wait(RedisModuleCtx *ctx) noexcept nogil
cdef int reply_with_cannot_wait(RedisModuleCtx *ctx) noexcept nogil
cdef bint parse_priority(RedisModuleString *argument, bint *is_high) noexcept nogil
cdef const char *unexpected(const char *format, RedisModuleString *argument) noexcept nogil
cdef bint take_inputs(RedisModuleCtx *ctx, rai_job *job, int at, RedisModuleString **names, int count,
                      const char **error) noexcept nogil
cdef int reply_to_execution(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
cdef int finish_execution(RedisModuleCtx *ctx, RedisModuleString **outputs, rai_job *job) noexcept nogil
cdef rai_job *model_op(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, bint deprecated,
                       RedisModuleString **names, const char **error) noexcept nogil
