from core cimport rai_model
from redis_api cimport RedisModuleCtx, RedisModuleInfoCtx

cdef void add_load(RedisModuleInfoCtx *ctx, int for_crash_report) noexcept nogil
cdef int reply_with_latency(RedisModuleCtx *ctx, rai_model *model) noexcept nogil
cdef void make_plain(char *text, const char *others) noexcept nogil
