from libc.stdint cimport int64_t

from core cimport rai_names
from redis_api cimport RedisModuleCtx

cdef void reply_with_pairs(RedisModuleCtx *ctx, int64_t count) noexcept nogil
cdef void reply_with_names(RedisModuleCtx *ctx, const char *field, rai_names *names) noexcept nogil
cdef void reply_with_bytes(RedisModuleCtx *ctx, const char *field, const char *data, size_t length) noexcept nogil
cdef void reply_with_text(RedisModuleCtx *ctx, const char *field, const char *value) noexcept nogil
cdef void reply_with_number(RedisModuleCtx *ctx, const char *field, int64_t value) noexcept nogil
