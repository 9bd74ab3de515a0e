"""AI.MODELEXECUTE, and what AI.MODELRUN does as well.

Source of the rules: spec/commands.md, sections 10 and 19, and decisions Q3, Q36 and Q38.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_JOB_EXECUTE,
    RAI_MODEL_READY,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_model,
    rai_queue_refusal,
)
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_IsKeysPositionRequest,
    RedisModule_ReplyWithError,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.keyspace import find_model, report_read, report_written
from cython.cimports.redisai_py.eventloop.running import (
    BAD_PRIORITY,
    NO_PRIORITY_IN_DAG,
    NO_TIMEOUT_IN_DAG,
    Grammar,
    Request,
    cannot_wait,
    parse_priority,
    reply_to_execution,
    reply_with_cannot_wait,
    run_or_submit,
    take_inputs,
    unexpected,
)

UNEXPECTED = cython.declare(cython.p_const_char, b"Invalid argument: %s")  # without ERR, as RedisAI sends it


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_counts(
    model: cython.pointer(rai_model),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    request: cython.pointer(Request),
) -> cython.p_const_char:
    """Parses ``INPUTS n input ... OUTPUTS m output ... [TIMEOUT t] [PRIORITY p]`` from argv[2] on; NULL, or the error.

    The counts of a model that is still loading are not known; its worker checks them. One
    that could not be loaded answers with the reason, whatever the counts.
    """
    known: cython.bint = model.state == RAI_MODEL_READY
    at: cython.int
    if not is_word(argv[2], b"INPUTS"):
        return b"ERR INPUTS not specified"
    if not parse_integer(argv[3], cython.address(request.input_count)):
        return b"ERR Invalid argument for input_count"
    if request.input_count <= 0:
        return b"ERR Input count must be a positive integer"
    if known and request.input_count != model.inputs.count:
        return b"Number of keys given as INPUTS here does not match model definition"
    if request.input_count > argc - 4:
        return b"ERR number of input keys to AI.MODELEXECUTE command does not match the number of given arguments"
    request.first_input = 4
    at = 4 + cython.cast(cython.int, request.input_count)
    if at >= argc or not is_word(argv[at], b"OUTPUTS"):
        return b"ERR OUTPUTS not specified"
    if at + 1 >= argc or not parse_integer(argv[at + 1], cython.address(request.output_count)):
        return b"ERR Invalid argument for output_count"
    if request.output_count <= 0:
        return b"ERR Output count must be a positive integer"
    if known and request.output_count != model.outputs.count:
        return b"Number of keys given as OUTPUTS here does not match model definition"
    request.first_output = at + 2
    if request.output_count > argc - request.first_output:
        return b"ERR number of output keys to AI.MODELEXECUTE command does not match the number of given arguments"
    return parse_options(argv, argc, request.first_output + cython.cast(cython.int, request.output_count), request)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_options(
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    at: cython.int,
    request: cython.pointer(Request),
) -> cython.p_const_char:
    """Parses ``[TIMEOUT t] [PRIORITY p]``, in any order, which must be all that is left; NULL, or the error."""
    timed: cython.bint = False
    ranked: cython.bint = False
    request.timeout_ms = 0
    request.urgent = False
    while at < argc:
        if is_word(argv[at], b"TIMEOUT") and not timed:
            timed = True
            if at + 1 == argc:
                return b"ERR No value provided for TIMEOUT"
            if not parse_integer(argv[at + 1], cython.address(request.timeout_ms)) or request.timeout_ms <= 0:
                return b"ERR Invalid value for TIMEOUT"
        elif is_word(argv[at], b"PRIORITY") and not ranked:
            ranked = True
            if at + 1 == argc:
                return b"ERR No value provided for PRIORITY"
            if not parse_priority(argv[at + 1], cython.address(request.urgent)):
                return BAD_PRIORITY
        else:
            return unexpected(UNEXPECTED, argv[at])
        at += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_keys(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    """Key positions for cluster, ACL and COMMAND GETKEYS; spelling is not checked here."""
    inputs: cython.longlong = 0
    outputs: cython.longlong = 0
    at: cython.int
    i: cython.int
    if argc < 4:
        return
    report_read(ctx, 1)
    if not parse_integer(argv[3], cython.address(inputs)) or inputs < 0 or inputs > argc - 4:
        return
    at = 4 + cython.cast(cython.int, inputs) + 1
    if at >= argc or not parse_integer(argv[at], cython.address(outputs)):
        return
    if outputs < 0 or outputs > argc - at - 1:
        return
    for i in range(4, at - 1):
        report_read(ctx, i)
    for i in range(at + 1, at + 1 + cython.cast(cython.int, outputs)):
        report_written(ctx, i)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    grammar: cython.pointer(Grammar),
    request: cython.pointer(Request),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """Parses a command; the model, borrowed, or NULL with the error."""
    model: cython.pointer(rai_model) = cython.NULL
    error[0] = grammar.too_few
    if argc >= grammar.least:
        model = find_model(ctx, argv[1], error)
    if model == cython.NULL:
        return cython.NULL
    error[0] = grammar.parse(model, argv, argc, request)
    if error[0] == cython.NULL:
        error[0] = rai_queue_refusal(model)
    return model if error[0] == cython.NULL else cython.NULL


def run_model(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    grammar: cython.pointer(Grammar),
) -> cython.int:
    """The command of this grammar."""
    error: cython.p_const_char = cython.NULL
    request: Request
    job: cython.pointer(rai_job)
    model: cython.pointer(rai_model)
    if RedisModule_IsKeysPositionRequest(ctx):
        grammar.report_keys(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    model = parse(ctx, argv, argc, grammar, cython.address(request), cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    job = rai_job_new(RAI_JOB_EXECUTE, model, request.input_count, request.output_count)
    if not take_inputs(ctx, job, 0, argv + request.first_input, job.input_count, cython.address(error)):
        rai_job_free(job)
        return RedisModule_ReplyWithError(ctx, error)
    job.first_output = request.first_output
    job.timeout_ms = request.timeout_ms
    job.urgent = request.urgent
    return run_or_submit(ctx, argv + job.first_output, job, reply_to_execution)


def model_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    grammar: cython.pointer(Grammar),
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """What ``ParseExecution`` gives, for the command of this grammar."""
    i: cython.int
    job: cython.pointer(rai_job)
    request: Request
    model: cython.pointer(rai_model) = parse(ctx, argv, argc, grammar, cython.address(request), error)
    if model == cython.NULL:
        return cython.NULL
    if request.timeout_ms > 0:
        error[0] = NO_TIMEOUT_IN_DAG
        return cython.NULL
    if request.urgent:
        error[0] = NO_PRIORITY_IN_DAG
        return cython.NULL
    job = rai_job_new(RAI_JOB_EXECUTE, model, request.input_count, request.output_count)
    for i in range(job.input_count):
        names[i] = argv[request.first_input + i]
    for i in range(job.output_count):
        names[job.input_count + i] = argv[request.first_output + i]
    return job


# ---- AI.MODELEXECUTE -----------------------------------------------------------------

GRAMMAR = cython.declare(Grammar)
GRAMMAR.least = 8
GRAMMAR.too_few = b"ERR wrong number of arguments for 'AI.MODELEXECUTE' command"
GRAMMAR.parse = parse_counts
GRAMMAR.report_keys = report_keys


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelexecute(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELEXECUTE key INPUTS n input ... OUTPUTS m output ... [TIMEOUT t] [PRIORITY p]"""
    return run_model(ctx, argv, argc, cython.address(GRAMMAR))


def modelexecute_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """``ParseExecution`` for AI.MODELEXECUTE."""
    return model_op(ctx, argv, argc, cython.address(GRAMMAR), names, error)


rai_handlers.modelexecute = modelexecute
