"""AI.MODELALIAS: keys that stand for a model, by its key.

An alias is a value of its own, so it is saved, replicated, renamed and expires like
any other, and which model it stands for is looked up whenever it is used. In a
cluster both keys are in one slot, since the command names both.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import rai_names, rai_names_free, rai_names_new, rai_names_set, rai_types
from cython.cimports.libc.string import memset
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    REDISMODULE_TYPE_METHOD_VERSION,
    RedisModule_CloseKey,
    RedisModule_CreateDataType,
    RedisModule_DeleteKey,
    RedisModule_DigestAddStringBuffer,
    RedisModule_DigestEndSequence,
    RedisModule_EmitAOF,
    RedisModule_Free,
    RedisModule_IsIOError,
    RedisModule_IsKeysPositionRequest,
    RedisModule_LoadStringBuffer,
    RedisModule_LogIOError,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeSetValue,
    RedisModule_ReplicateVerbatim,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_SaveStringBuffer,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleDigest,
    RedisModuleIO,
    RedisModuleKey,
    RedisModuleString,
    RedisModuleTypeMethods,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.keyspace import (
    find_model,
    find_value,
    open_for_writing,
    reply_with_wrong_type,
    report_read,
    report_written,
)
from cython.cimports.redisai_py.eventloop.notifications import notify, notify_deleted
from cython.cimports.redisai_py.eventloop.storing import is_trusted

ENCODING_VERSION = cython.declare(cython.int, 0)
NO_ALIAS = cython.declare(cython.p_const_char, b"ERR alias key is empty")

methods = cython.declare(RedisModuleTypeMethods)


# ---- the value -------------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_alias(name: cython.p_const_char, length: cython.size_t) -> cython.pointer(rai_names):
    alias: cython.pointer(rai_names) = rai_names_new(1)
    rai_names_set(alias, 0, name, length)
    return alias


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def save_alias(io: cython.pointer(RedisModuleIO), value: cython.p_void) -> cython.void:
    alias: cython.pointer(rai_names) = cython.cast(cython.pointer(rai_names), value)
    RedisModule_SaveStringBuffer(io, alias.items[0].data, alias.items[0].length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_alias(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.p_void:
    length: cython.size_t = 0
    name: cython.p_char
    alias: cython.pointer(rai_names)
    if version > ENCODING_VERSION:
        RedisModule_LogIOError(io, b"warning", b"Failed loading an alias of version %d", version)
        return cython.NULL
    name = RedisModule_LoadStringBuffer(io, cython.address(length))
    if RedisModule_IsIOError(io) or name == cython.NULL:
        RedisModule_Free(name)
        return cython.NULL
    alias = new_alias(name, length)
    RedisModule_Free(name)
    return alias


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_alias(
    io: cython.pointer(RedisModuleIO), key: cython.pointer(RedisModuleString), value: cython.p_void
) -> cython.void:
    alias: cython.pointer(rai_names) = cython.cast(cython.pointer(rai_names), value)
    RedisModule_EmitAOF(
        io,
        b"AI.MODELALIAS",
        b"csb",
        cython.cast(cython.p_const_char, b"SET"),
        key,
        alias.items[0].data,
        alias.items[0].length,
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def digest_alias(digest: cython.pointer(RedisModuleDigest), value: cython.p_void) -> cython.void:
    alias: cython.pointer(rai_names) = cython.cast(cython.pointer(rai_names), value)
    RedisModule_DigestAddStringBuffer(digest, alias.items[0].data, alias.items[0].length)
    RedisModule_DigestEndSequence(digest)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_alias(value: cython.p_void) -> cython.void:
    rai_names_free(cython.cast(cython.pointer(rai_names), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def alias_memory(value: cython.p_const_void) -> cython.size_t:
    return cython.sizeof(rai_names) + 64 + cython.cast(cython.pointer(rai_names), value).items[0].length


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_alias(
    from_key: cython.pointer(RedisModuleString),
    to_key: cython.pointer(RedisModuleString),
    value: cython.p_const_void,
) -> cython.p_void:
    alias: cython.pointer(rai_names) = cython.cast(cython.pointer(rai_names), value)
    return new_alias(alias.items[0].data, alias.items[0].length)


def register_alias_type(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Registers AI__ALIAS; false when Redis refuses."""
    memset(cython.address(methods), 0, cython.sizeof(methods))
    methods.version = REDISMODULE_TYPE_METHOD_VERSION
    methods.rdb_load = load_alias
    methods.rdb_save = save_alias
    methods.aof_rewrite = rewrite_alias
    methods.mem_usage = alias_memory
    methods.digest = digest_alias
    methods.free = free_alias
    methods.copy = copy_alias
    rai_types.alias = RedisModule_CreateDataType(ctx, b"AI__ALIAS", ENCODING_VERSION, cython.address(methods))
    return rai_types.alias != cython.NULL


