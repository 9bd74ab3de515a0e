"""Whether results may be written when they are there: much can happen to a server while a model runs.

Redis may be paused (``pause.c``), and in a cluster the slot of an output may be on its way
to another node. Both are answered TRYAGAIN, before anything is written: cluster clients then
send the command again, and learn where to.
"""

import cython
from cython.cimports.core import rai_replication_paused
from cython.cimports.redis_api import (
    REDISMODULE_CTX_FLAGS_CLUSTER,
    RedisModule_Call,
    RedisModule_FreeCallReply,
    RedisModule_GetContextFlags,
    RedisModuleCallReply,
    RedisModuleCtx,
    RedisModuleString,
)

PAUSED = cython.declare(
    cython.p_const_char, b"TRYAGAIN writes are paused, for a failover or by CLIENT PAUSE; nothing was stored"
)
MOVED = cython.declare(
    cython.p_const_char, b"TRYAGAIN the slot of a key moved to another node meanwhile; nothing was stored"
)

in_cluster = cython.declare(cython.int, -1)  # unknown; it cannot change while the server lives


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_served_here(ctx: cython.pointer(RedisModuleCtx), name: cython.pointer(RedisModuleString)) -> cython.bint:
    """Redis refuses to call a command on a key that it would redirect a client for."""
    reply: cython.pointer(RedisModuleCallReply) = RedisModule_Call(ctx, b"EXISTS", b"s", name)
    if reply == cython.NULL:
        return False
    RedisModule_FreeCallReply(reply)
    return True


def obstacle(
    ctx: cython.pointer(RedisModuleCtx),
    names: cython.pointer(cython.pointer(RedisModuleString)),
    count: cython.int,
) -> cython.p_const_char:
    """The error for a client whose results cannot be stored under these names now; NULL: they can."""
    global in_cluster
    i: cython.int
    if rai_replication_paused():
        return PAUSED
    if in_cluster < 0:
        in_cluster = (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER) != 0
    if in_cluster:
        for i in range(count):
            if not is_served_here(ctx, names[i]):
                return MOVED
    return cython.NULL
