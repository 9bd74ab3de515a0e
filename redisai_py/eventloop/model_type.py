"""The model value type: RDB, AOF, digest, memory, copy and free; scripts share most of it.

The save and rewrite functions run in a forked child, free also on Redis'
lazy-free thread: they read C values only. Source of the rules:
spec/persistence.md; every encoding from 0 to 4 is read, 4 is written.
"""

import cython
from cython.cimports.command_handlers import rai_hooks
from cython.cimports.core import (
    RAI_BACKENDS,
    RAI_MODEL,
    RAI_SCRIPT,
    RAI_TF,
    rai_backend_name,
    rai_blob,
    rai_blob_new,
    rai_blob_own,
    rai_blob_retain,
    rai_blob_slice,
    rai_model,
    rai_model_defrag,
    rai_model_free_value,
    rai_model_memory,
    rai_model_new,
    rai_model_release,
    rai_model_set_names,
    rai_model_set_tag,
    rai_names,
    rai_names_add,
    rai_names_free,
    rai_names_new,
    rai_names_set,
    rai_registry_add,
    rai_registry_rename,
    rai_types,
    rai_version_number,
)
from cython.cimports.libc.stdint import INT64_MAX, int64_t, uint64_t
from cython.cimports.libc.string import memset, strcmp, strlen
from cython.cimports.redis_api import (
    REDISMODULE_ERR,
    REDISMODULE_NOTIFY_GENERIC,
    REDISMODULE_OK,
    REDISMODULE_OPEN_KEY_NOTOUCH,
    REDISMODULE_READ,
    REDISMODULE_TYPE_METHOD_VERSION,
    RedisModule_CloseKey,
    RedisModule_CreateDataType,
    RedisModule_CreateString,
    RedisModule_CreateStringFromLongLong,
    RedisModule_DigestAddLongLong,
    RedisModule_DigestAddStringBuffer,
    RedisModule_DigestEndSequence,
    RedisModule_EmitAOF,
    RedisModule_Free,
    RedisModule_GetKeyNameFromIO,
    RedisModule_IsIOError,
    RedisModule_LoadStringBuffer,
    RedisModule_LoadUnsigned,
    RedisModule_LogIOError,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue,
    RedisModule_OpenKey,
    RedisModule_SaveStringBuffer,
    RedisModule_SaveUnsigned,
    RedisModule_SubscribeToKeyspaceEvents,
    RedisModuleCtx,
    RedisModuleDefragCtx,
    RedisModuleDigest,
    RedisModuleIO,
    RedisModuleKey,
    RedisModuleString,
    RedisModuleType,
    RedisModuleTypeMethods,
)
from cython.cimports.redisai_py.eventloop.aliases import register_alias_type
from cython.cimports.redisai_py.eventloop.script_type import register_script_type
from cython.cimports.redisai_py.eventloop.stored_models import chunk_at, chunk_count
from cython.cimports.redisai_py.eventloop.storing import load_in_background
from cython.cimports.redisai_py.eventloop.strings import free_strings, new_strings
from cython.cimports.redisai_py.eventloop.tensor_type import register_tensor_type

DIGEST_STEP = cython.declare(cython.size_t, 1 << 20)
LARGE_VALUE = cython.declare(cython.size_t, 1 << 16)  # bytes that count as one step of freeing

methods = cython.declare(RedisModuleTypeMethods)


def save_text(io: cython.pointer(RedisModuleIO), text: cython.p_const_char) -> cython.void:
    """A C string with its NUL."""
    RedisModule_SaveStringBuffer(io, text, strlen(text) + 1)


def save_names(io: cython.pointer(RedisModuleIO), names: cython.pointer(rai_names)) -> cython.void:
    i: int64_t
    RedisModule_SaveUnsigned(io, names.count)
    for i in range(names.count):
        save_text(io, names.items[i].data)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def save_model(io: cython.pointer(RedisModuleIO), value: cython.p_void) -> cython.void:
    model: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    blob: cython.pointer(rai_blob) = model.blob
    count: int64_t = chunk_count(blob)
    length: cython.size_t = 0
    owned: cython.p_char = cython.NULL
    data: cython.p_const_char
    i: int64_t
    RedisModule_SaveUnsigned(io, model.backend)
    save_text(io, model.device)
    RedisModule_SaveStringBuffer(io, model.tag.data, model.tag.length)
    RedisModule_SaveUnsigned(io, model.batch_size)
    RedisModule_SaveUnsigned(io, model.min_batch_size)
    RedisModule_SaveUnsigned(io, model.min_batch_timeout_ms)
    save_names(io, model.inputs)
    save_names(io, model.outputs)
    RedisModule_SaveUnsigned(io, blob.length)
    RedisModule_SaveUnsigned(io, count)
    for i in range(count):
        data = chunk_at(blob, i, cython.address(length), cython.address(owned))
        RedisModule_SaveStringBuffer(io, data, length)
        RedisModule_Free(owned)


