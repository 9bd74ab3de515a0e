from core cimport rai_model, rai_tensor
from redis_api cimport RedisModuleCtx, RedisModuleKey, RedisModuleString, RedisModuleType

cdef void *find_value(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleType *type, const char **error,
                      const char *missing) noexcept nogil
cdef rai_tensor *find_tensor(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) noexcept nogil
cdef rai_model *find_model(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) noexcept nogil
cdef rai_model *find_script(RedisModuleCtx *ctx, RedisModuleString *name, const char **error) noexcept nogil
cdef RedisModuleKey *open_for_writing(RedisModuleCtx *ctx, RedisModuleString *name, RedisModuleType *type) noexcept nogil
cdef void report_read(RedisModuleCtx *ctx, int position) noexcept nogil
cdef void report_written(RedisModuleCtx *ctx, int position) noexcept nogil
cdef void report_any(RedisModuleCtx *ctx, int position) noexcept nogil
cdef int reply_with_wrong_type(RedisModuleCtx *ctx) noexcept nogil
cdef void log_name(RedisModuleCtx *ctx, const char *format, RedisModuleString *name) noexcept nogil
