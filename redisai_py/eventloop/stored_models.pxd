from libc.stdint cimport int64_t

from core cimport rai_blob

cdef int64_t chunk_count(rai_blob *blob) noexcept nogil
cdef const char *chunk_at(rai_blob *blob, int64_t index, size_t *length, char **owned) noexcept nogil
