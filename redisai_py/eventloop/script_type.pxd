from core cimport rai_model
from redis_api cimport RedisModuleCtx

cdef const char *source_of(rai_model *script) noexcept nogil
cdef bint register_script_type(RedisModuleCtx *ctx) noexcept nogil
