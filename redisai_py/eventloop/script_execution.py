"""AI.SCRIPTEXECUTE: parses, and runs.

Source of the rules: spec/commands.md, sections 15 and 19, spec/scripts.md, section 3,
and the older forms that decisions.md adds.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_JOB_EXECUTE,
    rai_call,
    rai_call_new,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_model,
    rai_names,
    rai_names_new,
    rai_names_set,
    rai_queue_refusal,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Calloc,
    RedisModule_Free,
    RedisModule_IsKeysPositionRequest,
    RedisModule_ReplyWithError,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer, text_of
from cython.cimports.redisai_py.eventloop.keyspace import find_script, report_any, report_read, report_written
from cython.cimports.redisai_py.eventloop.running import (
    BAD_PRIORITY,
    NO_PRIORITY_IN_DAG,
    NO_TIMEOUT_IN_DAG,
    cannot_wait,
    parse_priority,
    reply_to_execution,
    reply_with_cannot_wait,
    run_or_submit,
    take_inputs,
    unexpected,
)
from cython.cimports.redisai_py.eventloop.strings import new_strings

NO_SCOPE = cython.declare(cython.int, -1)
KEYS = cython.declare(cython.int, 0)
INPUTS = cython.declare(cython.int, 1)
ARGS = cython.declare(cython.int, 2)
OUTPUTS = cython.declare(cython.int, 3)
LIST_INPUTS = cython.declare(cython.int, 4)

WORDS = cython.declare(cython.p_const_char[5], [b"KEYS", b"INPUTS", b"ARGS", b"OUTPUTS", b"LIST_INPUTS"])
NOT_A_COUNT = cython.declare(
    cython.p_const_char[5],
    [
        b"ERR Invalid or negative value found in number of KEYS",
        b"ERR Invalid argument for inputs count in AI.SCRIPTEXECUTE",
        b"ERR Invalid argument for keys count in AI.SCRIPTEXECUTE",
        b"ERR Invalid argument for outputs count in AI.SCRIPTEXECUTE",
        b"ERR Invalid argument for inputs count in AI.SCRIPTEXECUTE",
    ],
)
TOO_FEW = cython.declare(
    cython.p_const_char[5],
    [
        b"ERR Number of pre declared KEYS to be used in the command does not match the number of given arguments",
        b"ERR number of inputs to AI.SCRIPTEXECUTE command does not match the number of given arguments",
        b"ERR number of args to AI.SCRIPTEXECUTE command does not match the number of given arguments",
        b"ERR number of outputs to AI.SCRIPTEXECUTE command does not match the number of given arguments",
        b"ERR number of inputs to AI.SCRIPTEXECUTE command does not match the number of given arguments",
    ],
)
AGAIN = cython.declare(
    cython.p_const_char[4],
    [
        b"ERR Already Encountered KEYS scope in AI.SCRIPTEXECUTE command",
        b"ERR Already Encountered INPUTS scope in AI.SCRIPTEXECUTE command",
        b"ERR Already Encountered ARGS scope in AI.SCRIPTEXECUTE command",
        b"ERR Already Encountered OUTPUTS scope in AI.SCRIPTEXECUTE command",
    ],
)

# The request being parsed (one thread, so one is enough): of each scope the position
# of its first word, 0 while it was not seen, and how many words it has.
first = cython.declare(cython.int[5])
count = cython.declare(cython.int[5])
list_count = cython.declare(cython.int, 0)  # how many LIST_INPUTS there are; count is of all their words
timeout_ms = cython.declare(cython.longlong, 0)
urgent = cython.declare(cython.bint, False)


# ---- the grammar -----------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scope_of(argument: cython.pointer(RedisModuleString)) -> cython.int:
    """The scope that this word begins, or NO_SCOPE."""
    scope: cython.int
    for scope in range(5):
        if is_word(argument, WORDS[scope]):
            return scope
    return NO_SCOPE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_hash_tag(argument: cython.pointer(RedisModuleString)) -> cython.bint:
    length: cython.size_t = 0
    text: cython.p_const_char = RedisModule_StringPtrLen(argument, cython.address(length))
    return length > 2 and text[0] == b"{"[0] and text[length - 1] == b"}"[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def measure_scope(
    scope: cython.int,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    at: cython.p_int,
    words: cython.p_longlong,
) -> cython.p_const_char:
    """Finds the words of the scope whose keyword is at ``at``: their place and number. NULL, or the error."""
    left: cython.int = argc - at[0] - 1  # arguments behind the keyword
    is_count: cython.bint
    if scope == KEYS and left > 0 and is_hash_tag(argv[at[0] + 1]):  # the older form, without a count
        words[0] = 1
        at[0] += 1
        return cython.NULL
    if scope == KEYS and left < 2:
        return b"ERR Missing arguments after KEYS keyword"
    if left < 1:
        return b"ERR Invalid arguments provided to AI.SCRIPTEXECUTE"
    is_count = parse_integer(argv[at[0] + 1], words)
    if not is_count or (scope == KEYS and words[0] <= 0):
        return NOT_A_COUNT[scope]
    if words[0] < 0:
        words[0] = 0
    if words[0] > left - 1:
        return TOO_FEW[scope]
    at[0] += 2
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_timeout(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, at: cython.int
) -> cython.p_const_char:
    """Parses ``TIMEOUT t``, which must be all that is left; NULL, or the error."""
    if at + 1 >= argc:
        return b"ERR No value provided for TIMEOUT in AI.SCRIPTEXECUTE"
    if not parse_integer(argv[at + 1], cython.address(timeout_ms)) or timeout_ms <= 0:
        return b"ERR Invalid value for TIMEOUT"
    if at + 2 < argc:
        return b"ERR Encountered problem parsing AI.SCRIPTEXECUTE"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_scopes(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, in_dag: cython.bint
) -> cython.p_const_char:
    """Parses everything from argv[3] on; NULL, or the error."""
    global list_count, timeout_ms, urgent
    at: cython.int = 3
    scope: cython.int
    words: cython.longlong = 0
    error: cython.p_const_char
    for scope in range(5):
        first[scope] = count[scope] = 0
    list_count = 0
    timeout_ms = 0
    urgent = False
    if not in_dag and (argc < 4 or (scope_of(argv[3]) != KEYS and scope_of(argv[3]) != INPUTS)):
        return b"ERR KEYS or INPUTS scope must be provided first for AI.SCRIPTEXECUTE command"
    while at < argc:
        if is_word(argv[at], b"TIMEOUT"):
            return parse_timeout(argv, argc, at)
        if is_word(argv[at], b"PRIORITY"):
            if at + 1 == argc or not parse_priority(argv[at + 1], cython.address(urgent)):
                return BAD_PRIORITY
            at += 2
            continue
        scope = scope_of(argv[at])
        if scope == NO_SCOPE:
            return unexpected(b"ERR Invalid AI.SCRIPTEXECUTE command. Unexpected argument: %s", argv[at])
        if scope != LIST_INPUTS and first[scope] > 0:
            return AGAIN[scope]
        error = measure_scope(scope, argv, argc, cython.address(at), cython.address(words))
        if error != cython.NULL:
            return error
        if first[scope] == 0:
            first[scope] = at
        count[scope] += cython.cast(cython.int, words)
        list_count += scope == LIST_INPUTS
        at += cython.cast(cython.int, words)
    return cython.NULL


def report_scopes(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    start: cython.int,
    end: cython.int,
    in_dag: cython.bint,
) -> cython.void:
    """Key positions for cluster, ACL and COMMAND GETKEYS: every key, up to where the grammar is broken (Q36).

    The command is argv[start] to argv[end - 1]; in a DAG its tensors are no keys.
    """
    at: cython.int = start + 3
    scope: cython.int
    words: cython.longlong = 0
    i: cython.int
    if end - start < 3:
        return
    report_read(ctx, start + 1)
    while at < end:
        if is_word(argv[at], b"PRIORITY"):
            at += 2
            continue
        scope = scope_of(argv[at])
        if scope == NO_SCOPE:
            return
        if measure_scope(scope, argv, end, cython.address(at), cython.address(words)) != cython.NULL:
            return
        for i in range(cython.cast(cython.int, words)):
            if scope == KEYS:
                report_any(ctx, at + i)
            elif scope == OUTPUTS and not in_dag:
                report_written(ctx, at + i)
            elif scope != ARGS and not in_dag:
                report_read(ctx, at + i)
        at += cython.cast(cython.int, words)


# ---- the job ---------------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def names_of(argv: cython.pointer(cython.pointer(RedisModuleString)), scope: cython.int) -> cython.pointer(rai_names):
    """Copies of a scope's words, which may hold any bytes; NULL for none."""
    i: int64_t
    length: cython.size_t = 0
    text: cython.p_const_char
    names: cython.pointer(rai_names)
    if count[scope] == 0:
        return cython.NULL
    names = rai_names_new(count[scope])
    for i in range(count[scope]):
        text = RedisModule_StringPtrLen(argv[first[scope] + i], cython.address(length))
        rai_names_set(names, i, text, length)
    return names


