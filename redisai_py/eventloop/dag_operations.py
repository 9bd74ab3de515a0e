"""The operations of a DAG: parsed, and tied to each other by the names of their tensors.

Source of the rules: spec/dag.md, sections 2 and 3.
"""

import cython
from cython.cimports.core import (
    RAI_OP_EXECUTE,
    RAI_OP_TENSORGET,
    RAI_OP_TENSORSET,
    rai_dag,
    rai_dag_add,
    rai_dag_define,
    rai_dag_need,
    rai_dag_op,
    rai_job,
    rai_tensor,
)
from cython.cimports.libc.stdint import int32_t
from cython.cimports.redis_api import RedisModule_Realloc, RedisModuleCtx, RedisModuleString
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.dag_header import is_separator
from cython.cimports.redisai_py.eventloop.dag_names import define_name, slot_of
from cython.cimports.redisai_py.eventloop.execution import modelexecute_op
from cython.cimports.redisai_py.eventloop.modelrun import modelrun_op
from cython.cimports.redisai_py.eventloop.running import ParseExecution
from cython.cimports.redisai_py.eventloop.script_execution import scriptexecute_op
from cython.cimports.redisai_py.eventloop.scriptrun import scriptrun_op
from cython.cimports.redisai_py.eventloop.tensor_arguments import parse_tensor
from cython.cimports.redisai_py.eventloop.tensors import parse_formats

# What is being parsed (one thread, so one is enough).
deprecated = cython.declare(cython.bint, False)
read_only = cython.declare(cython.bint, False)
unknown_input = cython.declare(cython.bint, False)  # an operation needs a name that nothing defines
names = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)  # of an execution's tensors
names_room = cython.declare(cython.int, 0)


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
    rai_dag_add(dag, RAI_OP_TENSORSET)
    if argc < 4:
        return b"wrong number of arguments for 'AI.TENSORSET' command"
    tensor = parse_tensor(cython.NULL, argv + 2, argc - 2, cython.address(error))
    if tensor != cython.NULL:
        define_name(argv[1], rai_dag_define(dag, -1, tensor))
    return error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_tensorget(
    dag: cython.pointer(rai_dag),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
) -> cython.p_const_char:
    error: cython.p_const_char
    formats: cython.int = 0
    position: int32_t = rai_dag_add(dag, RAI_OP_TENSORGET)
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
def make_room_for_names(count: cython.int) -> cython.void:
    global names, names_room
    if count > names_room:
        names_room = 2 * count
        names = cython.cast(
            cython.pointer(cython.pointer(RedisModuleString)),
            RedisModule_Realloc(names, names_room * cython.sizeof(cython.pointer(RedisModuleString))),
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_execution(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    parse: ParseExecution,
) -> cython.p_const_char:
    """Parses an operation that a worker does, and defines its outputs; NULL, or the error."""
    dag: cython.pointer(rai_dag) = owner.dag
    position: int32_t = rai_dag_add(dag, RAI_OP_EXECUTE)
    op: cython.pointer(rai_dag_op) = cython.address(dag.ops[position])
    error: cython.p_const_char = cython.NULL
    i: cython.int
    make_room_for_names(argc)
    op.job = parse(ctx, argv, argc, names, cython.address(error))
    if op.job == cython.NULL:
        return error
    op.job.dag = dag
    op.job.op = position
    op.job.timeout_ms = owner.timeout_ms
    op.job.urgent = owner.urgent
    for i in range(op.job.input_count):
        need(dag, position, names[i])
    op.output = dag.slot_count
    for i in range(op.job.output_count):
        define_name(names[op.job.input_count + i], rai_dag_define(dag, position, cython.NULL))
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_op(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
) -> cython.p_const_char:
    """Parses one operation; NULL, or the error."""
    if argc > 0 and is_word(argv[0], b"AI.TENSORSET"):
        return parse_tensorset(owner.dag, argv, argc)
    if argc > 0 and is_word(argv[0], b"AI.TENSORGET"):
        return parse_tensorget(owner.dag, argv, argc)
    if argc > 0 and is_word(argv[0], b"AI.MODELEXECUTE"):
        if deprecated:
            return b"AI.MODELEXECUTE cannot be used in a deprecated AI.DAGRUN command"
        return parse_execution(ctx, owner, argv, argc, modelexecute_op)
    if argc > 0 and is_word(argv[0], b"AI.SCRIPTEXECUTE"):
        if deprecated:
            return b"AI.SCRIPTEXECUTE cannot be used in a deprecated AI.DAGRUN command"
        if read_only:
            return b"ERR AI.SCRIPTEXECUTE command cannot be specified in a read-only DAG"
        return parse_execution(ctx, owner, argv, argc, scriptexecute_op)
    if argc > 0 and is_word(argv[0], b"AI.MODELRUN"):
        if not deprecated:
            return b"Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command"
        return parse_execution(ctx, owner, argv, argc, modelrun_op)
    if argc > 0 and is_word(argv[0], b"AI.SCRIPTRUN"):
        if not deprecated:
            return b"Deprecated AI.SCRIPTRUN cannot be used in AI.DAGEXECUTE command"
        return parse_execution(ctx, owner, argv, argc, scriptrun_op)
    return b"Unsupported command within DAG"


def parse_operations(
    ctx: cython.pointer(RedisModuleCtx),
    owner: cython.pointer(rai_job),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    at: cython.int,
    in_deprecated: cython.bint,
    in_read_only: cython.bint,
) -> cython.p_const_char:
    """Parses all operations, the first of which is behind argv[at]; NULL, or the error."""
    global deprecated, read_only, unknown_input
    start: cython.int
    error: cython.p_const_char
    deprecated = in_deprecated
    read_only = in_read_only
    unknown_input = False
    while at < argc:
        at += 1
        start = at
        while at < argc and not is_separator(argv[at]):
            at += 1
        error = parse_op(ctx, owner, argv + start, at - start)
        if error != cython.NULL:
            return error
    if unknown_input:
        return b"ERR INPUT key cannot be found in DAG"
    return cython.NULL
