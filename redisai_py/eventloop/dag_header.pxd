from core cimport rai_job
from redis_api cimport RedisModuleCtx, RedisModuleString, RedisModule_StringPtrLen


# Whether an operation begins behind this word. Inlined: every word of a DAG is asked.
cdef inline bint is_separator(RedisModuleString *argument) noexcept nogil:
    cdef size_t length = 0
    cdef const char *data = RedisModule_StringPtrLen(argument, &length)
    return data[0] == c"|" and length == 2 and data[1] == c">"


cdef int parse_header(RedisModuleCtx *ctx, rai_job *owner, RedisModuleString **argv, int argc, bint deprecated,
                      bint read_only, const char **error) noexcept nogil
cdef int report_header(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
