"""Load arguments and AI.CONFIG. Source of the rules: spec/config-info.md, sections 1 and 2."""

import cython
from cython.cimports.command_handlers import rai_handlers, rai_hooks
from cython.cimports.core import (
    RAI_JOB_BACKEND,
    RAI_PATH_SIZE,
    rai_backend_from_name,
    rai_config,
    rai_control_queue,
    rai_flows_set_path,
    rai_get_backends_path,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_job_of_context,
    rai_job_run_in_place,
    rai_job_submit,
    rai_live_jobs,
    rai_live_models,
    rai_live_tensors,
    rai_option,
    rai_option_at,
    rai_set_backends_path,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memcpy, strcmp, strlen, strncmp, strstr
from cython.cimports.redis_api import (
    REDISMODULE_CLIENTINFO_FLAG_UNIXSOCKET,
    REDISMODULE_CTX_FLAGS_DENY_BLOCKING,
    REDISMODULE_CTX_FLAGS_LUA,
    REDISMODULE_CTX_FLAGS_MULTI,
    REDISMODULE_ERR,
    REDISMODULE_OK,
    REDISMODULE_REPLY_ARRAY,
    REDISMODULE_REPLY_STRING,
    RedisModule_Alloc,
    RedisModule_Call,
    RedisModule_CallReplyArrayElement,
    RedisModule_CallReplyLength,
    RedisModule_CallReplyStringPtr,
    RedisModule_CallReplyType,
    RedisModule_FreeCallReply,
    RedisModule_GetClientId,
    RedisModule_GetClientInfoById,
    RedisModule_GetContextFlags,
    RedisModule_Log,
    RedisModule_ReplyWithCString,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithNull,
    RedisModule_ReplyWithSimpleString,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCallReply,
    RedisModuleClientInfo,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer, text_of
from cython.cimports.redisai_py.eventloop.parameters import register_parameters
from cython.cimports.redisai_py.eventloop.replies import reply_with_pairs

CANNOT_BLOCK = cython.declare(
    cython.int, REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_DENY_BLOCKING
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_of(text: cython.p_const_char) -> cython.p_char:
    length: cython.size_t = strlen(text) + 1
    copy: cython.p_char = cython.cast(cython.p_char, RedisModule_Alloc(length))
    memcpy(copy, text, length)
    return copy


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def backend_job(name: cython.pointer(RedisModuleString), path: cython.pointer(RedisModuleString)) -> cython.pointer(
    rai_job
):
    """A job that loads a backend, or NULL for an unknown one."""
    length: cython.size_t = 0
    text: cython.p_const_char = text_of(name, cython.address(length))
    backend: cython.int = rai_backend_from_name(text, length)
    job: cython.pointer(rai_job)
    if backend < 0:
        return cython.NULL
    job = rai_job_new(RAI_JOB_BACKEND, cython.NULL, 0, 0)
    job.backend = backend
    job.path = copy_of(text_of(path, cython.address(length)))
    return job


# ---- load arguments -------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def find_option(key: cython.pointer(RedisModuleString)) -> cython.pointer(rai_option):
    """The option of this name, or NULL."""
    index: int64_t = 0
    option: cython.pointer(rai_option) = rai_option_at(0)
    while option != cython.NULL and not is_word(key, option.argument):
        index += 1
        option = rai_option_at(index)
    return option


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_option(
    ctx: cython.pointer(RedisModuleCtx),
    key: cython.pointer(RedisModuleString),
    value: cython.pointer(RedisModuleString),
) -> cython.bint:
    """Applies a pair that is no backend; false when the key is unknown or the value is not valid."""
    number: cython.longlong = 0
    option: cython.pointer(rai_option) = find_option(key)
    if option == cython.NULL:
        return False
    if not parse_integer(value, cython.address(number)) or number < option.least or number > option.most:
        return False
    option.value[0] = number
    RedisModule_Log(ctx, b"notice", b"Setting %s parameter to: %lld", option.argument, number)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_backend(key: cython.pointer(RedisModuleString)) -> cython.bint:
    length: cython.size_t = 0
    text: cython.p_const_char = text_of(key, cython.address(length))
    return rai_backend_from_name(text, length) >= 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_argument(
    ctx: cython.pointer(RedisModuleCtx),
    key: cython.pointer(RedisModuleString),
    value: cython.pointer(RedisModuleString),
    backends: cython.bint,
) -> cython.bint:
    """Applies one pair, if its turn is now; false when it cannot be applied."""
    job: cython.pointer(rai_job)
    loaded: cython.bint
    if is_word(key, b"FLOWS"):
        return backends or rai_flows_set_path(RedisModule_StringPtrLen(value, cython.NULL)) == REDISMODULE_OK
    if is_word(key, b"BACKENDSPATH") or is_backend(key) != backends:
        return True
    if not backends:
        return set_option(ctx, key, value)
    job = backend_job(key, value)
    # Module load: nothing is served yet, so waiting for Python stalls nobody.
    rai_job_run_in_place(job, rai_control_queue())
    loaded = job.error == cython.NULL
    rai_job_free(job)
    return loaded


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_arguments(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    module_dir: cython.p_const_char,
) -> cython.int:
    """Applies the arguments of --loadmodule: BACKENDSPATH, then the options, then the backends, which read both.

    What the server's own configuration says of them goes before the arguments.
    """
    at: cython.int
    backends: cython.int
    default_path: cython.char[RAI_PATH_SIZE]
    snprintf(default_path, cython.sizeof(default_path), b"%s/backends", module_dir)
    rai_set_backends_path(default_path)
    if argc % 2 != 0:
        RedisModule_Log(
            ctx,
            b"warning",
            b"Even number of arguments provided to module. Please provide arguments as KEY VAL pairs",
        )
        return REDISMODULE_ERR
    for at in range(0, argc, 2):
        if is_word(argv[at], b"BACKENDSPATH"):
            rai_set_backends_path(RedisModule_StringPtrLen(argv[at + 1], cython.NULL))
    for backends in range(2):
        if backends and not register_parameters(ctx):
            return REDISMODULE_ERR
        for at in range(0, argc, 2):
            if not load_argument(ctx, argv[at], argv[at + 1], backends):
                RedisModule_Log(
                    ctx,
                    b"warning",
                    b"ERR error processing argument: %s %s",
                    RedisModule_StringPtrLen(argv[at], cython.NULL),
                    RedisModule_StringPtrLen(argv[at + 1], cython.NULL),
                )
                return REDISMODULE_ERR
    return REDISMODULE_OK


# ---- AI.CONFIG ---------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_local(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Whether the client is on this machine; what scripts call has none, and Valkey must not be asked about it."""
    info: RedisModuleClientInfo
    flags: cython.int = RedisModule_GetContextFlags(ctx)
    info.version = 1
    if flags & REDISMODULE_CTX_FLAGS_DENY_BLOCKING and not flags & REDISMODULE_CTX_FLAGS_MULTI:
        return False
    if RedisModule_GetClientInfoById(cython.address(info), RedisModule_GetClientId(ctx)) != REDISMODULE_OK:
        return False
    if info.flags & REDISMODULE_CLIENTINFO_FLAG_UNIXSOCKET:
        return True
    return strncmp(info.addr, b"127.", 4) == 0 or strcmp(info.addr, b"::1") == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def may_load_code(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Whether this client could use MODULE LOAD: Redis 7 asks enable-module-command, Redis 6 allows it."""
    allowed: cython.bint = True
    length: cython.size_t = 0
    value: cython.p_const_char
    element: cython.pointer(RedisModuleCallReply)
    reply: cython.pointer(RedisModuleCallReply) = RedisModule_Call(
        ctx,
        b"CONFIG",
        b"cc",
        cython.cast(cython.p_const_char, b"GET"),
        cython.cast(cython.p_const_char, b"enable-module-command"),
    )
    if reply == cython.NULL:
        return False
    if RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ARRAY and RedisModule_CallReplyLength(reply) == 2:
        element = RedisModule_CallReplyArrayElement(reply, 1)
        if RedisModule_CallReplyType(element) == REDISMODULE_REPLY_STRING:
            value = RedisModule_CallReplyStringPtr(element, cython.address(length))
            allowed = (length == 3 and strncmp(value, b"yes", 3) == 0) or (
                length == 5 and strncmp(value, b"local", 5) == 0 and is_local(ctx)
            )
    RedisModule_FreeCallReply(reply)
    return allowed


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_not_allowed(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    return RedisModule_ReplyWithError(
        ctx,
        b"ERR loading code at run time is not allowed: enable-module-command must be yes, or local for a local"
        b" connection; load arguments work always",
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def goes_up(path: cython.p_const_char) -> cython.bint:
    """Whether a component of the path is ``..``."""
    at: cython.p_const_char = strstr(path, b"..")
    while at != cython.NULL:
        if (at == path or (at - 1)[0] == b"/"[0]) and (at[2] == 0 or at[2] == b"/"[0]):
            return True
        at = strstr(at + 1, b"..")
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leaves_backends_path(path: cython.p_const_char) -> cython.bint:
    """Whether a path names something outside BACKENDSPATH."""
    base: cython.char[RAI_PATH_SIZE]
    length: cython.size_t
    rai_get_backends_path(base, cython.sizeof(base))
    length = strlen(base)
    if goes_up(path):
        return True
    return path[0] == b"/"[0] and (strncmp(path, base, length) != 0 or path[length] != b"/"[0])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish_loadbackend(ctx: cython.pointer(RedisModuleCtx), job: cython.pointer(rai_job)) -> cython.int:
    if job.error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, b"ERR error loading backend")
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_loadbackend(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    return finish_loadbackend(ctx, rai_job_of_context(ctx))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def config_loadbackend(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    job: cython.pointer(rai_job)
    if argc < 4:
        return RedisModule_WrongArity(ctx)
    job = backend_job(argv[2], argv[3])
    if job == cython.NULL:
        return RedisModule_ReplyWithError(ctx, b"ERR unsupported backend")
    if not may_load_code(ctx):
        rai_job_free(job)
        return reply_not_allowed(ctx)
    if leaves_backends_path(job.path):
        rai_job_free(job)
        return RedisModule_ReplyWithError(ctx, b"ERR error loading backend")
    if RedisModule_GetContextFlags(ctx) & CANNOT_BLOCK:
        rai_job_run_in_place(job, rai_control_queue())
        finish_loadbackend(ctx, job)
        rai_job_free(job)
    else:
        rai_job_submit(ctx, job, rai_control_queue(), reply_to_loadbackend)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_live_objects(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    """How many objects there are, in the keyspace and out of it: shows what is not given back."""
    reply_with_pairs(ctx, 3)
    RedisModule_ReplyWithCString(ctx, b"tensors")
    RedisModule_ReplyWithLongLong(ctx, rai_live_tensors())
    RedisModule_ReplyWithCString(ctx, b"models")
    RedisModule_ReplyWithLongLong(ctx, rai_live_models())
    RedisModule_ReplyWithCString(ctx, b"jobs")
    return RedisModule_ReplyWithLongLong(ctx, rai_live_jobs())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def config_get(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    path: cython.char[RAI_PATH_SIZE]
    if argc < 3:
        return RedisModule_WrongArity(ctx)
    if is_word(argv[2], b"BACKENDSPATH"):
        rai_get_backends_path(path, cython.sizeof(path))
        return RedisModule_ReplyWithCString(ctx, path)
    if is_word(argv[2], b"MODEL_CHUNK_SIZE"):
        return RedisModule_ReplyWithLongLong(ctx, rai_config().model_chunk_size)
    if is_word(argv[2], b"MAX_QUEUE_DEPTH") or is_word(argv[2], b"DEFAULT_BATCH_DELAY"):
        return RedisModule_ReplyWithLongLong(ctx, find_option(argv[2]).value[0])
    if is_word(argv[2], b"LIVE_OBJECTS"):
        return reply_with_live_objects(ctx)
    return RedisModule_ReplyWithNull(ctx)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def config_number(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """Changes an option that RedisAI has not; on Redis 6.2 there is no other way at run time."""
    number: cython.longlong = 0
    option: cython.pointer(rai_option) = find_option(argv[1])
    if argc < 3:
        return RedisModule_WrongArity(ctx)
    if not parse_integer(argv[2], cython.address(number)) or number < option.least or number > option.most:
        return RedisModule_ReplyWithError(ctx, b"ERR invalid value for the option")
    option.value[0] = number
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def config(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.CONFIG LOADBACKEND b path | BACKENDSPATH path | MODEL_CHUNK_SIZE n | MAX_QUEUE_DEPTH n |
    DEFAULT_BATCH_DELAY n | GET option"""
    number: cython.longlong = 0
    if argc < 2:
        return RedisModule_WrongArity(ctx)
    if is_word(argv[1], b"GET"):
        return config_get(ctx, argv, argc)
    if is_word(argv[1], b"LOADBACKEND"):
        return config_loadbackend(ctx, argv, argc)
    if is_word(argv[1], b"BACKENDSPATH"):
        if argc < 3:
            return RedisModule_ReplyWithError(ctx, b"ERR BACKENDSPATH: missing path argument")
        if not may_load_code(ctx):
            return reply_not_allowed(ctx)
        rai_set_backends_path(RedisModule_StringPtrLen(argv[2], cython.NULL))
        return RedisModule_ReplyWithSimpleString(ctx, b"OK")
    if is_word(argv[1], b"MODEL_CHUNK_SIZE"):
        if argc < 3:
            return RedisModule_ReplyWithError(ctx, b"ERR MODEL_CHUNK_SIZE: missing chunk size")
        if not parse_integer(argv[2], cython.address(number)) or number <= 0:
            return RedisModule_ReplyWithError(ctx, b"ERR MODEL_CHUNK_SIZE: invalid chunk size")
        rai_config().model_chunk_size = number
        return RedisModule_ReplyWithSimpleString(ctx, b"OK")
    if is_word(argv[1], b"MAX_QUEUE_DEPTH") or is_word(argv[1], b"DEFAULT_BATCH_DELAY"):
        return config_number(ctx, argv, argc)
    return RedisModule_ReplyWithError(ctx, b"ERR unsupported subcommand")


rai_handlers.config = config
rai_hooks.load_arguments = load_arguments