def new_call(ctx: cython.pointer(RedisModuleCtx), function: cython.pointer(RedisModuleString)) -> cython.pointer(
    rai_call
):
    length: cython.size_t = 0
    name: cython.p_const_char = text_of(function, cython.address(length))
    return rai_call_new(ctx, name, length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def collect_inputs(
    job: cython.pointer(rai_job),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
) -> cython.void:
    """The names of the inputs, those of all LIST_INPUTS last; gives the job the lengths of these lists."""
    at: cython.int = 3
    input: cython.int = count[INPUTS]
    list: cython.int = 0
    scope: cython.int
    words: cython.longlong = 0
    i: cython.int
    for i in range(count[INPUTS]):
        names[i] = argv[first[INPUTS] + i]
    if list_count == 0:
        return
    job.call.list_lengths = cython.cast(cython.pointer(int64_t), RedisModule_Calloc(list_count, cython.sizeof(int64_t)))
    job.call.list_count = list_count
    while list < list_count:
        if is_word(argv[at], b"PRIORITY"):
            at += 2
            continue
        scope = scope_of(argv[at])
        measure_scope(scope, argv, argc, cython.address(at), cython.address(words))
        if scope == LIST_INPUTS:
            for i in range(cython.cast(cython.int, words)):
                names[input + i] = argv[at + i]
            job.call.list_lengths[list] = words
            input += cython.cast(cython.int, words)
            list += 1
        at += cython.cast(cython.int, words)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    in_dag: cython.bint,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """Parses AI.SCRIPTEXECUTE; the script, borrowed, or NULL with the error."""
    script: cython.pointer(rai_model) = cython.NULL
    error[0] = b"ERR wrong number of arguments for 'AI.SCRIPTEXECUTE' command"
    if argc >= 3:
        script = find_script(ctx, argv[1], error)
    if script == cython.NULL:
        return cython.NULL
    error[0] = parse_scopes(argv, argc, in_dag)
    if error[0] == cython.NULL:
        error[0] = rai_queue_refusal(script)
    return script if error[0] == cython.NULL else cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_execution(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    script: cython.pointer(rai_model),
) -> cython.pointer(rai_job):
    """A job, still without inputs, for what was parsed last."""
    job: cython.pointer(rai_job) = rai_job_new(
        RAI_JOB_EXECUTE, script, count[INPUTS] + count[LIST_INPUTS], count[OUTPUTS]
    )
    job.call = new_call(ctx, argv[2])
    job.call.keys = names_of(argv, KEYS)
    job.call.args = names_of(argv, ARGS)
    return job


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptexecute(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTEXECUTE key function [KEYS n key ...] [INPUTS n input ...] [ARGS n arg ...] [OUTPUTS n output ...]
    [PRIORITY p] [TIMEOUT t], in any order but that KEYS or INPUTS come first and TIMEOUT last"""
    error: cython.p_const_char = cython.NULL
    script: cython.pointer(rai_model)
    job: cython.pointer(rai_job)
    names: cython.pointer(cython.pointer(RedisModuleString))
    found: cython.bint
    if RedisModule_IsKeysPositionRequest(ctx):
        report_scopes(ctx, argv, 0, argc, False)
        return REDISMODULE_OK
    if cannot_wait(ctx):
        return reply_with_cannot_wait(ctx)
    script = parse(ctx, argv, argc, False, cython.address(error))
    if script == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    job = new_execution(ctx, argv, script)
    if list_count == 0:
        found = take_inputs(ctx, job, 0, argv + first[INPUTS], count[INPUTS], cython.address(error))
    else:
        names = new_strings(argc)
        collect_inputs(job, argv, argc, names)
        found = take_inputs(ctx, job, 0, names, job.input_count, cython.address(error))
        RedisModule_Free(names)
    if not found:
        rai_job_free(job)
        return RedisModule_ReplyWithError(ctx, error)
    job.first_output = first[OUTPUTS]
    job.timeout_ms = timeout_ms
    job.urgent = urgent
    return run_or_submit(ctx, argv + job.first_output, job, reply_to_execution)


# ---- in a DAG -------------------------------------------------------------------------


def scriptexecute_op(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    names: cython.pointer(cython.pointer(RedisModuleString)),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_job):
    """``ParseExecution`` for AI.SCRIPTEXECUTE."""
    i: cython.int
    job: cython.pointer(rai_job)
    script: cython.pointer(rai_model) = parse(ctx, argv, argc, True, error)
    if script != cython.NULL and timeout_ms > 0:
        error[0] = NO_TIMEOUT_IN_DAG
    elif script != cython.NULL and urgent:
        error[0] = NO_PRIORITY_IN_DAG
    if error[0] != cython.NULL:
        return cython.NULL
    job = new_execution(ctx, argv, script)
    collect_inputs(job, argv, argc, names)
    for i in range(job.output_count):
        names[job.input_count + i] = argv[first[OUTPUTS] + i]
    return job


rai_handlers.scriptexecute = scriptexecute
