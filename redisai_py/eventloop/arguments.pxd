from redis_api cimport RedisModuleString

cdef bint is_word(RedisModuleString *argument, const char *word) noexcept nogil
cdef bint parse_integer(RedisModuleString *argument, long long *value) noexcept nogil
cdef bint parse_loose_integer(RedisModuleString *argument, long long *value) noexcept nogil
cdef const char *text_of(RedisModuleString *argument, size_t *length) noexcept nogil
