from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString, RedisModule_StringPtrLen
from redisai_py.eventloop.arguments cimport is_word


# Whether an operation begins behind this word. Inlined: every word of a DAG is asked.
cdef inline bint is_separator(RedisModuleString *argument) noexcept nogil:
    return RedisModule_StringPtrLen(argument, NULL)[0] == c"|" and is_word(argument, "|>")


cdef int parse_header(RedisModuleCtx *ctx, rai_job *owner, RedisModuleString **argv, int argc, bint deprecated,
                      bint read_only, const char **error) noexcept nogil
cdef int report_header(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
