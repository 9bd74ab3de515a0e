from libc.stdint cimport int64_t

from core cimport rai_model, rai_names
from redis_api cimport RedisModuleIO, RedisModuleString, RedisModuleTypeMethods


cdef enum:
    ENCODING_VERSION = 4  # written; all from 0 on are read


cdef void fill_shared_methods(RedisModuleTypeMethods *methods) noexcept nogil
cdef void save_text(RedisModuleIO *io, const char *text) noexcept nogil
cdef void save_names(RedisModuleIO *io, rai_names *names) noexcept nogil
cdef rai_names *load_names(RedisModuleIO *io) noexcept nogil
cdef rai_model *load_start(RedisModuleIO *io, int version, int kind, int backend) noexcept nogil
cdef bint refuse_newer(RedisModuleIO *io, int version, const char *kind) noexcept nogil
cdef int64_t add_names(RedisModuleString **words, int64_t at, const char *keyword, rai_names *names) noexcept nogil
