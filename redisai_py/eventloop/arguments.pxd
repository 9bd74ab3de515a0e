from libc.stdint cimport uint64_t
from libc.string cimport strlen
from posix.strings cimport strncasecmp
from redis_api cimport RedisModuleString, RedisModule_StringPtrLen


# Whether an argument is a keyword; case does not matter. Inlined: every command asks it several times.
cdef inline bint is_word(RedisModuleString *argument, const char *word) noexcept nogil:
    cdef size_t length = 0
    cdef const char *data = RedisModule_StringPtrLen(argument, &length)
    # 32 is the difference of upper and lower case: most words differ in their first letter.
    return length == strlen(word) and (data[0] | 32) == (word[0] | 32) and strncasecmp(data, word, length) == 0


cdef bint parse_integer(RedisModuleString *argument, long long *value) noexcept nogil
cdef bint parse_unsigned(RedisModuleString *argument, uint64_t *value) noexcept nogil
cdef bint parse_loose_integer(RedisModuleString *argument, long long *value) noexcept nogil
cdef const char *text_of(RedisModuleString *argument, size_t *length) noexcept nogil
