"""Redis strings, for replication and for the AOF."""

import cython
from cython.cimports.core import RAI_DTYPES, rai_dtype_name, rai_tensor
from cython.cimports.libc.stdint import int32_t, int64_t
from cython.cimports.libc.string import strlen
from cython.cimports.redis_api import (
    RedisModule_Alloc,
    RedisModule_CreateString,
    RedisModule_CreateStringFromLongLong,
    RedisModule_Free,
    RedisModule_FreeString,
    RedisModule_HoldString,
    RedisModuleString,
)

# Strings that every stored output is replicated with, made once: to make and free them would be a
# good part of what a tiny model's output costs.
COMMON_DIMS = cython.declare(cython.int, 1024)
common_dims = cython.declare(cython.pointer(RedisModuleString)[1024])
dtype_strings = cython.declare(cython.pointer(RedisModuleString)[RAI_DTYPES])
blob_string = cython.declare(cython.pointer(RedisModuleString), cython.NULL)


def new_strings(count: int64_t) -> cython.pointer(cython.pointer(RedisModuleString)):
    """Room for ``count`` Redis strings."""
    return cython.cast(
        cython.pointer(cython.pointer(RedisModuleString)),
        RedisModule_Alloc((count + 1) * cython.sizeof(cython.pointer(RedisModuleString))),
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_dim(value: int64_t) -> cython.pointer(RedisModuleString):
    """A dim as a Redis string, to be freed."""
    if value >= COMMON_DIMS:
        return RedisModule_CreateStringFromLongLong(cython.NULL, value)
    if common_dims[value] == cython.NULL:
        common_dims[value] = RedisModule_CreateStringFromLongLong(cython.NULL, value)
    return RedisModule_HoldString(cython.NULL, common_dims[value])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def new_string(text: cython.p_const_char) -> cython.pointer(RedisModuleString):
    return RedisModule_CreateString(cython.NULL, text, strlen(text))


def dtype_string(dtype: int32_t) -> cython.pointer(RedisModuleString):
    """The name of a dtype, which is not to be freed."""
    if dtype_strings[dtype] == cython.NULL:
        dtype_strings[dtype] = new_string(rai_dtype_name(dtype))
    return dtype_strings[dtype]


def word_blob() -> cython.pointer(RedisModuleString):
    """The word BLOB, which is not to be freed."""
    global blob_string
    if blob_string == cython.NULL:
        blob_string = new_string(b"BLOB")
    return blob_string


def new_dims(tensor: cython.pointer(rai_tensor)) -> cython.pointer(cython.pointer(RedisModuleString)):
    """The dims of a tensor as Redis strings, ``tensor.ndim`` of them."""
    dims: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(tensor.ndim)
    i: cython.int
    for i in range(tensor.ndim):
        dims[i] = new_dim(tensor.dims[i])
    return dims


def free_strings(strings: cython.pointer(cython.pointer(RedisModuleString)), count: int64_t) -> cython.void:
    """Frees the strings and the array."""
    i: int64_t
    for i in range(count):
        RedisModule_FreeString(cython.NULL, strings[i])
    RedisModule_Free(strings)
