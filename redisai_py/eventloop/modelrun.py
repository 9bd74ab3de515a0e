"""AI.MODELRUN, the deprecated form of AI.MODELEXECUTE.

Source of the rules: spec/commands.md, section 11, and decision Q36.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import RAI_MODEL_READY, rai_job, rai_model
from cython.cimports.redis_api import RedisModuleCtx, RedisModuleString
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.execution import model_op, run_model
from cython.cimports.redisai_py.eventloop.keyspace import report_read, report_written
from cython.cimports.redisai_py.eventloop.running import Grammar, Request


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def first_word(argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int) -> cython.int:
    """Where INPUTS has to stand."""
    return 4 if argc > 2 and is_word(argv[2], b"TIMEOUT") else 2


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_outputs(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, start: cython.int
) -> cython.int:
    """The position of the first OUTPUTS from ``start`` on; ``argc`` when there is none."""
    at: cython.int
    for at in range(start, argc):
        if is_word(argv[at], b"OUTPUTS"):
            return at
    return argc


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_words(
    model: cython.pointer(rai_model),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    request: cython.pointer(Request),
) -> cython.p_const_char:
    """Parses ``[TIMEOUT t] INPUTS input ... OUTPUTS output ...``; NULL, or the error."""
    known: cython.bint = model.state == RAI_MODEL_READY
    at: cython.int = first_word(argv, argc)
    request.timeout_ms = 0
    request.urgent = False
    if at == 4 and (not parse_integer(argv[3], cython.address(request.timeout_ms)) or request.timeout_ms <= 0):
        return b"ERR Invalid value for TIMEOUT"
    if not is_word(argv[at], b"INPUTS"):
        return b"ERR INPUTS not specified"
    request.first_input = at + 1
    at = find_outputs(argv, argc, request.first_input)
    request.input_count = at - request.first_input
    request.first_output = at + 1
    request.output_count = argc - request.first_output if at < argc else 0
    if known and request.input_count != model.inputs.count:
        return b"Number of keys given as INPUTS here does not match model definition"
    if request.output_count == 0 or (known and request.output_count != model.outputs.count):
        return b"Number of keys given as OUTPUTS here does not match model definition"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_keys(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    """Key positions: the model, and all that follows INPUTS but for the word OUTPUTS."""
    start: cython.int = first_word(argv, argc) + 1
    outputs: cython.int = find_outputs(argv, argc, start)
    at: cython.int
    if argc < 2:
        return
    report_read(ctx, 1)
    for at in range(start, argc):
        if at < outputs:
            report_read(ctx, at)
        elif at > outputs:
            report_written(ctx, at)


GRAMMAR = cython.declare(Grammar)
GRAMMAR.least = 6
GRAMMAR.too_few = b"ERR wrong number of arguments for 'AI.MODELRUN' command"
GRAMMAR.parse = parse_words
GRAMMAR.report_keys = report_keys


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELRUN key [TIMEOUT t] INPUTS input ... OUTPUTS output ..."""
    return run_model(ctx, argv, argc, cython.address(GRAMMAR))


def modelrun_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """``ParseExecution`` for AI.MODELRUN."""
    return model_op(ctx, argv, argc, cython.address(GRAMMAR), names, error)


rai_handlers.modelrun = modelrun
