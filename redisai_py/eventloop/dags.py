"""AI.DAGEXECUTE, AI.DAGEXECUTE_RO, AI.DAGRUN and AI.DAGRUN_RO.

The event loop turns the command into a graph of operations whose tensors are slots;
``module/src/dag.c`` has them executed; then the reply is made. Source of the rules:
spec/dag.md, and decision Q36.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_OP_EXECUTE,
    rai_dag,
    rai_dag_new,
    rai_dag_submit,
    rai_job,
    rai_job_free,
)
from cython.cimports.libc.stdint import int32_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Calloc,
    RedisModule_IsKeysPositionRequest,
    RedisModule_ReplyWithError,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.dag_header import is_separator, parse_header, report_header
from cython.cimports.redisai_py.eventloop.dag_names import forget_names, slot_of
from cython.cimports.redisai_py.eventloop.dag_operations import parse_operations
from cython.cimports.redisai_py.eventloop.dag_replies import finish_dag, reply_to_dag
from cython.cimports.redisai_py.eventloop.keyspace import report_read
from cython.cimports.redisai_py.eventloop.running import cannot_wait, reply_with_cannot_wait
from cython.cimports.redisai_py.eventloop.script_execution import report_scopes


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_keys(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    """Key positions for cluster, ACL and COMMAND GETKEYS: what is loaded, persisted, routed by, and executed (Q36)."""
    at: cython.int = report_header(ctx, argv, argc)
    start: cython.int
    while at < argc:
        at += 1
        start = at
        while at < argc and not is_separator(argv[at]):
            at += 1
        if at - start < 2:
            continue
        if is_word(argv[start], b"AI.SCRIPTEXECUTE"):
            report_scopes(ctx, argv, start, at, True)
        elif (
            is_word(argv[start], b"AI.MODELEXECUTE")
            or is_word(argv[start], b"AI.MODELRUN")
            or is_word(argv[start], b"AI.SCRIPTRUN")
        ):
            report_read(ctx, start + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_persisted(
    dag: cython.pointer(rai_dag), argv: cython.pointer(cython.pointer(RedisModuleString))
) -> cython.p_const_char:
    """Notes the last definition of each name to persist; NULL, or the error."""
    i: cython.int
    if dag.persist_count == 0:
        return cython.NULL
    dag.persist = cython.cast(cython.pointer(int32_t), RedisModule_Calloc(dag.persist_count, cython.sizeof(int32_t)))
    for i in range(dag.persist_count):
        dag.persist[i] = slot_of(argv[dag.persist_at + i])
        if dag.persist[i] < 0:
            return b"ERR PERSIST key cannot be found in DAG"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_dag(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    owner: cython.pointer(rai_job),
    deprecated: cython.bint,
    read_only: cython.bint,
) -> cython.p_const_char:
    """Parses the whole command into the job's DAG; NULL, or the error."""
    at: cython.int
    error: cython.p_const_char = cython.NULL
    forget_names(argc)
    at = parse_header(ctx, owner, argv, argc, deprecated, read_only, cython.address(error))
    if error == cython.NULL:
        error = parse_operations(ctx, owner, argv, argc, at, deprecated, read_only)
    if error == cython.NULL:
        error = find_persisted(owner.dag, argv)
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_dag(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    deprecated: cython.bint,
    read_only: cython.bint,
    too_few: cython.p_const_char,
) -> cython.int:
    error: cython.p_const_char
    owner: cython.pointer(rai_job)
    executions: int32_t = 0
    i: cython.int
    if RedisModule_IsKeysPositionRequest(ctx):
        report_keys(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    if argc < (4 if deprecated else 6):
        return RedisModule_ReplyWithError(ctx, too_few)
    owner = rai_dag_new()
    error = parse_dag(ctx, argv, argc, owner, deprecated, read_only)
    if error != cython.NULL:
        rai_job_free(owner)
        return RedisModule_ReplyWithError(ctx, error)
    for i in range(owner.dag.op_count):
        executions += owner.dag.ops[i].kind == RAI_OP_EXECUTE
    if executions == 0 or rai_dag_submit(ctx, owner, reply_to_dag):
        finish_dag(ctx, argv, owner.dag)
        rai_job_free(owner)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagexecute(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.DAGEXECUTE [LOAD ...] [PERSIST ...] [ROUTING ...] [TIMEOUT ...] [PRIORITY ...] |> operation ..."""
    return run_dag(ctx, argv, argc, False, False, b"ERR missing arguments for 'AI.DAGEXECUTE' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagexecute_ro(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The same without PERSIST and scripts; it also runs on replicas."""
    return run_dag(ctx, argv, argc, False, True, b"ERR missing arguments for 'AI.DAGEXECUTE_RO' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The deprecated form, for AI.MODELRUN and AI.SCRIPTRUN."""
    return run_dag(ctx, argv, argc, True, False, b"ERR wrong number of arguments for 'AI.DAGRUN' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagrun_ro(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The deprecated form without PERSIST."""
    return run_dag(ctx, argv, argc, True, True, b"ERR wrong number of arguments for 'AI.DAGRUN_RO' command")


rai_handlers.dagexecute = dagexecute
rai_handlers.dagexecute_ro = dagexecute_ro
rai_handlers.dagrun = dagrun
rai_handlers.dagrun_ro = dagrun_ro
