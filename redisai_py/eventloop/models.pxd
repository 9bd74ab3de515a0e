from core cimport rai_model
from redis_api cimport RedisModuleKey, RedisModuleString

cdef void publish_model(RedisModuleKey *key, RedisModuleString *name, rai_model *model) noexcept nogil
cdef void load_in_background(rai_model *model) noexcept nogil
