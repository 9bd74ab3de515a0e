"""Operations of DAGs that other modules build, in the words of AI.DAGEXECUTE (RedisAI_DAGAddOpsFromString).

Called with Redis' lock by whichever thread has it: the lock makes it the event loop. Source of the rules:
spec/llapi.md, section 5, and spec/dag.md, section 2.
"""

import cython
from cython.cimports.command_handlers import rai_hooks
from cython.cimports.core import (
    RAI_MODEL,
    RAI_OP_EXECUTE,
    RAI_OP_TENSORGET,
    RAI_OP_TENSORSET,
    RAI_SCRIPT,
    rai_call_refusal,
    rai_parsed_op,
)
from cython.cimports.redis_api import RedisModuleCtx, RedisModuleString
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.execution import modelexecute_op
from cython.cimports.redisai_py.eventloop.script_execution import scriptexecute_op
from cython.cimports.redisai_py.eventloop.tensor_arguments import parse_tensor
from cython.cimports.redisai_py.eventloop.tensors import parse_formats


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_tensor_op(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, parsed: cython.pointer(rai_parsed_op)
) -> cython.void:
    """AI.TENSORSET, or AI.TENSORGET, whose formats are checked and make no difference here."""
    formats: cython.int = 0
    if parsed.kind == RAI_OP_TENSORSET:
        if argc < 4:
            parsed.error = b"wrong number of arguments for 'AI.TENSORSET' command"
        else:
            parsed.tensor = parse_tensor(cython.NULL, argv + 2, argc - 2, cython.address(parsed.error))
    elif argc < 2 or argc > 4:
        parsed.error = b"wrong number of arguments for 'AI.TENSORGET' command"
    else:
        parsed.error = parse_formats(argv + 2, argc - 2, cython.address(formats))
    if parsed.error == cython.NULL:
        parsed.names[0] = argv[1]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_execution(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    parsed: cython.pointer(rai_parsed_op),
) -> cython.void:
    """AI.MODELEXECUTE or AI.SCRIPTEXECUTE. Rights come first: who must not use a key learns nothing about it."""
    parsed.kind = RAI_OP_EXECUTE
    if argc > 1:
        parsed.error = rai_call_refusal(RAI_SCRIPT if parsed.is_script else RAI_MODEL, argv[1])
    if parsed.error != cython.NULL:
        return
    if parsed.is_script:
        parsed.job = scriptexecute_op(ctx, argv, argc, parsed.names, cython.address(parsed.error))
    else:
        parsed.job = modelexecute_op(ctx, argv, argc, parsed.names, cython.address(parsed.error))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_dag_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    parsed: cython.pointer(rai_parsed_op),
) -> cython.void:
    """Fills in ``parsed``, whose kind stays what it is for an operation that nobody knows."""
    if argc > 0 and is_word(argv[0], b"AI.TENSORSET"):
        parsed.kind = RAI_OP_TENSORSET
        parse_tensor_op(argv, argc, parsed)
    elif argc > 0 and is_word(argv[0], b"AI.TENSORGET"):
        parsed.kind = RAI_OP_TENSORGET
        parse_tensor_op(argv, argc, parsed)
    elif argc > 0 and is_word(argv[0], b"AI.MODELEXECUTE"):
        parse_execution(ctx, argv, argc, parsed)
    elif argc > 0 and is_word(argv[0], b"AI.SCRIPTEXECUTE"):
        parsed.is_script = True
        parse_execution(ctx, argv, argc, parsed)
    elif argc > 0 and is_word(argv[0], b"AI.MODELRUN"):
        parsed.error = b"Deprecated AI.MODELRUN cannot be used in AI.DAGEXECUTE command"
    elif argc > 0 and is_word(argv[0], b"AI.SCRIPTRUN"):
        parsed.error = b"Deprecated AI.SCRIPTRUN cannot be used in AI.DAGEXECUTE command"
    else:
        parsed.error = b"Unsupported command within DAG"


rai_hooks.parse_dag_op = parse_dag_op