def load_names(io: cython.pointer(RedisModuleIO)) -> cython.pointer(rai_names):
    """A counted list of C strings; NULL when the payload is broken."""
    count: uint64_t = RedisModule_LoadUnsigned(io)
    length: cython.size_t = 0
    text: cython.p_char
    i: uint64_t
    names: cython.pointer(rai_names)
    if RedisModule_IsIOError(io):
        return cython.NULL
    names = rai_names_new(0)
    for i in range(count):
        text = RedisModule_LoadStringBuffer(io, cython.address(length))
        if RedisModule_IsIOError(io) or text == cython.NULL:
            RedisModule_Free(text)
            rai_names_free(names)
            return cython.NULL
        if length > 0 and text[length - 1] == 0:
            length -= 1
        rai_names_add(names, text, length)
        RedisModule_Free(text)
    return names


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_signature(io: cython.pointer(RedisModuleIO), model: cython.pointer(rai_model)) -> cython.bint:
    inputs: cython.pointer(rai_names) = load_names(io)
    outputs: cython.pointer(rai_names) = cython.NULL
    if inputs != cython.NULL:
        outputs = load_names(io)
    if outputs == cython.NULL:
        rai_names_free(inputs)
        return False
    rai_model_set_names(model, inputs, outputs)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_chunks(
    io: cython.pointer(RedisModuleIO), version: cython.int, model: cython.pointer(rai_model)
) -> cython.bint:
    """Reads the blob, chunk by chunk as Redis gives it out; false when it is broken or does not add up."""
    total: uint64_t = 0
    count: uint64_t = 1
    length: cython.size_t = 0
    i: uint64_t
    data: cython.p_char
    if version > 0:
        total = RedisModule_LoadUnsigned(io)
        count = RedisModule_LoadUnsigned(io)
        # Every chunk but the last has bytes, so there are no more chunks than bytes and one.
        if RedisModule_IsIOError(io) or total > INT64_MAX or count > total + 1:
            return False
    model.blob = rai_blob_new(0)
    for i in range(count):
        data = RedisModule_LoadStringBuffer(io, cython.address(length))
        if RedisModule_IsIOError(io) or data == cython.NULL:
            RedisModule_Free(data)
            return False
        rai_blob_own(model.blob, data, length)
    return version == 0 or model.blob.length == total


