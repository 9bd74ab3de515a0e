"""AI.MODELEXECUTE and its deprecated form, AI.MODELRUN.

They parse, block the client, and, when a worker is done, store and reply. Source of
the rules: spec/commands.md, sections 10, 11 and 19, and decisions Q3, Q36 and Q38.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_JOB_EXECUTE,
    RAI_MODEL_READY,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_job_of_context,
    rai_job_submit_execution,
    rai_model,
    rai_queue_refusal,
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
    RedisModule_IsKeysPositionRequest,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer
from cython.cimports.redisai_py.eventloop.effects import obstacle
from cython.cimports.redisai_py.eventloop.keyspace import (
    find_model,
    find_tensor,
    open_for_writing,
    reply_with_wrong_type,
    report_read,
    report_written,
)
from cython.cimports.redisai_py.eventloop.notifications import notify
from cython.cimports.redisai_py.eventloop.tensors import replicate_tensor, store_tensor

CANNOT_BLOCK = cython.declare(
    cython.int,
    REDISMODULE_CTX_FLAGS_MULTI
    | REDISMODULE_CTX_FLAGS_LUA
    | REDISMODULE_CTX_FLAGS_DENY_BLOCKING
    | REDISMODULE_CTX_FLAGS_ASYNC_LOADING,
)
UNEXPECTED = cython.declare(cython.p_const_char, b"Invalid argument: %s")  # without ERR, as RedisAI sends it

NO_TIMEOUT_IN_DAG = b"ERR TIMEOUT not allowed within a DAG command"
NO_PRIORITY_IN_DAG = b"ERR PRIORITY not allowed within a DAG command"
BAD_PRIORITY = b"ERR Invalid value for PRIORITY, which must be HIGH or NORMAL"

# The request being parsed (one thread, so one is enough).
first_input = cython.declare(cython.int, 0)
input_count = cython.declare(cython.longlong, 0)
first_output = cython.declare(cython.int, 0)
output_count = cython.declare(cython.longlong, 0)
timeout_ms = cython.declare(cython.longlong, 0)
urgent = cython.declare(cython.bint, False)
message = cython.declare(cython.char[512])


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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_counts(
    model: cython.pointer(rai_model), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.p_const_char:
    """Parses ``INPUTS n input ... OUTPUTS m output ... [TIMEOUT t] [PRIORITY p]`` from argv[2] on; NULL, or the error.

    The counts of a model that is still loading are not known; its worker checks them. One
    that could not be loaded answers with the reason, whatever the counts.
    """
    global first_input, input_count, first_output, output_count
    known: cython.bint = model.state == RAI_MODEL_READY
    at: cython.int
    if not is_word(argv[2], b"INPUTS"):
        return b"ERR INPUTS not specified"
    if not parse_integer(argv[3], cython.address(input_count)):
        return b"ERR Invalid argument for input_count"
    if input_count <= 0:
        return b"ERR Input count must be a positive integer"
    if known and input_count != model.inputs.count:
        return b"Number of keys given as INPUTS here does not match model definition"
    if input_count > argc - 4:
        return b"ERR number of input keys to AI.MODELEXECUTE command does not match the number of given arguments"
    first_input = 4
    at = 4 + cython.cast(cython.int, input_count)
    if at >= argc or not is_word(argv[at], b"OUTPUTS"):
        return b"ERR OUTPUTS not specified"
    if at + 1 >= argc or not parse_integer(argv[at + 1], cython.address(output_count)):
        return b"ERR Invalid argument for output_count"
    if output_count <= 0:
        return b"ERR Output count must be a positive integer"
    if known and output_count != model.outputs.count:
        return b"Number of keys given as OUTPUTS here does not match model definition"
    first_output = at + 2
    if output_count > argc - first_output:
        return b"ERR number of output keys to AI.MODELEXECUTE command does not match the number of given arguments"
    return parse_options(argv, argc, first_output + cython.cast(cython.int, output_count))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_options(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, at: cython.int
) -> cython.p_const_char:
    """Parses ``[TIMEOUT t] [PRIORITY p]``, in any order, which must be all that is left; NULL, or the error."""
    global timeout_ms, urgent
    timed: cython.bint = False
    ranked: cython.bint = False
    timeout_ms = 0
    urgent = False
    while at < argc:
        if is_word(argv[at], b"TIMEOUT") and not timed:
            timed = True
            if at + 1 == argc:
                return b"ERR No value provided for TIMEOUT"
            if not parse_integer(argv[at + 1], cython.address(timeout_ms)) or timeout_ms <= 0:
                return b"ERR Invalid value for TIMEOUT"
        elif is_word(argv[at], b"PRIORITY") and not ranked:
            ranked = True
            if at + 1 == argc:
                return b"ERR No value provided for PRIORITY"
            if not parse_priority(argv[at + 1], cython.address(urgent)):
                return BAD_PRIORITY
        else:
            return unexpected(UNEXPECTED, argv[at])
        at += 2
    return cython.NULL


def parse_priority(argument: cython.pointer(RedisModuleString), is_high: cython.pointer(cython.bint)) -> cython.bint:
    """HIGH or NORMAL; false for anything else."""
    is_high[0] = is_word(argument, b"HIGH")
    return is_high[0] or is_word(argument, b"NORMAL")


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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def submit(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    model: cython.pointer(rai_model),
) -> cython.int:
    """Looks up the inputs of the parsed request and gives it to a worker, or runs it here if that is known to be
    the shorter way."""
    error: cython.p_const_char = cython.NULL
    job: cython.pointer(rai_job) = rai_job_new(RAI_JOB_EXECUTE, model, input_count, output_count)
    if not take_inputs(ctx, job, 0, argv + first_input, input_count, cython.address(error)):
        rai_job_free(job)
        return RedisModule_ReplyWithError(ctx, error)
    job.first_output = first_output
    job.timeout_ms = timeout_ms
    job.urgent = urgent
    if rai_run_at_once(job):
        finish_execution(ctx, argv + first_output, job)
        rai_job_free(job)
        return REDISMODULE_OK
    rai_job_submit_execution(ctx, job, reply_to_execution)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def model_to_execute(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """Parses AI.MODELEXECUTE; the model, borrowed, or NULL with the error."""
    model: cython.pointer(rai_model) = cython.NULL
    error[0] = b"ERR wrong number of arguments for 'AI.MODELEXECUTE' command"
    if argc >= 8:
        model = find_model(ctx, argv[1], error)
    if model == cython.NULL:
        return cython.NULL
    error[0] = parse_counts(model, argv, argc)
    if error[0] == cython.NULL:
        error[0] = rai_queue_refusal(model)
    return model if error[0] == cython.NULL else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelexecute(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELEXECUTE key INPUTS n input ... OUTPUTS m output ... [TIMEOUT t] [PRIORITY p]"""
    error: cython.p_const_char = cython.NULL
    model: cython.pointer(rai_model)
    if RedisModule_IsKeysPositionRequest(ctx):
        report_keys(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    model = model_to_execute(ctx, argv, argc, cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return submit(ctx, argv, model)


# ---- AI.MODELRUN ---------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def first_word_of_run(argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int) -> cython.int:
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
def parse_run(
    model: cython.pointer(rai_model), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.p_const_char:
    """Parses ``[TIMEOUT t] INPUTS input ... OUTPUTS output ...``; NULL, or the error."""
    global first_input, input_count, first_output, output_count, timeout_ms, urgent
    known: cython.bint = model.state == RAI_MODEL_READY
    at: cython.int = first_word_of_run(argv, argc)
    timeout_ms = 0
    urgent = False
    if at == 4 and (not parse_integer(argv[3], cython.address(timeout_ms)) or timeout_ms <= 0):
        return b"ERR Invalid value for TIMEOUT"
    if not is_word(argv[at], b"INPUTS"):
        return b"ERR INPUTS not specified"
    first_input = at + 1
    at = find_outputs(argv, argc, first_input)
    input_count = at - first_input
    first_output = at + 1
    output_count = argc - first_output if at < argc else 0
    if known and input_count != model.inputs.count:
        return b"Number of keys given as INPUTS here does not match model definition"
    if output_count == 0 or (known and output_count != model.outputs.count):
        return b"Number of keys given as OUTPUTS here does not match model definition"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_keys_of_run(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    """Key positions: the model, and all that follows INPUTS but for the word OUTPUTS."""
    start: cython.int = first_word_of_run(argv, argc) + 1
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


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def model_to_run(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """Parses AI.MODELRUN; the model, borrowed, or NULL with the error."""
    model: cython.pointer(rai_model) = cython.NULL
    error[0] = b"ERR wrong number of arguments for 'AI.MODELRUN' command"
    if argc >= 6:
        model = find_model(ctx, argv[1], error)
    if model == cython.NULL:
        return cython.NULL
    error[0] = parse_run(model, argv, argc)
    if error[0] == cython.NULL:
        error[0] = rai_queue_refusal(model)
    return model if error[0] == cython.NULL else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelrun(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELRUN key [TIMEOUT t] INPUTS input ... OUTPUTS output ..."""
    error: cython.p_const_char = cython.NULL
    model: cython.pointer(rai_model)
    if RedisModule_IsKeysPositionRequest(ctx):
        report_keys_of_run(ctx, argv, argc)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    model = model_to_run(ctx, argv, argc, cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return submit(ctx, argv, model)


# ---- executions in a DAG -----------------------------------------------------------


def model_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    deprecated: cython.bint,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """A job, still without inputs, for AI.MODELEXECUTE or AI.MODELRUN in a DAG; NULL with the error.

    ``names``, which has room for argc, receives the names of the inputs and, behind them, of the outputs.
    """
    i: cython.int
    job: cython.pointer(rai_job)
    model: cython.pointer(rai_model)
    if deprecated:
        model = model_to_run(ctx, argv, argc, error)
    else:
        model = model_to_execute(ctx, argv, argc, error)
    if model != cython.NULL and timeout_ms > 0:
        error[0] = NO_TIMEOUT_IN_DAG
    elif model != cython.NULL and urgent:
        error[0] = NO_PRIORITY_IN_DAG
    if error[0] != cython.NULL:
        return cython.NULL
    job = rai_job_new(RAI_JOB_EXECUTE, model, input_count, output_count)
    for i in range(job.input_count):
        names[i] = argv[first_input + i]
    for i in range(job.output_count):
        names[job.input_count + i] = argv[first_output + i]
    return job


rai_handlers.modelexecute = modelexecute
rai_handlers.modelrun = modelrun
