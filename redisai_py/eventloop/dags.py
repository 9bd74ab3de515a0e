"""AI.DAGEXECUTE, AI.DAGEXECUTE_RO, AI.DAGRUN and AI.DAGRUN_RO.

The event loop turns the command into a graph of operations whose tensors are slots;
``module/src/dag.c`` has them executed; then the reply is made here. Source of the
rules: spec/dag.md, and decisions Q10, Q27, Q36 and Q38.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_OP_EXECUTE,
    RAI_OP_TENSORGET,
    RAI_OP_TENSORSET,
    rai_dag,
    rai_dag_define,
    rai_dag_has,
    rai_dag_need,
    rai_dag_new,
    rai_dag_op,
    rai_dag_submit,
    rai_job,
    rai_job_free,
    rai_job_of_context,
    rai_tensor,
    rai_tensor_retain,
    rai_types,
)
from cython.cimports.libc.stdint import int32_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Calloc,
    RedisModule_CloseKey,
    RedisModule_Free,
    RedisModule_IsKeysPositionRequest,
    RedisModule_KeyAtPos,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_StringCompare,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.dag_names import define_name, forget_names, slot_of
from cython.cimports.redisai_py.eventloop.execution import (
    cannot_wait,
    model_op,
    reply_with_cannot_wait,
    unexpected,
)
from cython.cimports.redisai_py.eventloop.keyspace import find_tensor, open_for_writing, reply_with_wrong_type
from cython.cimports.redisai_py.eventloop.script_execution import report_scopes, script_op
from cython.cimports.redisai_py.eventloop.strings import new_strings
from cython.cimports.redisai_py.eventloop.tensors import (
    parse_formats,
    parse_tensor,
    replicate_tensor,
    reply_with_tensor,
    store_tensor,
)

UNEXPECTED = cython.declare(cython.p_const_char, b"ERR Invalid DAG command. Unexpected argument:  %s")

# The sections of the header, as a set.
LOAD = cython.declare(cython.int, 1)
PERSIST = cython.declare(cython.int, 2)
ROUTING = cython.declare(cython.int, 4)
TIMEOUT = cython.declare(cython.int, 8)

# The request being parsed (one thread, so one is enough).
argv_at = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
argv_end = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
deprecated = cython.declare(cython.bint, False)
read_only = cython.declare(cython.bint, False)
sections = cython.declare(cython.int, 0)
persist = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
persist_count = cython.declare(cython.int, 0)
timeout_ms = cython.declare(cython.longlong, 0)
unknown_input = cython.declare(cython.bint, False)  # an operation needs a name that nothing defines


# ---- the header --------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_separator(argument: cython.pointer(RedisModuleString)) -> cython.bint:
    return is_word(argument, b"|>")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_count(
    count: cython.p_longlong, missing: cython.p_const_char, invalid: cython.p_const_char
) -> cython.p_const_char:
    """Steps over a section's word and its count, behind which something must follow; NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 3:
        return missing
    if not parse_integer(argv_at[1], count) or count[0] <= 0:
        return invalid
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_load(ctx: cython.pointer(RedisModuleCtx), dag: cython.pointer(rai_dag)) -> cython.p_const_char:
    """Parses ``LOAD n key ...`` and takes references to the tensors; NULL, or the error."""
    global argv_at
    count: cython.longlong = 0
    tensor: cython.pointer(rai_tensor)
    error: cython.p_const_char = parse_count(
        cython.address(count),
        b"ERR missing arguments after LOAD keyword in DAG command",
        b"ERR invalid or negative value found in number of keys to LOAD",
    )
    if error != cython.NULL:
        return error
    while count > 0 and argv_at < argv_end:
        tensor = find_tensor(ctx, argv_at[0], cython.address(error))
        if tensor == cython.NULL:
            return error
        define_name(argv_at[0], rai_dag_define(dag, -1, rai_tensor_retain(tensor)))
        argv_at += 1
        count -= 1
    if count > 0:
        return b"ERR number of keys to LOAD into DAG does not match the number of given arguments"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_persist() -> cython.p_const_char:
    """Parses ``PERSIST n key ...``; NULL, or the error."""
    global argv_at, persist, persist_count
    count: cython.longlong = 0
    i: cython.int
    error: cython.p_const_char
    if read_only:
        return b"ERR PERSIST cannot be specified in a read-only DAG"
    error = parse_count(
        cython.address(count),
        b"ERR missing arguments after PERSIST keyword in DAG command",
        b"ERR invalid or negative value found in number of keys to PERSIST",
    )
    if error != cython.NULL:
        return error
    persist = argv_at
    persist_count = 0
    while persist_count < count and argv_at < argv_end:
        for i in range(persist_count):
            if RedisModule_StringCompare(persist[i], argv_at[0]) == 0:
                return b"ERR PERSIST keys must be unique"
        persist_count += 1
        argv_at += 1
    if persist_count < count:
        return b"ERR number of keys to PERSIST after DAG execution does not match the number of given arguments"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_keys() -> cython.p_const_char:
    """Parses ``KEYS n key ...``, an older form of ROUTING; NULL, or the error."""
    global argv_at
    count: cython.longlong = 0
    error: cython.p_const_char = parse_count(
        cython.address(count),
        b"ERR missing arguments after KEYS keyword in DAG command",
        b"ERR invalid or negative value found in number of KEYS",
    )
    if error == cython.NULL and count > argv_end - argv_at:
        error = b"ERR number of KEYS in DAG command does not match the number of given arguments"
    if error == cython.NULL:
        argv_at += count
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_routing() -> cython.p_const_char:
    """Parses ``ROUTING value``, which matters to a cluster only; NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 2:
        return b"ERR Missing ROUTING value"
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_timeout() -> cython.p_const_char:
    """Parses ``TIMEOUT t``; 0 and less stand for none (Q10). NULL, or the error."""
    global argv_at
    if argv_end - argv_at < 2:
        return b"ERR No value provided for TIMEOUT"
    if not parse_integer(argv_at[1], cython.address(timeout_ms)):
        return b"ERR Invalid value for TIMEOUT"
    argv_at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def section_of(argument: cython.pointer(RedisModuleString)) -> cython.int:
    """The section that this word begins, or 0."""
    if is_word(argument, b"LOAD"):
        return LOAD
    if is_word(argument, b"PERSIST"):
        return PERSIST
    if is_word(argument, b"ROUTING") or is_word(argument, b"KEYS"):
        return ROUTING
    if is_word(argument, b"TIMEOUT"):
        return TIMEOUT
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_header(ctx: cython.pointer(RedisModuleCtx), dag: cython.pointer(rai_dag)) -> cython.p_const_char:
    """Parses what stands before the first operation; NULL, or the error."""
    global sections, persist_count, timeout_ms
    section: cython.int
    error: cython.p_const_char = cython.NULL
    sections = persist_count = 0
    timeout_ms = 0
    while argv_at < argv_end and not (is_separator(argv_at[0]) and argv_end - argv_at > 1):
        section = section_of(argv_at[0])
        if section == 0 or sections & section:
            return unexpected(UNEXPECTED, argv_at[0])
        sections |= section
        if section == LOAD:
            error = parse_load(ctx, dag)
        elif section == PERSIST:
            error = parse_persist()
        elif section == TIMEOUT:
            error = parse_timeout()
        elif is_word(argv_at[0], b"KEYS"):
            error = parse_keys()
        else:
            error = parse_routing()
        if error != cython.NULL:
            return error
    if not deprecated and not sections & (LOAD | PERSIST | ROUTING):
        return (
            b"ERR AI.DAGEXECUTE and AI.DAGEXECUTE_RO commands must contain at least one out of "
            b"ROUTING, LOAD, PERSIST keywords"
        )
    if argv_at == argv_end:
        return b"ERR DAG is empty"
    return cython.NULL


# ---- the operations ----------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def need(dag: cython.pointer(rai_dag), position: int32_t, name: cython.pointer(RedisModuleString)) -> cython.void:
    """Makes the tensor of this name an input of the operation."""
    global unknown_input
    slot: int32_t = slot_of(name)
    if slot < 0:
        unknown_input = True
    else:
        rai_dag_need(dag, position, slot)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_tensorset(
    dag: cython.pointer(rai_dag), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.p_const_char:
    """It is done while it is parsed: its tensor is there whatever happens to other operations."""
    error: cython.p_const_char = cython.NULL
    tensor: cython.pointer(rai_tensor)
    if argc < 4:
        return b"wrong number of arguments for 'AI.TENSORSET' command"
    tensor = parse_tensor(argv + 2, argc - 2, cython.address(error))
    if tensor != cython.NULL:
        define_name(argv[1], rai_dag_define(dag, -1, tensor))
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_tensorget(
    dag: cython.pointer(rai_dag),
    position: int32_t,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
) -> cython.p_const_char:
    error: cython.p_const_char
    formats: cython.int = 0
    if argc < 2 or argc > 4:
        return b"wrong number of arguments for 'AI.TENSORGET' command"
    error = parse_formats(argv + 2, argc - 2, cython.address(formats))
    dag.ops[position].flags = formats
    if error == cython.NULL:
        need(dag, position, argv[1])
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_execution(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    position: int32_t,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    is_model: cython.bint,
) -> cython.p_const_char:
    """Parses an operation that a worker does, and defines its outputs; NULL, or the error."""
    dag: cython.pointer(rai_dag) = owner.dag
    op: cython.pointer(rai_dag_op) = cython.address(dag.ops[position])
    error: cython.p_const_char = cython.NULL
    names: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(argc)
    i: cython.int
    if is_model:
        op.job = model_op(ctx, argv, argc, deprecated, names, cython.address(error))
    else:
        op.job = script_op(ctx, argv, argc, deprecated, names, cython.address(error))
    if op.job != cython.NULL:
        op.job.dag = dag
        op.job.op = position
        op.job.enqueued_us = owner.enqueued_us
        op.job.timeout_ms = timeout_ms if timeout_ms > 0 else 0
        for i in range(op.job.input_count):
            need(dag, position, names[i])
        op.output = dag.slot_count
        for i in range(op.job.output_count):
            define_name(names[op.job.input_count + i], rai_dag_define(dag, position, cython.NULL))
    RedisModule_Free(names)
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_op(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    position: int32_t,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
) -> cython.p_const_char:
    """Parses one operation; NULL, or the error."""
    op: cython.pointer(rai_dag_op) = cython.address(owner.dag.ops[position])
    op.kind = RAI_OP_EXECUTE
    op.input_at = owner.dag.input_count
    if argc > 0 and is_word(argv[0], b"AI.TENSORSET"):
        op.kind = RAI_OP_TENSORSET
        return parse_tensorset(owner.dag, argv, argc)
    if argc > 0 and is_word(argv[0], b"AI.TENSORGET"):
        op.kind = RAI_OP_TENSORGET
        return parse_tensorget(owner.dag, position, argv, argc)
    if argc > 0 and is_word(argv[0], b"AI.MODELEXECUTE"):
        if deprecated:
            return b"AI.MODELEXECUTE cannot be used in a deprecated AI.DAGRUN command"
        return parse_execution(ctx, owner, position, argv, argc, True)
    if argc > 0 and is_word(argv[0], b"AI.SCRIPTEXECUTE"):
        if deprecated:
            return b"AI.SCRIPTEXECUTE cannot be used in a deprecated AI.DAGRUN command"
        if read_only:
            return b"ERR AI.SCRIPTEXECUTE command cannot be specified in a read-only DAG"
        return parse_execution(ctx, owner, position, argv, argc, False)
    if argc > 0 and is_word(argv[0], b"AI.MODELRUN"):
        if not deprecated:
            return b"Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command"
        return parse_execution(ctx, owner, position, argv, argc, True)
    if argc > 0 and is_word(argv[0], b"AI.SCRIPTRUN"):
        if not deprecated:
            return b"Deprecated AI.SCRIPTRUN cannot be used in AI.DAGEXECUTE command"
        return parse_execution(ctx, owner, position, argv, argc, False)
    return b"Unsupported command within DAG"


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_ops(ctx: cython.pointer(RedisModuleCtx), owner: cython.pointer(rai_job)) -> cython.p_const_char:
    """Parses all operations; NULL, or the error."""
    global argv_at, unknown_input
    start: cython.pointer(cython.pointer(RedisModuleString))
    position: int32_t = 0
    error: cython.p_const_char
    unknown_input = False
    while argv_at < argv_end:
        argv_at += 1
        start = argv_at
        while argv_at < argv_end and not is_separator(argv_at[0]):
            argv_at += 1
        error = parse_op(ctx, owner, position, start, cython.cast(cython.int, argv_at - start))
        if error != cython.NULL:
            return error
        position += 1
    owner.dag.op_count = owner.dag.failed = position
    if unknown_input:
        return b"ERR INPUT key cannot be found in DAG"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_persisted(
    dag: cython.pointer(rai_dag), argv: cython.pointer(cython.pointer(RedisModuleString))
) -> cython.p_const_char:
    """Notes the last definition of each name to persist; NULL, or the error."""
    i: cython.int
    if persist_count == 0:
        return cython.NULL
    dag.persist = cython.cast(cython.pointer(int32_t), RedisModule_Calloc(persist_count, cython.sizeof(int32_t)))
    dag.persist_at = cython.cast(cython.int, persist - argv)
    dag.persist_count = persist_count
    for i in range(persist_count):
        dag.persist[i] = slot_of(persist[i])
        if dag.persist[i] < 0:
            return b"ERR PERSIST key cannot be found in DAG"
    return cython.NULL


# ---- the reply ---------------------------------------------------------------------


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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    dag: cython.pointer(rai_dag),
) -> cython.int:
    """Persists and replies."""
    i: int32_t
    persisted: cython.bint = True
    if dag.timed_out:
        return RedisModule_ReplyWithSimpleString(ctx, b"TIMEDOUT")
    if dag.failed == dag.op_count:
        persisted = persist_tensors(ctx, dag, argv + dag.persist_at)
    RedisModule_ReplyWithArray(ctx, dag.op_count + (0 if persisted else 1))
    for i in range(dag.op_count):
        reply_to_op(ctx, dag, i)
    if not persisted:
        reply_with_wrong_type(ctx)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_dag(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    return finish(ctx, argv, rai_job_of_context(ctx).dag)


# ---- the commands ------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_header(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """Reports the keys of the header; the position behind it, or argc where the grammar is broken."""
    at: cython.int = 1
    i: cython.int
    section: cython.int
    count: cython.longlong = 0
    while at < argc and not is_separator(argv[at]):
        section = section_of(argv[at])
        if section == 0 or at + 1 >= argc:
            return argc
        count = 1
        at += 1
        if section != TIMEOUT and not is_word(argv[at - 1], b"ROUTING"):
            if not parse_integer(argv[at], cython.address(count)) or count <= 0:
                return argc
            at += 1
        for i in range(cython.cast(cython.int, count if count < argc - at else argc - at)):
            if section != TIMEOUT:
                RedisModule_KeyAtPos(ctx, at + i)
        if count > argc - at:
            return argc
        at += cython.cast(cython.int, count)
    return at


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
            RedisModule_KeyAtPos(ctx, start + 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_dag(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    owner: cython.pointer(rai_job),
) -> cython.p_const_char:
    """Parses the whole command into the job's DAG; NULL, or the error."""
    global argv_at, argv_end
    error: cython.p_const_char
    argv_at = argv + 1
    argv_end = argv + argc
    forget_names(argc)
    error = parse_header(ctx, owner.dag)
    if error == cython.NULL:
        error = parse_ops(ctx, owner)
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
    too_few: cython.p_const_char,
) -> cython.int:
    error: cython.p_const_char
    owner: cython.pointer(rai_job)
    ops: int32_t = 0
    executions: int32_t = 0
    i: cython.int
    if RedisModule_IsKeysPositionRequest(ctx):
        report_keys(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    if argc < (4 if deprecated else 6):
        return RedisModule_ReplyWithError(ctx, too_few)
    for i in range(1, argc):
        ops += is_separator(argv[i])
    owner = rai_dag_new(ops)
    error = parse_dag(ctx, argv, argc, owner)
    if error != cython.NULL:
        rai_job_free(owner)
        return RedisModule_ReplyWithError(ctx, error)
    for i in range(owner.dag.op_count):
        executions += owner.dag.ops[i].kind == RAI_OP_EXECUTE
    if executions > 0:
        rai_dag_submit(ctx, owner, reply_to_dag)
    else:
        finish(ctx, argv, owner.dag)
        rai_job_free(owner)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagexecute(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.DAGEXECUTE [LOAD ...] [PERSIST ...] [ROUTING ...] [TIMEOUT ...] |> operation [|> operation ...]"""
    global deprecated, read_only
    deprecated = read_only = False
    return run_dag(ctx, argv, argc, b"ERR missing arguments for 'AI.DAGEXECUTE' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagexecute_ro(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The same without PERSIST and scripts; it also runs on replicas."""
    global deprecated, read_only
    deprecated = False
    read_only = True
    return run_dag(ctx, argv, argc, b"ERR missing arguments for 'AI.DAGEXECUTE_RO' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The deprecated form, for AI.MODELRUN and AI.SCRIPTRUN."""
    global deprecated, read_only
    deprecated = True
    read_only = False
    return run_dag(ctx, argv, argc, b"ERR wrong number of arguments for 'AI.DAGRUN' command")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dagrun_ro(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The deprecated form without PERSIST."""
    global deprecated, read_only
    deprecated = read_only = True
    return run_dag(ctx, argv, argc, b"ERR wrong number of arguments for 'AI.DAGRUN_RO' command")


rai_handlers.dagexecute = dagexecute
rai_handlers.dagexecute_ro = dagexecute_ro
rai_handlers.dagrun = dagrun
rai_handlers.dagrun_ro = dagrun_ro