def load_start(
    io: cython.pointer(RedisModuleIO), version: cython.int, kind: cython.int, backend: cython.int
) -> cython.pointer(rai_model):
    """A new value from its device and tag; NULL when the payload is broken."""
    length: cython.size_t = 0
    model: cython.pointer(rai_model)
    text: cython.p_char = RedisModule_LoadStringBuffer(io, cython.address(length))
    if RedisModule_IsIOError(io) or text == cython.NULL:
        RedisModule_Free(text)
        return cython.NULL
    if length > 0 and text[length - 1] == 0:
        length -= 1
    model = rai_model_new(kind, backend, text, length)
    RedisModule_Free(text)
    text = RedisModule_LoadStringBuffer(io, cython.address(length))
    if text != cython.NULL and not RedisModule_IsIOError(io):
        if version == 0 and length > 0 and text[length - 1] == 0:
            length -= 1
        rai_model_set_tag(model, text, length)
    RedisModule_Free(text)
    return model


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_model_fields(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.pointer(rai_model):
    """Reads all fields; NULL when the payload is broken."""
    backend: uint64_t = RedisModule_LoadUnsigned(io)
    model: cython.pointer(rai_model)
    if RedisModule_IsIOError(io) or backend >= RAI_BACKENDS:
        return cython.NULL
    model = load_start(io, version, RAI_MODEL, backend)
    if model == cython.NULL:
        return cython.NULL
    model.batch_size = RedisModule_LoadUnsigned(io)
    model.min_batch_size = RedisModule_LoadUnsigned(io)
    if version >= 2:
        model.min_batch_timeout_ms = RedisModule_LoadUnsigned(io)
    if (
        RedisModule_IsIOError(io)
        or model.batch_size < 0
        or model.min_batch_size < 0
        or model.min_batch_timeout_ms < 0
        or not load_signature(io, model)
        or not load_chunks(io, version, model)
    ):
        rai_model_release(model)
        return cython.NULL
    return model


def refuse_newer(io: cython.pointer(RedisModuleIO), version: cython.int, kind: cython.p_const_char) -> cython.bint:
    """Whether the payload was written by a version that we do not know; logs that."""
    if version <= ENCODING_VERSION:
        return False
    RedisModule_LogIOError(
        io,
        b"warning",
        b"Failed loading %s, RedisAI version (%d) is not forward compatible.",
        kind,
        rai_version_number(),
    )
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_model(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.p_void:
    """Installs the model from its bytes; a worker creates its session in the background."""
    model: cython.pointer(rai_model)
    if refuse_newer(io, version, b"model"):
        return cython.NULL
    model = load_model_fields(io, version)
    if model == cython.NULL:
        RedisModule_LogIOError(io, b"warning", b"Experienced a short read while reading a model from RDB")
        return cython.NULL
    rai_registry_add(model, RedisModule_GetKeyNameFromIO(io))
    load_in_background(model)
    return model


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_model(
    io: cython.pointer(RedisModuleIO), key: cython.pointer(RedisModuleString), value: cython.p_void
) -> cython.void:
    """AI.MODELSTORE with all options; INPUTS and OUTPUTS for TF only, and when they are known."""
    model: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    named: cython.bint = model.backend == RAI_TF and model.inputs.count > 0 and model.outputs.count > 0
    names: int64_t = 4 + model.inputs.count + model.outputs.count if named else 0
    chunks: int64_t = chunk_count(model.blob)
    words: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(names + 1 + chunks)
    at: int64_t = 0
    i: int64_t
    length: cython.size_t = 0
    owned: cython.p_char = cython.NULL
    data: cython.p_const_char
    if named:
        at = add_names(words, at, b"INPUTS", model.inputs)
        at = add_names(words, at, b"OUTPUTS", model.outputs)
    words[at] = RedisModule_CreateString(cython.NULL, b"BLOB", 4)
    at += 1
    for i in range(chunks):
        data = chunk_at(model.blob, i, cython.address(length), cython.address(owned))
        words[at] = RedisModule_CreateString(cython.NULL, data, length)
        RedisModule_Free(owned)
        at += 1
    RedisModule_EmitAOF(
        io,
        b"AI.MODELSTORE",
        b"scccbclclclv",
        key,
        rai_backend_name(model.backend),
        model.device,
        cython.cast(cython.p_const_char, b"TAG"),
        model.tag.data,
        model.tag.length,
        cython.cast(cython.p_const_char, b"BATCHSIZE"),
        cython.cast(cython.longlong, model.batch_size),
        cython.cast(cython.p_const_char, b"MINBATCHSIZE"),
        cython.cast(cython.longlong, model.min_batch_size),
        cython.cast(cython.p_const_char, b"MINBATCHTIMEOUT"),
        cython.cast(cython.longlong, model.min_batch_timeout_ms),
        words,
        cython.cast(cython.size_t, at),
    )
    free_strings(words, at)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def digest_model(digest: cython.pointer(RedisModuleDigest), value: cython.p_void) -> cython.void:
    """Only what was stored: names may still be unknown on one side while it loads."""
    model: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    offset: cython.size_t = 0
    length: cython.size_t
    owned: cython.p_char = cython.NULL
    data: cython.p_const_char
    i: int64_t
    RedisModule_DigestAddLongLong(digest, model.backend)
    RedisModule_DigestAddStringBuffer(digest, model.device, strlen(model.device))
    RedisModule_DigestAddStringBuffer(digest, model.tag.data, model.tag.length)
    RedisModule_DigestAddLongLong(digest, model.batch_size)
    RedisModule_DigestAddLongLong(digest, model.min_batch_size)
    RedisModule_DigestAddLongLong(digest, model.min_batch_timeout_ms)
    if model.kind == RAI_SCRIPT:
        for i in range(model.inputs.count):
            RedisModule_DigestAddStringBuffer(digest, model.inputs.items[i].data, model.inputs.items[i].length)
    while offset < model.blob.length:
        length = model.blob.length - offset
        if length > DIGEST_STEP:
            length = DIGEST_STEP
        data = rai_blob_slice(model.blob, offset, length, cython.address(owned))
        RedisModule_DigestAddStringBuffer(digest, data, length)
        RedisModule_Free(owned)
        offset += length
    RedisModule_DigestEndSequence(digest)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_model(value: cython.p_void) -> cython.void:
    rai_model_free_value(cython.cast(cython.pointer(rai_model), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def model_memory(value: cython.p_const_void) -> cython.size_t:
    return rai_model_memory(cython.cast(cython.pointer(rai_model), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def model_free_effort(key: cython.pointer(RedisModuleString), value: cython.p_const_void) -> cython.size_t:
    return model_memory(value) // LARGE_VALUE + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_names(names: cython.pointer(rai_names)) -> cython.pointer(rai_names):
    copy: cython.pointer(rai_names) = rai_names_new(names.count)
    i: int64_t
    for i in range(names.count):
        rai_names_set(copy, i, names.items[i].data, names.items[i].length)
    return copy


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_model(
    from_key: cython.pointer(RedisModuleString),
    to_key: cython.pointer(RedisModuleString),
    value: cython.p_const_void,
) -> cython.p_void:
    """A value of its own, with its own session and statistics, that shares the blob."""
    model: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    copy: cython.pointer(rai_model) = rai_model_new(model.kind, model.backend, model.device, strlen(model.device))
    rai_model_set_tag(copy, model.tag.data, model.tag.length)
    copy.batch_size = model.batch_size
    copy.min_batch_size = model.min_batch_size
    copy.min_batch_timeout_ms = model.min_batch_timeout_ms
    rai_model_set_names(copy, copy_names(model.inputs), copy_names(model.outputs))
    copy.blob = rai_blob_retain(model.blob)
    rai_registry_add(copy, to_key)
    load_in_background(copy)
    return copy


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defrag_model(
    ctx: cython.pointer(RedisModuleDefragCtx),
    key: cython.pointer(RedisModuleString),
    value: cython.pointer(cython.p_void),
) -> cython.int:
    rai_model_defrag(ctx, cython.cast(cython.pointer(rai_model), value[0]))
    return 0  # done with this value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def key_renamed(
    ctx: cython.pointer(RedisModuleCtx),
    class_of_event: cython.int,
    event: cython.p_const_char,
    name: cython.pointer(RedisModuleString),
) -> cython.int:
    """Keeps the registry's names right after RENAME."""
    key: cython.pointer(RedisModuleKey)
    type: cython.pointer(RedisModuleType)
    if strcmp(event, b"rename_to") != 0:
        return REDISMODULE_OK
    key = cython.cast(
        cython.pointer(RedisModuleKey),
        RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH),
    )
    if key == cython.NULL:
        return REDISMODULE_OK
    type = RedisModule_ModuleTypeGetType(key)
    if type != cython.NULL and (type == rai_types.model or type == rai_types.script):
        rai_registry_rename(cython.cast(cython.pointer(rai_model), RedisModule_ModuleTypeGetValue(key)), name)
    RedisModule_CloseKey(key)
    return REDISMODULE_OK


def add_names(
    words: cython.pointer(cython.pointer(RedisModuleString)),
    at: int64_t,
    keyword: cython.p_const_char,
    names: cython.pointer(rai_names),
) -> int64_t:
    """Appends ``keyword n name ...`` and returns the next free position."""
    i: int64_t
    words[at] = RedisModule_CreateString(cython.NULL, keyword, strlen(keyword))
    words[at + 1] = RedisModule_CreateStringFromLongLong(cython.NULL, names.count)
    for i in range(names.count):
        words[at + 2 + i] = RedisModule_CreateString(cython.NULL, names.items[i].data, names.items[i].length)
    return at + 2 + names.count


def fill_shared_methods(methods: cython.pointer(RedisModuleTypeMethods)) -> cython.void:
    """The methods that models and scripts have in common."""
    memset(methods, 0, cython.sizeof(RedisModuleTypeMethods))
    methods.version = REDISMODULE_TYPE_METHOD_VERSION
    methods.mem_usage = model_memory
    methods.digest = digest_model
    methods.free = free_model
    methods.free_effort = model_free_effort
    methods.copy = copy_model
    methods.defrag = defrag_model


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_types(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    """Registers all value types."""
    fill_shared_methods(cython.address(methods))
    methods.rdb_load = load_model
    methods.rdb_save = save_model
    methods.aof_rewrite = rewrite_model
    rai_types.model = RedisModule_CreateDataType(ctx, b"AI__MODEL", ENCODING_VERSION, cython.address(methods))
    if rai_types.model == cython.NULL or not register_tensor_type(ctx) or not register_script_type(ctx):
        return REDISMODULE_ERR
    if not register_alias_type(ctx):
        return REDISMODULE_ERR
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def subscribe(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    return RedisModule_SubscribeToKeyspaceEvents(ctx, REDISMODULE_NOTIFY_GENERIC, key_renamed)


rai_hooks.register_types = register_types
rai_hooks.subscribe = subscribe
