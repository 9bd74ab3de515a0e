from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef bint is_separator(RedisModuleString *argument) noexcept nogil
cdef int parse_header(RedisModuleCtx *ctx, rai_job *owner, RedisModuleString **argv, int argc, bint deprecated,
                      bint read_only, const char **error) noexcept nogil
cdef int report_header(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
