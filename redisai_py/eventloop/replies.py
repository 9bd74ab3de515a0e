"""The name and value pairs of which the replies about models and scripts consist."""

import cython
from cython.cimports.core import rai_names
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import strlen
from cython.cimports.redis_api import (
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithMap,
    RedisModule_ReplyWithStringBuffer,
    RedisModuleCtx,
)


def reply_with_pairs(ctx: cython.pointer(RedisModuleCtx), count: int64_t) -> cython.void:
    """Begins a reply of so many names and values: a map for a client that asked for RESP3, else a flat array."""
    if cython.cast(cython.p_void, RedisModule_ReplyWithMap) != cython.NULL:
        RedisModule_ReplyWithMap(ctx, count)
    else:  # Redis 6.2
        RedisModule_ReplyWithArray(ctx, 2 * count)


def reply_with_names(
    ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, names: cython.pointer(rai_names)
) -> cython.void:
    i: int64_t
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithArray(ctx, names.count)
    for i in range(names.count):
        RedisModule_ReplyWithStringBuffer(ctx, names.items[i].data, names.items[i].length)


def reply_with_bytes(
    ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, data: cython.p_const_char, length: cython.size_t
) -> cython.void:
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithStringBuffer(ctx, data, length)


def reply_with_text(
    ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, value: cython.p_const_char
) -> cython.void:
    reply_with_bytes(ctx, field, value, strlen(value))


def reply_with_number(ctx: cython.pointer(RedisModuleCtx), field: cython.p_const_char, value: int64_t) -> cython.void:
    RedisModule_ReplyWithStringBuffer(ctx, field, strlen(field))
    RedisModule_ReplyWithLongLong(ctx, value)
