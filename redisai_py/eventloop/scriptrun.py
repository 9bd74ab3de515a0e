"""AI.SCRIPTRUN, the deprecated form of AI.SCRIPTEXECUTE.

Source of the rules: spec/commands.md, section 16, and the older forms that decisions.md adds.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_JOB_EXECUTE,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_job_of_context,
    rai_model,
    rai_queue_refusal,
)
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Free,
    RedisModule_IsKeysPositionRequest,
    RedisModule_ReplyWithError,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.keyspace import find_script, report_read, report_written
from cython.cimports.redisai_py.eventloop.running import (
    NO_TIMEOUT_IN_DAG,
    cannot_wait,
    finish_execution,
    reply_with_cannot_wait,
    run_or_submit,
    take_inputs,
)
from cython.cimports.redisai_py.eventloop.script_execution import new_call
from cython.cimports.redisai_py.eventloop.strings import new_strings

NO_SECTION = cython.declare(cython.int, 0)
INPUTS = cython.declare(cython.int, 1)
OUTPUTS = cython.declare(cython.int, 2)

# The request being parsed (one thread, so one is enough).
input_count = cython.declare(cython.int, 0)
output_count = cython.declare(cython.int, 0)
timeout_ms = cython.declare(cython.longlong, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_sections(
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
) -> cython.p_const_char:
    """Parses everything from argv[3] on; ``names`` receives the inputs, then the outputs. NULL, or the error.

    ``$``, where the variadic part begins, is only a separator.
    """
    global input_count, output_count, timeout_ms
    section: cython.int = NO_SECTION
    timed: cython.bint = False
    listed: cython.bint = False
    at: cython.int = 3
    input_count = output_count = 0
    timeout_ms = 0
    while at < argc:
        if is_word(argv[at], b"TIMEOUT"):
            if timed:
                return b"ERR Already encountered an TIMEOUT section in SCRIPTRUN"
            at += 1
            if at >= argc or not parse_integer(argv[at], cython.address(timeout_ms)) or timeout_ms <= 0:
                return b"ERR Invalid value for TIMEOUT"
            timed = True
        elif is_word(argv[at], b"INPUTS"):
            if section == OUTPUTS:
                return b"ERR Already encountered an INPUTS section in SCRIPTRUN"
            if section == INPUTS:
                return b"ERR Already encountered an INPUTS keyword in SCRIPTRUN"
            section = INPUTS
        elif is_word(argv[at], b"OUTPUTS"):
            if section == OUTPUTS:
                return b"ERR Already encountered an OUTPUTS keyword in SCRIPTRUN"
            section = OUTPUTS
        elif is_word(argv[at], b"$"):
            if section != INPUTS:
                return b"ERR Encountered a variable size list of tensors outside of input section"
            if listed:
                return b"ERR Already encountered a variable size list of tensors"
            listed = True
        elif section == NO_SECTION:
            return b"ERR Unrecongnized parameter to SCRIPTRUN"
        else:
            names[input_count + output_count] = argv[at]
            if section == INPUTS:
                input_count += 1
            else:
                output_count += 1
        at += 1
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_sections(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    """Key positions: every word that is not a keyword of the command."""
    at: cython.int = 3
    section: cython.int = NO_SECTION
    if argc < 3:
        return
    report_read(ctx, 1)
    while at < argc:
        if is_word(argv[at], b"TIMEOUT"):
            at += 1
        elif is_word(argv[at], b"INPUTS"):
            section = INPUTS
        elif is_word(argv[at], b"OUTPUTS"):
            section = OUTPUTS
        elif not is_word(argv[at], b"$"):
            if section == OUTPUTS:
                report_written(ctx, at)
            else:
                report_read(ctx, at)
        at += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_scriptrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """The names of the outputs are looked up again: TIMEOUT may stand between them."""
    result: cython.int
    job: cython.pointer(rai_job) = rai_job_of_context(ctx)
    names: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(argc)
    parse_sections(argv, argc, names)
    result = finish_execution(ctx, names + job.input_count, job)
    RedisModule_Free(names)
    return result


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_job(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """Parses AI.SCRIPTRUN; a job, still without inputs, or NULL with the error; ``names`` as in ``parse_sections``."""
    script: cython.pointer(rai_model) = cython.NULL
    job: cython.pointer(rai_job)
    error[0] = b"ERR wrong number of arguments for 'AI.SCRIPTRUN' command"
    if argc >= 3:
        script = find_script(ctx, argv[1], error)
    if script == cython.NULL:
        return cython.NULL
    error[0] = parse_sections(argv, argc, names)
    if error[0] == cython.NULL:
        error[0] = rai_queue_refusal(script)
    if error[0] != cython.NULL:
        return cython.NULL
    job = rai_job_new(RAI_JOB_EXECUTE, script, input_count, output_count)
    job.call = new_call(ctx, argv[2])
    job.timeout_ms = timeout_ms
    return job


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTRUN key function [TIMEOUT t] INPUTS input ... [$ input ...] OUTPUTS output ..."""
    error: cython.p_const_char = cython.NULL
    job: cython.pointer(rai_job)
    names: cython.pointer(cython.pointer(RedisModuleString))
    if RedisModule_IsKeysPositionRequest(ctx):
        report_sections(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    names = new_strings(argc)
    job = new_job(ctx, argv, argc, names, cython.address(error))
    if job != cython.NULL:
        take_inputs(ctx, job, 0, names, job.input_count, cython.address(error))
    if error != cython.NULL:
        RedisModule_ReplyWithError(ctx, error)
        if job != cython.NULL:
            rai_job_free(job)
    else:
        run_or_submit(ctx, names + job.input_count, job, reply_to_scriptrun)
    RedisModule_Free(names)
    return REDISMODULE_OK


def scriptrun_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """``ParseExecution`` for AI.SCRIPTRUN."""
    job: cython.pointer(rai_job) = new_job(ctx, argv, argc, names, error)
    if job != cython.NULL and timeout_ms > 0:
        error[0] = NO_TIMEOUT_IN_DAG
        rai_job_free(job)
        return cython.NULL
    return job


rai_handlers.scriptrun = scriptrun
