from core cimport rai_model
from redis_api cimport RedisModuleCtx, RedisModuleString, RedisModuleType

cdef bint is_trusted(RedisModuleCtx *ctx) noexcept nogil
cdef void load_in_background(rai_model *model) noexcept nogil
cdef int store(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, rai_model *model) noexcept nogil
cdef int delete(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleType *type) noexcept nogil
cdef int scan(RedisModuleCtx *ctx, int kind) noexcept nogil
cdef void reply_with_states(RedisModuleCtx *ctx) noexcept nogil
