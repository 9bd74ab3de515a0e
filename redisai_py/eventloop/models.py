"""AI.MODELSTORE, AI.MODELGET, AI.MODELDEL and AI._MODELSCAN.

Storing a model parses the command and keeps its blob here, has a worker create
the session while only the client waits, and publishes the model when that is
done; until then the old value serves. Source of the rules: spec/commands.md,
sections 5 and 7 to 9, and the decisions on MODELSTORE.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_JOB_LOAD,
    RAI_TF,
    rai_backend_from_name,
    rai_backend_name,
    rai_blob,
    rai_blob_hold,
    rai_blob_new,
    rai_blob_slice,
    rai_config,
    rai_control_queue,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_job_of_context,
    rai_job_run_in_place,
    rai_job_spawn,
    rai_job_submit,
    rai_model,
    rai_model_new,
    rai_model_release,
    rai_model_retain,
    rai_model_set_names,
    rai_model_set_tag,
    rai_names,
    rai_names_free,
    rai_names_new,
    rai_names_set,
    rai_queue_of_device,
    rai_registry_add,
    rai_registry_snapshot,
    rai_types,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcmp, memcpy, strlen
from cython.cimports.posix.strings import strncasecmp
from cython.cimports.redis_api import (
    REDISMODULE_CTX_FLAGS_DENY_BLOCKING,
    REDISMODULE_CTX_FLAGS_LOADING,
    REDISMODULE_CTX_FLAGS_LUA,
    REDISMODULE_CTX_FLAGS_MULTI,
    REDISMODULE_CTX_FLAGS_REPLICATED,
    REDISMODULE_OK,
    REDISMODULE_OPEN_KEY_NOTOUCH,
    REDISMODULE_READ,
    RedisModule_CloseKey,
    RedisModule_DeleteKey,
    RedisModule_Free,
    RedisModule_GetContextFlags,
    RedisModule_Log,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue,
    RedisModule_ModuleTypeSetValue,
    RedisModule_OpenKey,
    RedisModule_Replicate,
    RedisModule_ReplicateVerbatim,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_loose_integer, text_of
from cython.cimports.redisai_py.eventloop.keyspace import find_model, open_for_writing, reply_with_wrong_type

LONGEST_DEVICE = cython.declare(cython.size_t, 9)
IN_PLACE_FLAGS = cython.declare(
    cython.int, REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_DENY_BLOCKING
)
TRUSTED_FLAGS = cython.declare(cython.int, REDISMODULE_CTX_FLAGS_LOADING | REDISMODULE_CTX_FLAGS_REPLICATED)


# ---- AI.MODELSTORE: the grammar --------------------------------------------------

# What is being parsed: the arguments, and how far the parser has come. The event
# loop is one thread, so one cursor serves all commands.
argv_at = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
argv_end = cython.declare(cython.pointer(cython.pointer(RedisModuleString)), cython.NULL)
trusted = cython.declare(cython.bint, False)  # they come from an AOF or our master


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def accept(word: cython.p_const_char) -> cython.bint:
    """Steps over the next argument when it is this keyword."""
    global argv_at
    if argv_at < argv_end and is_word(argv_at[0], word):
        argv_at += 1
        return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def accept_number(word: cython.p_const_char, number: cython.pointer(int64_t)) -> cython.bint:
    """Steps over ``word n`` when the next argument is the keyword; false when n is not a number >= 0."""
    global argv_at
    value: cython.longlong = 0
    if not accept(word):
        return True
    if argv_at >= argv_end or not parse_loose_integer(argv_at[0], cython.address(value)) or value < 0:
        return False
    argv_at += 1
    number[0] = value
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_names(
    not_counted: cython.p_const_char, too_few: cython.p_const_char, error: cython.pointer(cython.p_const_char)
) -> cython.pointer(rai_names):
    """Steps over ``n name ...``; NULL with the error."""
    global argv_at
    count: cython.longlong = 0
    i: int64_t
    length: cython.size_t = 0
    name: cython.p_const_char
    names: cython.pointer(rai_names)
    if argv_at >= argv_end or not parse_loose_integer(argv_at[0], cython.address(count)) or count <= 0:
        error[0] = not_counted
        return cython.NULL
    argv_at += 1
    if argv_end - argv_at < count:
        error[0] = too_few
        return cython.NULL
    names = rai_names_new(count)
    for i in range(count):
        name = text_of(argv_at[i], cython.address(length))
        rai_names_set(names, i, name, length)
    argv_at += count
    return names


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_batching(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Steps over the batching options; NULL, or the error."""
    if not accept_number(b"BATCHSIZE", cython.address(model.batch_size)):
        return b"ERR Invalid argument for BATCHSIZE"
    if not accept_number(b"MINBATCHSIZE", cython.address(model.min_batch_size)):
        return b"ERR Invalid argument for MINBATCHSIZE"
    if model.min_batch_size > 0 and model.batch_size == 0:
        return b"ERR MINBATCHSIZE specified without BATCHSIZE"
    if not accept_number(b"MINBATCHTIMEOUT", cython.address(model.min_batch_timeout_ms)):
        return b"ERR Invalid argument for MINBATCHTIMEOUT"
    if model.min_batch_timeout_ms > 0 and model.min_batch_size == 0:
        return b"ERR MINBATCHTIMEOUT specified without MINBATCHSIZE"
    if argv_at >= argv_end:
        return b"ERR Insufficient arguments, missing model BLOB"
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def states_its_signature() -> cython.bint:
    """Whether BLOB comes next, with chunks that begin as a zip, gzip or tar file does."""
    head: cython.char[262]
    filled: cython.size_t = 0
    length: cython.size_t = 0
    at: cython.pointer(cython.pointer(RedisModuleString)) = argv_at + 1
    chunk: cython.p_const_char
    if not is_word(argv_at[0], b"BLOB"):
        return False
    while at < argv_end and filled < 262:
        chunk = RedisModule_StringPtrLen(at[0], cython.address(length))
        if length > 262 - filled:
            length = 262 - filled
        memcpy(head + filled, chunk, length)
        filled += length
        at += 1
    return (
        (filled >= 4 and memcmp(head, b"PK\x03\x04", 4) == 0)
        or (filled >= 2 and memcmp(head, b"\x1f\x8b", 2) == 0)
        or (filled == 262 and memcmp(head + 257, b"ustar", 5) == 0)
        # What we rewrote into an AOF before the names were known.
        or trusted
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_signature(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Steps over INPUTS and OUTPUTS, which TF graphs need and other backends refuse; NULL, or the error."""
    error: cython.p_const_char = cython.NULL
    inputs: cython.pointer(rai_names)
    outputs: cython.pointer(rai_names) = cython.NULL
    if model.backend != RAI_TF:
        if is_word(argv_at[0], b"INPUTS"):
            return b"ERR INPUTS argument should not be specified for this backend"
        return cython.NULL
    if states_its_signature():
        return cython.NULL
    if not accept(b"INPUTS"):
        return b"ERR INPUTS not specified for TF"
    inputs = parse_names(
        b"ERR Invalid argument for input_count",
        b"ERR number of model inputs does not match the number of given arguments",
        cython.address(error),
    )
    if inputs == cython.NULL:
        return error
    if not accept(b"OUTPUTS"):
        error = b"ERR OUTPUTS not specified for TF"
    else:
        outputs = parse_names(
            b"ERR Invalid argument for output_count",
            b"ERR number of model outputs does not match the number of given arguments",
            cython.address(error),
        )
    if outputs == cython.NULL:
        rai_names_free(inputs)
        return error
    rai_model_set_names(model, inputs, outputs)
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_chunks(model: cython.pointer(rai_model)) -> cython.p_const_char:
    """Keeps what follows BLOB, without copying it; NULL, or the error."""
    global argv_at
    if not accept(b"BLOB"):
        return b"ERR Invalid argument, expected BLOB"
    if argv_at >= argv_end:
        return b"ERR Insufficient arguments, missing model BLOB"
    model.blob = rai_blob_new(argv_end - argv_at)
    while argv_at < argv_end:
        rai_blob_hold(model.blob, argv_at[0])
        argv_at += 1
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_device(device: cython.p_const_char, length: cython.size_t) -> cython.bint:
    """CPU, GPU, CPU:digits or GPU:digits, shorter than ten characters."""
    i: cython.size_t
    if length < 3 or length > LONGEST_DEVICE:
        return False
    if strncasecmp(device, b"CPU", 3) != 0 and strncasecmp(device, b"GPU", 3) != 0:
        return False
    if length == 3:
        return True
    if device[3] != b":"[0]:
        return False
    for i in range(4, length):
        if device[i] < b"0"[0] or device[i] > b"9"[0]:
            return False
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_model(
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """A new model from the arguments after the key; NULL with the error."""
    global argv_at, argv_end
    length: cython.size_t = 0
    tag: cython.p_const_char
    text: cython.p_const_char = text_of(argv[0], cython.address(length))
    backend: cython.int = rai_backend_from_name(text, length)
    model: cython.pointer(rai_model)
    if backend < 0:
        error[0] = b"ERR unsupported backend"
        return cython.NULL
    text = text_of(argv[1], cython.address(length))
    if not is_device(text, length):
        error[0] = b"ERR Invalid DEVICE"
        return cython.NULL
    model = rai_model_new(backend, text, length)
    argv_at = argv + 2
    argv_end = argv + argc
    if argv_end - argv_at > 1 and accept(b"TAG"):
        tag = RedisModule_StringPtrLen(argv_at[0], cython.address(length))
        rai_model_set_tag(model, tag, length)
        argv_at += 1
    error[0] = parse_batching(model)
    if error[0] == cython.NULL:
        error[0] = parse_signature(model)
    if error[0] == cython.NULL:
        error[0] = parse_chunks(model)
    if error[0] == cython.NULL:
        return model
    rai_model_release(model)
    return cython.NULL


# ---- AI.MODELSTORE: storing --------------------------------------------------------


def publish_model(
    key: cython.pointer(RedisModuleKey), name: cython.pointer(RedisModuleString), model: cython.pointer(rai_model)
) -> cython.void:
    """Makes the model the value of the opened key; the keyspace takes over the caller's reference."""
    model.queue = rai_queue_of_device(model.device)
    rai_registry_add(model, name)
    RedisModule_ModuleTypeSetValue(key, rai_types.model, model)


def load_in_background(model: cython.pointer(rai_model)) -> cython.void:
    """Has a worker create the session of a model that is in the keyspace already."""
    model.queue = rai_queue_of_device(model.device)
    rai_job_spawn(rai_job_new(RAI_JOB_LOAD, model, 0, 0), rai_control_queue())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def finish_store(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    model: cython.pointer(rai_model),
    error: cython.p_const_char,
) -> cython.int:
    """Publishes a model that a worker accepted, or that comes from a trusted source, and replies."""
    key: cython.pointer(RedisModuleKey)
    if error != cython.NULL:
        RedisModule_Log(ctx, b"warning", b"%s", error)
        return RedisModule_ReplyWithError(ctx, error)
    # Checked only now, as RedisAI does: a broken model is reported before a wrong type.
    key = open_for_writing(ctx, argv[1], rai_types.model)
    if key == cython.NULL:
        return reply_with_wrong_type(ctx)
    publish_model(key, argv[1], rai_model_retain(model))
    RedisModule_CloseKey(key)
    # Verbatim; Redis 6.2 forgets RedisModule_ReplicateVerbatim in the reply to a blocked client.
    RedisModule_Replicate(ctx, b"AI.MODELSTORE", b"v", argv + 1, cython.cast(cython.size_t, argc - 1))
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_modelstore(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    job: cython.pointer(rai_job) = rai_job_of_context(ctx)
    return finish_store(ctx, argv, argc, job.model, job.error)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelstore(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELSTORE key backend device [options] BLOB chunk [chunk ...]"""
    error: cython.p_const_char = cython.NULL
    model: cython.pointer(rai_model)
    job: cython.pointer(rai_job)
    flags: cython.int = RedisModule_GetContextFlags(ctx)
    global trusted
    if argc < 6:
        return RedisModule_WrongArity(ctx)
    trusted = flags & TRUSTED_FLAGS != 0
    model = parse_model(argv + 2, argc - 2, cython.address(error))
    trusted = False
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    if flags & TRUSTED_FLAGS:
        # An AOF or our master: it was accepted before, so it is installed at once.
        if finish_store(ctx, argv, argc, model, cython.NULL) == REDISMODULE_OK and model.queue != cython.NULL:
            load_in_background(model)
        rai_model_release(model)
        return REDISMODULE_OK
    job = rai_job_new(RAI_JOB_LOAD, model, 0, 0)
    rai_model_release(model)  # the job has a reference
    if flags & IN_PLACE_FLAGS:
        # MULTI, Lua and calls of other modules cannot wait without the event loop.
        rai_job_run_in_place(job, rai_control_queue())
        finish_store(ctx, argv, argc, job.model, job.error)
        rai_job_free(job)
    else:
        rai_job_submit(ctx, job, rai_control_queue(), reply_to_modelstore)
    return REDISMODULE_OK


# ---- AI.MODELGET -----------------------------------------------------------------------


def chunk_count(blob: cython.pointer(rai_blob)) -> int64_t:
    """How many chunks of MODEL_CHUNK_SIZE the blob is given out in: the last one may be empty."""
    return blob.length // rai_config().model_chunk_size + 1


def chunk_at(
    blob: cython.pointer(rai_blob),
    index: int64_t,
    length: cython.pointer(cython.size_t),
    owned: cython.pointer(cython.p_char),
) -> cython.p_const_char:
    """One of the ``chunk_count`` chunks; ``owned`` as in ``rai_blob_slice``."""
    size: cython.size_t = rai_config().model_chunk_size
    offset: cython.size_t = index * size
    length[0] = size if index < chunk_count(blob) - 1 else blob.length - offset
    return rai_blob_slice(blob, offset, length[0], owned)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_blob(ctx: cython.pointer(RedisModuleCtx), blob: cython.pointer(rai_blob)) -> cython.void:
    count: int64_t = chunk_count(blob)
    length: cython.size_t = 0
    owned: cython.p_char = cython.NULL
    data: cython.p_const_char
    i: int64_t
    if count > 1:
        RedisModule_ReplyWithArray(ctx, count)
    for i in range(count):
        data = chunk_at(blob, i, cython.address(length), cython.address(owned))
        RedisModule_ReplyWithStringBuffer(ctx, data, length)
        RedisModule_Free(owned)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_names(
    ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, names: cython.pointer(rai_names)
) -> cython.void:
    i: int64_t
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithArray(ctx, names.count)
    for i in range(names.count):
        RedisModule_ReplyWithStringBuffer(ctx, names.items[i].data, names.items[i].length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_bytes(
    ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, data: cython.p_const_char, length: cython.size_t
) -> cython.void:
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithStringBuffer(ctx, data, length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_number(ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, value: int64_t) -> cython.void:
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithLongLong(ctx, value)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelget(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELGET key [META] [BLOB]; unknown words are ignored, as RedisAI does."""
    error: cython.p_const_char = cython.NULL
    backend: cython.p_const_char
    meta: cython.bint = False
    blob: cython.bint = False
    at: cython.int
    model: cython.pointer(rai_model)
    if argc < 2 or argc > 4:
        return RedisModule_WrongArity(ctx)
    model = find_model(ctx, argv[1], cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    for at in range(2, argc):
        meta = meta or is_word(argv[at], b"META")
        blob = blob or is_word(argv[at], b"BLOB")
    if blob and not meta:
        reply_with_blob(ctx, model.blob)
        return REDISMODULE_OK
    if not meta:
        blob = True
    backend = rai_backend_name(model.backend)
    RedisModule_ReplyWithArray(ctx, 18 if blob else 16)
    reply_with_bytes(ctx, b"backend", backend, strlen(backend))
    reply_with_bytes(ctx, b"device", model.device, strlen(model.device))
    reply_with_bytes(ctx, b"tag", model.tag.data, model.tag.length)
    reply_with_number(ctx, b"batchsize", model.batch_size)
    reply_with_number(ctx, b"minbatchsize", model.min_batch_size)
    reply_with_names(ctx, b"inputs", model.inputs)
    reply_with_names(ctx, b"outputs", model.outputs)
    reply_with_number(ctx, b"minbatchtimeout", model.min_batch_timeout_ms)
    if blob:
        RedisModule_ReplyWithStringBuffer(ctx, b"blob", 4)
        reply_with_blob(ctx, model.blob)
    return REDISMODULE_OK


# ---- AI.MODELDEL and AI._MODELSCAN --------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modeldel(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELDEL key"""
    error: cython.p_const_char = cython.NULL
    key: cython.pointer(RedisModuleKey)
    if argc != 2:
        return RedisModule_WrongArity(ctx)
    if find_model(ctx, argv[1], cython.address(error)) == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    key = open_for_writing(ctx, argv[1], rai_types.model)
    RedisModule_DeleteKey(key)
    RedisModule_CloseKey(key)
    RedisModule_ReplicateVerbatim(ctx)
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_in_keyspace(ctx: cython.pointer(RedisModuleCtx), model: cython.pointer(rai_model)) -> cython.bint:
    """Whether the selected database holds this very model under its last known name."""
    found: cython.bint
    key: cython.pointer(RedisModuleKey) = cython.cast(
        cython.pointer(RedisModuleKey),
        RedisModule_OpenKey(ctx, model.key, REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH),
    )
    if key == cython.NULL:
        return False
    found = RedisModule_ModuleTypeGetType(key) == rai_types.model and RedisModule_ModuleTypeGetValue(key) == model
    RedisModule_CloseKey(key)
    return found


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelscan(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI._MODELSCAN: [key, tag] of every model in the selected database (Q1, Q33)"""
    count: int64_t = 0
    found: int64_t = 0
    i: int64_t
    models: cython.pointer(cython.pointer(rai_model))
    if argc != 1:
        return RedisModule_WrongArity(ctx)
    RedisModule_Log(ctx, b"warning", b"MODELSCAN is experimental and might be removed in future versions")
    models = rai_registry_snapshot(cython.address(count))
    for i in range(count):
        if is_in_keyspace(ctx, models[i]):
            models[found], models[i] = models[i], models[found]
            found += 1
    RedisModule_ReplyWithArray(ctx, found)
    for i in range(count):
        if i < found:
            RedisModule_ReplyWithArray(ctx, 2)
            RedisModule_ReplyWithString(ctx, models[i].key)
            RedisModule_ReplyWithStringBuffer(ctx, models[i].tag.data, models[i].tag.length)
        rai_model_release(models[i])
    RedisModule_Free(models)
    return REDISMODULE_OK


rai_handlers.modelstore = modelstore
rai_handlers.modelget = modelget
rai_handlers.modeldel = modeldel
rai_handlers.modelscan = modelscan