# ---- the command -----------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_alias(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString))
) -> cython.int:
    """Makes argv[2] stand for the model at argv[3], which must be there, unless an AOF or our master says so."""
    length: cython.size_t = 0
    error: cython.p_const_char = cython.NULL
    name: cython.p_const_char = RedisModule_StringPtrLen(argv[3], cython.address(length))
    key: cython.pointer(RedisModuleKey)
    if not is_trusted(ctx):
        if find_model(ctx, argv[3], cython.address(error)) == cython.NULL:
            return RedisModule_ReplyWithError(ctx, error)
        if find_value(ctx, argv[3], rai_types.alias, cython.address(error), NO_ALIAS) != cython.NULL:
            return RedisModule_ReplyWithError(ctx, b"ERR an alias cannot stand for another alias")
    key = open_for_writing(ctx, argv[2], rai_types.alias)
    if key == cython.NULL:
        return reply_with_wrong_type(ctx)
    RedisModule_ModuleTypeSetValue(key, rai_types.alias, new_alias(name, length))
    RedisModule_CloseKey(key)
    RedisModule_ReplicateVerbatim(ctx)
    notify(ctx, b"modelalias", argv[2])
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def delete_alias(ctx: cython.pointer(RedisModuleCtx), name: cython.pointer(RedisModuleString)) -> cython.int:
    key: cython.pointer(RedisModuleKey) = open_for_writing(ctx, name, rai_types.alias)
    if key == cython.NULL:
        return reply_with_wrong_type(ctx)
    if RedisModule_ModuleTypeGetType(key) != rai_types.alias:
        RedisModule_CloseKey(key)
        return RedisModule_ReplyWithError(ctx, NO_ALIAS)
    RedisModule_DeleteKey(key)
    RedisModule_CloseKey(key)
    RedisModule_ReplicateVerbatim(ctx)
    notify_deleted(ctx, b"modelaliasdel", name)
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_alias(ctx: cython.pointer(RedisModuleCtx), name: cython.pointer(RedisModuleString)) -> cython.int:
    error: cython.p_const_char = cython.NULL
    alias: cython.pointer(rai_names) = cython.cast(
        cython.pointer(rai_names), find_value(ctx, name, rai_types.alias, cython.address(error), NO_ALIAS)
    )
    if alias == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return RedisModule_ReplyWithStringBuffer(ctx, alias.items[0].data, alias.items[0].length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_keys(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.void:
    if argc < 3:
        return
    if is_word(argv[1], b"GET"):
        report_read(ctx, 2)
        return
    report_written(ctx, 2)
    if argc > 3:
        report_read(ctx, 3)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelalias(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELALIAS SET alias key | GET alias | DEL alias"""
    if RedisModule_IsKeysPositionRequest(ctx):
        report_keys(ctx, argv, argc)
        return REDISMODULE_OK
    if argc < 3:
        return RedisModule_WrongArity(ctx)
    if is_word(argv[1], b"SET"):
        return set_alias(ctx, argv) if argc == 4 else RedisModule_WrongArity(ctx)
    if is_word(argv[1], b"GET"):
        return get_alias(ctx, argv[2]) if argc == 3 else RedisModule_WrongArity(ctx)
    if is_word(argv[1], b"DEL"):
        return delete_alias(ctx, argv[2]) if argc == 3 else RedisModule_WrongArity(ctx)
    return RedisModule_ReplyWithError(ctx, b"ERR unsupported subcommand")


rai_handlers.modelalias = modelalias
