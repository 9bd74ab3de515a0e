"""AI.FLOW: calls a function that a flow file registered, and replies with what it returns.

The call waits in ``module/src/flows.c``; what the function returned comes back as nodes (``rai_reply``), so that the
event loop replies without Python. docs/flows.md says what becomes of which Python value.
"""

import cython
from cython.cimports.command_handlers import rai_handlers, rai_hooks
from cython.cimports.core import (
    RAI_JOB_FLOW,
    rai_call_new,
    rai_flow_submit,
    rai_flows_path,
    rai_job,
    rai_job_new,
    rai_job_of_context,
    rai_names_new,
    rai_names_set,
    rai_reply,
    rai_tensor,
    rai_types,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_CloseKey,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithBool,
    RedisModule_ReplyWithDouble,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithMap,
    RedisModule_ReplyWithNull,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.keyspace import open_for_writing
from cython.cimports.redisai_py.eventloop.notifications import notify
from cython.cimports.redisai_py.eventloop.running import cannot_wait, reply_with_cannot_wait
from cython.cimports.redisai_py.eventloop.tensors import (
    parse_formats,
    replicate_tensor,
    reply_with_tensor,
    store_tensor,
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def store_and_replicate(
    ctx: cython.pointer(RedisModuleCtx), name: cython.pointer(RedisModuleString), tensor: cython.pointer(rai_tensor)
) -> cython.void:
    """Stores a flow's tensor in a key that holds a tensor or nothing; called with Redis' lock."""
    key: cython.pointer(RedisModuleKey) = open_for_writing(ctx, name, rai_types.tensor)
    if key == cython.NULL:
        return
    store_tensor(key, tensor)
    RedisModule_CloseKey(key)
    replicate_tensor(ctx, name, tensor)
    notify(ctx, b"tensorset", name)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_node(
    ctx: cython.pointer(RedisModuleCtx),
    reply: cython.pointer(rai_reply),
    kind: cython.char,
    number: int64_t,
    data: cython.p_const_char,
) -> cython.void:
    """A node: of an array or a map its beginning, which the nodes of its elements follow."""
    value: cython.double = 0
    formats: cython.int = 0
    if kind == b"$"[0]:
        RedisModule_ReplyWithStringBuffer(ctx, data, number)
    elif kind == b":"[0]:
        RedisModule_ReplyWithLongLong(ctx, number)
    elif kind == b","[0]:
        memcpy(cython.address(value), cython.address(number), 8)
        RedisModule_ReplyWithDouble(ctx, value)
    elif kind == b"#"[0] and cython.cast(cython.p_void, RedisModule_ReplyWithBool) != cython.NULL:
        RedisModule_ReplyWithBool(ctx, number)
    elif kind == b"#"[0]:
        RedisModule_ReplyWithLongLong(ctx, number)
    elif kind == b"*"[0]:
        RedisModule_ReplyWithArray(ctx, number)
    elif kind == b"%"[0] and cython.cast(cython.p_void, RedisModule_ReplyWithMap) != cython.NULL:
        RedisModule_ReplyWithMap(ctx, number)
    elif kind == b"%"[0]:
        RedisModule_ReplyWithArray(ctx, 2 * number)
    elif kind == b"@"[0]:
        parse_formats(cython.NULL, 0, cython.address(formats))
        reply_with_tensor(ctx, reply.tensors[number], formats)
    elif kind == b"-"[0]:
        RedisModule_ReplyWithError(ctx, data)  # it ends with a NUL
    else:
        RedisModule_ReplyWithNull(ctx)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_flow(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """What Redis calls when the function has returned."""
    job: cython.pointer(rai_job) = rai_job_of_context(ctx)
    at: cython.p_const_char
    end: cython.p_const_char
    kind: cython.char
    number: int64_t = 0
    if job.reply == cython.NULL:
        return RedisModule_ReplyWithError(ctx, job.error)
    at = job.reply.nodes.data
    end = at + job.reply.nodes.length
    while at < end:
        kind = at[0]
        memcpy(cython.address(number), at + 1, 8)
        at += 9
        reply_with_node(ctx, job.reply, kind, number, at)
        if kind == b"$"[0] or kind == b"-"[0]:
            at += number
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def flow(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.FLOW name [argument ...]"""
    i: cython.int
    length: cython.size_t = 0
    text: cython.p_const_char
    job: cython.pointer(rai_job)
    if argc < 2:
        return RedisModule_WrongArity(ctx)
    if rai_flows_path() == cython.NULL:
        return RedisModule_ReplyWithError(ctx, b"ERR there are no flows: the load argument FLOWS names their files")
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    text = RedisModule_StringPtrLen(argv[1], cython.address(length))
    job = rai_job_new(RAI_JOB_FLOW, cython.NULL, 0, 0)
    job.call = rai_call_new(ctx, text, length)
    job.call.args = rai_names_new(argc - 2)
    for i in range(argc - 2):
        text = RedisModule_StringPtrLen(argv[2 + i], cython.address(length))
        rai_names_set(job.call.args, i, text, length)
    rai_flow_submit(ctx, job, reply_to_flow)
    return REDISMODULE_OK


rai_handlers.flow = flow
rai_hooks.store_tensor = store_and_replicate
