from libc.stdint cimport int64_t

from core cimport rai_blob, rai_model, rai_names
from redis_api cimport RedisModuleCtx, RedisModuleKey, RedisModuleString

cdef void publish_model(RedisModuleKey *key, RedisModuleString *name, rai_model *model) noexcept nogil
cdef int64_t chunk_count(rai_blob *blob) noexcept nogil
cdef const char *chunk_at(rai_blob *blob, int64_t index, size_t *length, char **owned) noexcept nogil
cdef void load_in_background(rai_model *model) noexcept nogil
