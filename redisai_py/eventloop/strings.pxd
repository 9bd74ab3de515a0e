from core cimport rai_tensor
from libc.stdint cimport int32_t, int64_t
from redis_api cimport RedisModuleString

cdef RedisModuleString **new_strings(int64_t count) noexcept nogil
cdef RedisModuleString **new_dims(rai_tensor *tensor) noexcept nogil
cdef RedisModuleString *dtype_string(int32_t dtype) noexcept nogil
cdef RedisModuleString *word_blob() noexcept nogil
cdef void free_strings(RedisModuleString **strings, int64_t count) noexcept nogil
