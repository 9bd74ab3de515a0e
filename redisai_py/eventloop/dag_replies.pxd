from core cimport rai_dag
from redis_api cimport RedisModuleCtx, RedisModuleString

cdef int finish_dag(RedisModuleCtx *ctx, RedisModuleString **argv, rai_dag *dag) noexcept nogil
cdef int reply_to_dag(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
