"""What happened to a key, for clients that subscribed to it (keyspace notifications), watch it, or cache it.

The events are of class ``d``, those of module types. As with Redis' own types, an
event is named after the command that changed the key.
"""

import cython
from cython.cimports.redis_api import (
    REDISMODULE_NOTIFY_GENERIC,
    REDISMODULE_NOTIFY_MODULE,
    RedisModule_NotifyKeyspaceEvent,
    RedisModule_SignalModifiedKey,
    RedisModuleCtx,
    RedisModuleString,
)


def notify(
    ctx: cython.pointer(RedisModuleCtx), event: cython.p_const_char, key: cython.pointer(RedisModuleString)
) -> cython.void:
    """Tells that the key has a new value. To be called when it is closed.

    WATCH and client-side caching learn of it here, and only here: opening a key for
    writing tells them nothing, so that a command which fails afterwards changed nothing.
    """
    RedisModule_SignalModifiedKey(ctx, key)
    RedisModule_NotifyKeyspaceEvent(ctx, REDISMODULE_NOTIFY_MODULE, event, key)


def notify_deleted(
    ctx: cython.pointer(RedisModuleCtx), event: cython.p_const_char, key: cython.pointer(RedisModuleString)
) -> cython.void:
    """Tells that a command of ours deleted the key: also a ``del``, as from Redis' own commands that empty a key."""
    notify(ctx, event, key)
    RedisModule_NotifyKeyspaceEvent(ctx, REDISMODULE_NOTIFY_GENERIC, b"del", key)
