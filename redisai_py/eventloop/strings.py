"""Arrays of Redis strings, for replication and for the AOF."""

import cython
from cython.cimports.core import rai_tensor
from cython.cimports.libc.stdint import int64_t
from cython.cimports.redis_api import (
    RedisModule_Alloc,
    RedisModule_CreateStringFromLongLong,
    RedisModule_Free,
    RedisModule_FreeString,
    RedisModuleString,
)


def new_strings(count: int64_t) -> cython.pointer(cython.pointer(RedisModuleString)):
    """Room for ``count`` Redis strings."""
    return cython.cast(
        cython.pointer(cython.pointer(RedisModuleString)),
        RedisModule_Alloc((count + 1) * cython.sizeof(cython.pointer(RedisModuleString))),
    )


def new_dims(tensor: cython.pointer(rai_tensor)) -> cython.pointer(cython.pointer(RedisModuleString)):
    """The dims of a tensor as Redis strings, ``tensor.ndim`` of them."""
    dims: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(tensor.ndim)
    i: cython.int
    for i in range(tensor.ndim):
        dims[i] = RedisModule_CreateStringFromLongLong(cython.NULL, tensor.dims[i])
    return dims


def free_strings(strings: cython.pointer(cython.pointer(RedisModuleString)), count: int64_t) -> cython.void:
    """Frees the strings and the array."""
    i: int64_t
    for i in range(count):
        RedisModule_FreeString(cython.NULL, strings[i])
    RedisModule_Free(strings)
