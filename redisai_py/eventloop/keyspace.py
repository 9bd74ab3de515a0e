"""Looking values up in the keyspace of the client's selected database."""

import cython
from cython.cimports.core import rai_alias_target, rai_model, rai_names, rai_tensor, rai_types
from cython.cimports.redis_api import (
    REDISMODULE_CMD_KEY_ACCESS,
    REDISMODULE_CMD_KEY_OW,
    REDISMODULE_CMD_KEY_RO,
    REDISMODULE_CMD_KEY_RW,
    REDISMODULE_CMD_KEY_UPDATE,
    REDISMODULE_KEYTYPE_EMPTY,
    REDISMODULE_READ,
    REDISMODULE_WRITE,
    RedisModule_CloseKey,
    RedisModule_KeyAtPos,
    RedisModule_KeyAtPosWithFlags,
    RedisModule_KeyType,
    RedisModule_Log,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue,
    RedisModule_OpenKey,
    RedisModule_ReplyWithError,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
    RedisModuleType,
)

WRONG_TYPE = cython.declare(cython.p_const_char, b"WRONGTYPE Operation against a key holding the wrong kind of value")


def find_value(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    type: cython.pointer(RedisModuleType),
    error: cython.pointer(cython.p_const_char),
    missing: cython.p_const_char,
) -> cython.p_void:
    """The module value of a key, borrowed; NULL with ``missing`` or WRONGTYPE in ``error``.

    A model is also found by its alias.
    """
    value: cython.p_void = cython.NULL
    key: cython.pointer(RedisModuleKey) = cython.cast(
        cython.pointer(RedisModuleKey), RedisModule_OpenKey(ctx, name, REDISMODULE_READ)
    )
    if key == cython.NULL:
        error[0] = missing
        return cython.NULL
    if RedisModule_ModuleTypeGetType(key) == type:
        value = RedisModule_ModuleTypeGetValue(key)
    elif type == rai_types.model and RedisModule_ModuleTypeGetType(key) == rai_types.alias:
        value = rai_alias_target(ctx, cython.cast(cython.pointer(rai_names), RedisModule_ModuleTypeGetValue(key)))
        if value == cython.NULL:
            error[0] = missing
    elif RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY:
        error[0] = missing
    else:
        error[0] = WRONG_TYPE
    RedisModule_CloseKey(key)
    return value


def find_tensor(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_tensor):
    """The tensor at a key, borrowed, or NULL with the error text."""
    return cython.cast(
        cython.pointer(rai_tensor),
        find_value(ctx, name, rai_types.tensor, error, b"ERR tensor key is empty or in a different shard"),
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def log_failure(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    error: cython.p_const_char,
    wrong_type: cython.p_const_char,
) -> cython.void:
    if error == WRONG_TYPE:
        log_name(ctx, wrong_type, name)
    else:
        log_name(ctx, b"could not load %.256s from keyspace, key doesn't exist", name)


def find_model(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """The model at a key, borrowed, or NULL with the error text."""
    value: cython.p_void = find_value(ctx, name, rai_types.model, error, b"ERR model key is empty")
    if value == cython.NULL:
        log_failure(ctx, name, error[0], b"%.256s is not a model")
    return cython.cast(cython.pointer(rai_model), value)


def find_script(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_model):
    """The script at a key, borrowed, or NULL with the error text."""
    value: cython.p_void = find_value(ctx, name, rai_types.script, error, b"ERR script key is empty")
    if value == cython.NULL:
        log_failure(ctx, name, error[0], b"%.256s is not a script")
    return cython.cast(cython.pointer(rai_model), value)


def open_for_writing(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    type: cython.pointer(RedisModuleType),
) -> cython.pointer(RedisModuleKey):
    """The key, opened for writing; NULL when it holds a value of another type.

    Whoever then writes to it calls ``notify`` or ``notify_deleted``.
    """
    key: cython.pointer(RedisModuleKey) = cython.cast(
        cython.pointer(RedisModuleKey), RedisModule_OpenKey(ctx, name, REDISMODULE_READ | REDISMODULE_WRITE)
    )
    if RedisModule_ModuleTypeGetType(key) == type or RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY:
        return key
    RedisModule_CloseKey(key)
    return cython.NULL


# ---- what a command does with its keys, for COMMAND GETKEYSANDFLAGS and ACL rules -------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def report_key(ctx: cython.pointer(RedisModuleCtx), position: cython.int, flags: cython.int) -> cython.void:
    if cython.cast(cython.p_void, RedisModule_KeyAtPosWithFlags) != cython.NULL:
        RedisModule_KeyAtPosWithFlags(ctx, position, flags)
    else:  # Redis 6.2
        RedisModule_KeyAtPos(ctx, position)


def report_read(ctx: cython.pointer(RedisModuleCtx), position: cython.int) -> cython.void:
    """Reports an argument as a key whose value is read."""
    report_key(ctx, position, REDISMODULE_CMD_KEY_RO | REDISMODULE_CMD_KEY_ACCESS)


def report_written(ctx: cython.pointer(RedisModuleCtx), position: cython.int) -> cython.void:
    """Reports an argument as a key whose value is replaced."""
    report_key(ctx, position, REDISMODULE_CMD_KEY_OW | REDISMODULE_CMD_KEY_UPDATE)


def report_any(ctx: cython.pointer(RedisModuleCtx), position: cython.int) -> cython.void:
    """Reports an argument as a key with which anything may be done."""
    report_key(ctx, position, REDISMODULE_CMD_KEY_RW | REDISMODULE_CMD_KEY_ACCESS | REDISMODULE_CMD_KEY_UPDATE)


def reply_with_wrong_type(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    return RedisModule_ReplyWithError(ctx, WRONG_TYPE)


def log_name(
    ctx: cython.pointer(RedisModuleCtx), format: cython.p_const_char, name: cython.pointer(RedisModuleString)
) -> cython.void:
    """Logs a warning about a key, at most 256 bytes of its name."""
    RedisModule_Log(ctx, b"warning", format, RedisModule_StringPtrLen(name, cython.NULL))
