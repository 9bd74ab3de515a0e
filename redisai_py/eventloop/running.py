"""What the commands that run a model or a script have in common: inputs, outputs, errors, and where it runs.

Source of the rules: spec/commands.md, section 19, and decisions Q3, Q36 and Q38.
"""

import cython
from cython.cimports.core import (
    rai_job,
    rai_job_free,
    rai_job_of_context,
    rai_job_submit_execution,
    rai_run_at_once,
    rai_tensor_retain,
    rai_types,
)
from cython.cimports.libc.stdio import snprintf
from cython.cimports.redis_api import (
    REDISMODULE_CTX_FLAGS_ASYNC_LOADING,
    REDISMODULE_CTX_FLAGS_DENY_BLOCKING,
    REDISMODULE_CTX_FLAGS_LUA,
    REDISMODULE_CTX_FLAGS_MULTI,
    REDISMODULE_OK,
    RedisModule_CloseKey,
    RedisModule_GetContextFlags,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_StringPtrLen,
    RedisModuleCmdFunc,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.effects import obstacle
from cython.cimports.redisai_py.eventloop.keyspace import find_tensor, open_for_writing, reply_with_wrong_type
from cython.cimports.redisai_py.eventloop.notifications import notify
from cython.cimports.redisai_py.eventloop.tensors import replicate_tensor, store_tensor

CANNOT_BLOCK = cython.declare(
    cython.int,
    REDISMODULE_CTX_FLAGS_MULTI
    | REDISMODULE_CTX_FLAGS_LUA
    | REDISMODULE_CTX_FLAGS_DENY_BLOCKING
    | REDISMODULE_CTX_FLAGS_ASYNC_LOADING,
)

NO_TIMEOUT_IN_DAG = b"ERR TIMEOUT not allowed within a DAG command"
NO_PRIORITY_IN_DAG = b"ERR PRIORITY not allowed within a DAG command"
BAD_PRIORITY = b"ERR Invalid value for PRIORITY, which must be HIGH or NORMAL"

message = cython.declare(cython.char[512])  # the latest error of ``unexpected``: the event loop is one thread


def cannot_wait(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Whether the client cannot be blocked: in MULTI, in Lua, called by another module, or beside a load.

    While a replica loads new data beside the old (repl-diskless-load swapdb), Redis serves readers, but answers no
    blocked client before the load ends.
    """
    return (RedisModule_GetContextFlags(ctx) & CANNOT_BLOCK) != 0


def reply_with_cannot_wait(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    if RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_ASYNC_LOADING:
        return RedisModule_ReplyWithError(ctx, b"LOADING Redis is loading the dataset in memory")
    return RedisModule_ReplyWithError(ctx, b"ERR Cannot run RedisAI command within a transaction or a LUA script")


def unexpected(format: cython.p_const_char, argument: cython.pointer(RedisModuleString)) -> cython.p_const_char:
    """The error for a word that does not belong there, which ``format`` names as %s."""
    i: cython.int = 0
    snprintf(message, cython.sizeof(message), format, RedisModule_StringPtrLen(argument, cython.NULL))
    while message[i] != 0:  # an error reply is one line
        if message[i] == b"\r"[0] or message[i] == b"\n"[0]:
            message[i] = b" "[0]
        i += 1
    return message


def parse_priority(argument: cython.pointer(RedisModuleString), is_high: cython.pointer(cython.bint)) -> cython.bint:
    """HIGH or NORMAL; false for anything else."""
    is_high[0] = is_word(argument, b"HIGH")
    return is_high[0] or is_word(argument, b"NORMAL")


def take_inputs(
    ctx: cython.pointer(RedisModuleCtx),
    job: cython.pointer(rai_job),
    at: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    count: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.bint:
    """Gives the job references to the tensors at these keys, from its input ``at`` on; false with the error."""
    i: cython.int
    for i in range(count):
        job.inputs[at + i] = find_tensor(ctx, names[i], error)
        if job.inputs[at + i] == cython.NULL:
            return False
        rai_tensor_retain(job.inputs[at + i])
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def store_outputs(
    ctx: cython.pointer(RedisModuleCtx),
    names: cython.pointer(cython.pointer(RedisModuleString)),
    job: cython.pointer(rai_job),
) -> cython.bint:
    """Writes and replicates all outputs, or none when a target holds another type (Q38).

    An output that the model did not produce as a tensor leaves its key as it was.
    """
    i: cython.int
    key: cython.pointer(RedisModuleKey)
    if job.output_count > 1:
        for i in range(job.output_count):
            key = open_for_writing(ctx, names[i], rai_types.tensor)
            if key == cython.NULL:
                return False
            RedisModule_CloseKey(key)
    for i in range(job.output_count):
        if job.outputs[i] == cython.NULL:
            continue
        key = open_for_writing(ctx, names[i], rai_types.tensor)
        if key == cython.NULL:
            return False
        store_tensor(key, job.outputs[i])
        RedisModule_CloseKey(key)
        replicate_tensor(ctx, names[i], job.outputs[i])
        notify(ctx, b"modelexecute" if job.call == cython.NULL else b"scriptexecute", names[i])
    return True


def finish_execution(
    ctx: cython.pointer(RedisModuleCtx),
    outputs: cython.pointer(cython.pointer(RedisModuleString)),
    job: cython.pointer(rai_job),
) -> cython.int:
    """Stores a job's outputs under these names, and replies."""
    error: cython.p_const_char
    if job.error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, job.error)
    if job.timed_out:
        return RedisModule_ReplyWithSimpleString(ctx, b"TIMEDOUT")
    error = obstacle(ctx, outputs, job.output_count)
    if error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    if not store_outputs(ctx, outputs, job):
        return reply_with_wrong_type(ctx)
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_execution(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    job: cython.pointer(rai_job) = rai_job_of_context(ctx)
    return finish_execution(ctx, argv + job.first_output, job)


def run_or_submit(
    ctx: cython.pointer(RedisModuleCtx),
    outputs: cython.pointer(cython.pointer(RedisModuleString)),
    job: cython.pointer(rai_job),
    reply: RedisModuleCmdFunc,
) -> cython.int:
    """Runs the job here, if that is known to be the shorter way, or blocks the client and gives it to a worker.

    ``outputs`` are the names under which results are stored; ``reply`` is what Redis calls when a worker is done.
    """
    if rai_run_at_once(job):
        finish_execution(ctx, outputs, job)
        rai_job_free(job)
    else:
        rai_job_submit_execution(ctx, job, reply)
    return REDISMODULE_OK
