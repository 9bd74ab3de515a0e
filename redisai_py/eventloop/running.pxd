from core cimport rai_job, rai_model
from redis_api cimport RedisModuleCmdFunc, RedisModuleCtx, RedisModuleString


# AI.MODELEXECUTE or AI.MODELRUN, parsed: where the names of the tensors stand, and how many there are.
cdef struct Request:
    int first_input
    long long input_count
    int first_output
    long long output_count
    long long timeout_ms  # 0: none
    bint urgent


# What tells AI.MODELEXECUTE and AI.MODELRUN apart.
cdef struct Grammar:
    int least  # words of a command
    const char *too_few
    # NULL, or the error.
    const char *(*parse)(rai_model *model, RedisModuleString **argv, int argc, Request *request) noexcept nogil
    void (*report_keys)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil


# Makes a job, still without inputs, of an operation of a DAG; NULL with the error. names, which has
# room for argc, receives the names of the inputs and, behind them, of the outputs.
ctypedef rai_job *(*ParseExecution)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                                    RedisModuleString **names, const char **error) noexcept nogil

cdef const char *NO_TIMEOUT_IN_DAG
cdef const char *NO_PRIORITY_IN_DAG
cdef const char *BAD_PRIORITY

cdef bint cannot_wait(RedisModuleCtx *ctx) noexcept nogil
cdef int reply_with_cannot_wait(RedisModuleCtx *ctx) noexcept nogil
cdef const char *unexpected(const char *format, RedisModuleString *argument) noexcept nogil
cdef bint parse_priority(RedisModuleString *argument, bint *is_high) noexcept nogil
cdef bint take_inputs(RedisModuleCtx *ctx, rai_job *job, int at, RedisModuleString **names, int count,
                      const char **error) noexcept nogil
cdef int finish_execution(RedisModuleCtx *ctx, RedisModuleString **outputs, rai_job *job) noexcept nogil
cdef int reply_to_execution(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) noexcept nogil
cdef int run_or_submit(RedisModuleCtx *ctx, RedisModuleString **outputs, rai_job *job,
                       RedisModuleCmdFunc reply) noexcept nogil
