"""The options as configuration parameters of the server: ``CONFIG GET ai.*`` (Redis 7.0).

A parameter's default is what the load arguments set, so that CONFIG REWRITE writes
down what differs from these, and what redis.conf says of a parameter goes before them.
"""

import cython
from cython.cimports.core import (
    RAI_PATH_SIZE,
    rai_get_backends_path,
    rai_option,
    rai_option_at,
    rai_set_backends_path,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import strlen
from cython.cimports.redis_api import (
    REDISMODULE_CONFIG_DEFAULT,
    REDISMODULE_CONFIG_IMMUTABLE,
    REDISMODULE_CONFIG_MEMORY,
    REDISMODULE_OK,
    RedisModule_CreateString,
    RedisModule_FreeString,
    RedisModule_LoadConfigs,
    RedisModule_RegisterNumericConfig,
    RedisModule_RegisterStringConfig,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleString,
)

backends_path = cython.declare(cython.pointer(RedisModuleString), cython.NULL)  # what was last given out


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_number(name: cython.p_const_char, data: cython.p_void) -> cython.longlong:
    return cython.cast(cython.pointer(rai_option), data).value[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_number(
    name: cython.p_const_char,
    value: cython.longlong,
    data: cython.p_void,
    error: cython.pointer(cython.pointer(RedisModuleString)),
) -> cython.int:
    cython.cast(cython.pointer(rai_option), data).value[0] = value
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def get_path(name: cython.p_const_char, data: cython.p_void) -> cython.pointer(RedisModuleString):
    """The server looks at the string at once and does not free it."""
    global backends_path
    path: cython.char[RAI_PATH_SIZE]
    rai_get_backends_path(path, cython.sizeof(path))
    if backends_path != cython.NULL:
        RedisModule_FreeString(cython.NULL, backends_path)
    backends_path = RedisModule_CreateString(cython.NULL, path, strlen(path))
    return backends_path


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_path(
    name: cython.p_const_char,
    value: cython.pointer(RedisModuleString),
    data: cython.p_void,
    error: cython.pointer(cython.pointer(RedisModuleString)),
) -> cython.int:
    rai_set_backends_path(RedisModule_StringPtrLen(value, cython.NULL))
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_number(ctx: cython.pointer(RedisModuleCtx), option: cython.pointer(rai_option)) -> cython.bint:
    flags: cython.uint = REDISMODULE_CONFIG_DEFAULT
    least: cython.longlong = option.least
    if option.value[0] < least:  # the default that no argument can state: chosen by the module
        least = option.value[0]
    if not option.can_change:
        flags |= REDISMODULE_CONFIG_IMMUTABLE
    if option.is_bytes:
        flags |= REDISMODULE_CONFIG_MEMORY
    return (
        RedisModule_RegisterNumericConfig(
            ctx,
            option.parameter,
            option.value[0],
            flags,
            least,
            option.most,
            get_number,
            set_number,
            cython.NULL,
            option,
        )
        == REDISMODULE_OK
    )


def register_parameters(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Registers all parameters and applies what redis.conf and MODULE LOADEX say; false when that is not valid."""
    index: int64_t = 0
    path: cython.char[RAI_PATH_SIZE]
    option: cython.pointer(rai_option) = rai_option_at(0)
    if cython.cast(cython.p_void, RedisModule_LoadConfigs) == cython.NULL:  # Redis 6.2
        return True
    while option != cython.NULL:
        if not register_number(ctx, option):
            return False
        index += 1
        option = rai_option_at(index)
    rai_get_backends_path(path, cython.sizeof(path))
    # Which code is loaded is not for CONFIG SET to say.
    if (
        RedisModule_RegisterStringConfig(
            ctx, b"backends-path", path, REDISMODULE_CONFIG_IMMUTABLE, get_path, set_path, cython.NULL, cython.NULL
        )
        != REDISMODULE_OK
    ):
        return False
    return RedisModule_LoadConfigs(ctx) == REDISMODULE_OK
