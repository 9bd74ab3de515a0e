"""The reply of a DAG, and what it leaves in the keyspace. Source of the rules: spec/dag.md, section 5, and Q38."""

import cython
from cython.cimports.core import (
    RAI_OP_TENSORGET,
    RAI_OP_TENSORSET,
    rai_dag,
    rai_dag_has,
    rai_dag_op,
    rai_job_of_context,
    rai_types,
)
from cython.cimports.libc.stdint import int32_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_CloseKey,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.effects import obstacle
from cython.cimports.redisai_py.eventloop.keyspace import open_for_writing, reply_with_wrong_type
from cython.cimports.redisai_py.eventloop.notifications import notify
from cython.cimports.redisai_py.eventloop.tensors import replicate_tensor, reply_with_tensor, store_tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def persist_tensors(
    ctx: cython.pointer(RedisModuleCtx),
    dag: cython.pointer(rai_dag),
    names: cython.pointer(cython.pointer(RedisModuleString)),
) -> cython.bint:
    """Writes and replicates all tensors to persist, or none when a key holds another type (Q38)."""
    i: cython.int
    key: cython.pointer(RedisModuleKey)
    for i in range(dag.persist_count):
        key = open_for_writing(ctx, names[i], rai_types.tensor)
        if key == cython.NULL:
            return False
        RedisModule_CloseKey(key)
    for i in range(dag.persist_count):
        key = open_for_writing(ctx, names[i], rai_types.tensor)
        store_tensor(key, dag.slots[dag.persist[i]])
        RedisModule_CloseKey(key)
        replicate_tensor(ctx, names[i], dag.slots[dag.persist[i]])
    # Only now: another module may write to the next key when it hears of this one.
    for i in range(dag.persist_count):
        notify(ctx, b"dagexecute", names[i])
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_op(ctx: cython.pointer(RedisModuleCtx), dag: cython.pointer(rai_dag), position: int32_t) -> cython.int:
    """One element of the reply: what the operation gave, or NA."""
    op: cython.pointer(rai_dag_op) = cython.address(dag.ops[position])
    slot: int32_t
    if op.kind == RAI_OP_TENSORGET:
        slot = dag.inputs[op.input_at]
        if rai_dag_has(dag, slot):
            return reply_with_tensor(ctx, dag.slots[slot], op.flags)
    elif op.kind == RAI_OP_TENSORSET or position < dag.failed:
        return RedisModule_ReplyWithSimpleString(ctx, b"OK")
    elif position == dag.failed:
        return RedisModule_ReplyWithError(ctx, op.job.error)
    return RedisModule_ReplyWithSimpleString(ctx, b"NA")


def finish_dag(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    dag: cython.pointer(rai_dag),
) -> cython.int:
    """Persists and replies."""
    i: int32_t
    persisted: cython.bint = True
    error: cython.p_const_char = cython.NULL
    if dag.timed_out:
        return RedisModule_ReplyWithSimpleString(ctx, b"TIMEDOUT")
    if dag.failed == dag.op_count and dag.persist_count > 0:
        error = obstacle(ctx, argv + dag.persist_at, dag.persist_count)
    if error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    if dag.failed == dag.op_count:
        persisted = persist_tensors(ctx, dag, argv + dag.persist_at)
    RedisModule_ReplyWithArray(ctx, dag.op_count + (0 if persisted else 1))
    for i in range(dag.op_count):
        reply_to_op(ctx, dag, i)
    if not persisted:
        reply_with_wrong_type(ctx)
    return REDISMODULE_OK


def reply_to_dag(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """What Redis calls when the executions of a DAG are over."""
    return finish_dag(ctx, argv, rai_job_of_context(ctx).dag)
