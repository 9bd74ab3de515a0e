"""The tensor value type: RDB, AOF, digest, memory, copy and free.

The save and rewrite functions run in a forked child, free also on Redis'
lazy-free thread: they read C values only. Source of the rules:
spec/persistence.md; every encoding from 0 to 4 is read, 4 is written.
"""

import cython
from cython.cimports.core import (
    RAI_BOOL,
    RAI_STRING,
    rai_bool_data_valid,
    rai_dtype_code,
    rai_dtype_name,
    rai_dtype_of_code,
    rai_dtype_size,
    rai_tensor,
    rai_tensor_count,
    rai_tensor_defrag,
    rai_tensor_index_strings,
    rai_tensor_memory,
    rai_tensor_new,
    rai_tensor_release,
    rai_tensor_retain,
    rai_types,
    rai_version_number,
)
from cython.cimports.libc.stdint import int32_t, int64_t, uint64_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.redis_api import (
    REDISMODULE_TYPE_METHOD_VERSION,
    RedisModule_Alloc,
    RedisModule_CreateDataType,
    RedisModule_DigestAddLongLong,
    RedisModule_DigestAddStringBuffer,
    RedisModule_DigestEndSequence,
    RedisModule_EmitAOF,
    RedisModule_Free,
    RedisModule_IsIOError,
    RedisModule_LoadSigned,
    RedisModule_LoadStringBuffer,
    RedisModule_LoadUnsigned,
    RedisModule_LogIOError,
    RedisModule_Realloc,
    RedisModule_SaveSigned,
    RedisModule_SaveStringBuffer,
    RedisModule_SaveUnsigned,
    RedisModuleCtx,
    RedisModuleDefragCtx,
    RedisModuleDigest,
    RedisModuleIO,
    RedisModuleString,
    RedisModuleTypeMethods,
)
from cython.cimports.redisai_py.eventloop.strings import free_strings, new_dims

ENCODING_VERSION = cython.declare(cython.int, 4)
MOST_DIMS = cython.declare(uint64_t, 1 << 20)
LARGE_VALUE = cython.declare(cython.size_t, 1 << 16)  # bytes that count as one step of freeing

methods = cython.declare(RedisModuleTypeMethods)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def save_tensor(io: cython.pointer(RedisModuleIO), value: cython.p_void) -> cython.void:
    tensor: cython.pointer(rai_tensor) = cython.cast(cython.pointer(rai_tensor), value)
    i: int64_t
    RedisModule_SaveUnsigned(io, rai_dtype_code(tensor.dtype))
    RedisModule_SaveUnsigned(io, 8 * rai_dtype_size(tensor.dtype))
    RedisModule_SaveSigned(io, tensor.ndim)
    for i in range(tensor.ndim):
        RedisModule_SaveSigned(io, tensor.dims[i])
    RedisModule_SaveStringBuffer(io, tensor.data, tensor.byte_length)
    if tensor.dtype == RAI_STRING:
        for i in range(tensor.length):
            RedisModule_SaveUnsigned(io, tensor.offsets[i])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_dims(io: cython.pointer(RedisModuleIO), ndim: uint64_t) -> cython.pointer(int64_t):
    """The dims, in a buffer of our own; NULL when the payload is broken."""
    i: uint64_t
    dims: cython.pointer(int64_t)
    if RedisModule_IsIOError(io) or ndim > MOST_DIMS:
        return cython.NULL
    dims = cython.cast(cython.pointer(int64_t), RedisModule_Alloc(cython.sizeof(int64_t)))
    for i in range(ndim):
        if i > 0 and i & (i - 1) == 0:  # the room doubles: what is claimed costs nothing before it is there
            dims = cython.cast(cython.pointer(int64_t), RedisModule_Realloc(dims, 2 * i * cython.sizeof(int64_t)))
        dims[i] = RedisModule_LoadSigned(io)
        if RedisModule_IsIOError(io) or dims[i] < 0:
            RedisModule_Free(dims)
            return cython.NULL
    return dims


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_tensor_data(
    io: cython.pointer(RedisModuleIO), dtype: int32_t, ndim: uint64_t, dims: cython.pointer(int64_t)
) -> cython.pointer(rai_tensor):
    """Reads the data and checks it against the shape before memory for it is asked for."""
    length: cython.size_t = 0
    tensor: cython.pointer(rai_tensor) = cython.NULL
    count: int64_t = rai_tensor_count(dtype, ndim, dims)
    fits: cython.bint
    data: cython.p_char
    if count < 0:
        return cython.NULL
    data = RedisModule_LoadStringBuffer(io, cython.address(length))
    if RedisModule_IsIOError(io) or data == cython.NULL:
        RedisModule_Free(data)
        return cython.NULL
    if dtype == RAI_STRING:
        fits = length >= cython.cast(cython.size_t, count)
    else:
        fits = cython.cast(int64_t, length) == count * rai_dtype_size(dtype)
    if dtype == RAI_BOOL and fits:
        fits = rai_bool_data_valid(data, length)
    if fits:
        tensor = rai_tensor_new(dtype, ndim, dims, length, False)
    if tensor != cython.NULL:
        memcpy(tensor.data, data, length)
        if dtype == RAI_STRING and not rai_tensor_index_strings(tensor):
            rai_tensor_release(tensor)
            tensor = cython.NULL
    RedisModule_Free(data)
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_old_tensor(io: cython.pointer(RedisModuleIO)) -> cython.pointer(rai_tensor):
    """Encodings 0 to 3: a DLPack structure, with strides and an offset that are always trivial."""
    bits: uint64_t
    code: uint64_t
    ndim: uint64_t
    i: uint64_t
    dims: cython.pointer(int64_t)
    tensor: cython.pointer(rai_tensor) = cython.NULL
    if RedisModule_LoadUnsigned(io) != 1:  # the device: CPU
        return cython.NULL
    RedisModule_LoadUnsigned(io)  # its number
    bits = RedisModule_LoadUnsigned(io)
    code = RedisModule_LoadUnsigned(io)
    RedisModule_LoadUnsigned(io)  # lanes
    ndim = RedisModule_LoadUnsigned(io)
    if rai_dtype_of_code(code, bits) < 0 or rai_dtype_of_code(code, bits) == RAI_STRING:
        return cython.NULL
    dims = load_dims(io, ndim)
    if dims == cython.NULL:
        return cython.NULL
    for i in range(ndim + 1):  # strides and byte offset
        RedisModule_LoadUnsigned(io)
    if not RedisModule_IsIOError(io):
        tensor = load_tensor_data(io, rai_dtype_of_code(code, bits), ndim, dims)
    RedisModule_Free(dims)
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_current_tensor(io: cython.pointer(RedisModuleIO)) -> cython.pointer(rai_tensor):
    """Encoding 4."""
    code: uint64_t = RedisModule_LoadUnsigned(io)
    bits: uint64_t = RedisModule_LoadUnsigned(io)
    ndim: int64_t = RedisModule_LoadSigned(io)
    i: int64_t
    offset: uint64_t
    dims: cython.pointer(int64_t)
    tensor: cython.pointer(rai_tensor)
    if RedisModule_IsIOError(io) or ndim < 0 or rai_dtype_of_code(code, bits) < 0:
        return cython.NULL
    dims = load_dims(io, ndim)
    if dims == cython.NULL:
        return cython.NULL
    tensor = load_tensor_data(io, rai_dtype_of_code(code, bits), ndim, dims)
    RedisModule_Free(dims)
    if tensor != cython.NULL and tensor.dtype == RAI_STRING:
        for i in range(tensor.length):
            offset = RedisModule_LoadUnsigned(io)
            if RedisModule_IsIOError(io) or offset != cython.cast(uint64_t, tensor.offsets[i]):
                rai_tensor_release(tensor)
                return cython.NULL
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_tensor(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.p_void:
    tensor: cython.pointer(rai_tensor)
    if version > ENCODING_VERSION:
        RedisModule_LogIOError(
            io,
            b"warning",
            b"Failed loading tensor, RedisAI version (%d) is not forward compatible.",
            rai_version_number(),
        )
        return cython.NULL
    tensor = load_current_tensor(io) if version == ENCODING_VERSION else load_old_tensor(io)
    if tensor == cython.NULL:
        RedisModule_LogIOError(io, b"warning", b"Experienced a short read while reading a tensor from RDB")
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_tensor(
    io: cython.pointer(RedisModuleIO), key: cython.pointer(RedisModuleString), value: cython.p_void
) -> cython.void:
    tensor: cython.pointer(rai_tensor) = cython.cast(cython.pointer(rai_tensor), value)
    dims: cython.pointer(cython.pointer(RedisModuleString)) = new_dims(tensor)
    RedisModule_EmitAOF(
        io,
        b"AI.TENSORSET",
        b"scvcb",
        key,
        rai_dtype_name(tensor.dtype),
        dims,
        cython.cast(cython.size_t, tensor.ndim),
        cython.cast(cython.p_const_char, b"BLOB"),
        tensor.data,
        cython.cast(cython.size_t, tensor.byte_length),
    )
    free_strings(dims, tensor.ndim)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def digest_tensor(digest: cython.pointer(RedisModuleDigest), value: cython.p_void) -> cython.void:
    tensor: cython.pointer(rai_tensor) = cython.cast(cython.pointer(rai_tensor), value)
    i: int64_t
    RedisModule_DigestAddLongLong(digest, tensor.dtype)
    for i in range(tensor.ndim):
        RedisModule_DigestAddLongLong(digest, tensor.dims[i])
    RedisModule_DigestAddStringBuffer(digest, tensor.data, tensor.byte_length)
    RedisModule_DigestEndSequence(digest)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def free_tensor(value: cython.p_void) -> cython.void:
    rai_tensor_release(cython.cast(cython.pointer(rai_tensor), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tensor_memory(value: cython.p_const_void) -> cython.size_t:
    return rai_tensor_memory(cython.cast(cython.pointer(rai_tensor), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tensor_free_effort(key: cython.pointer(RedisModuleString), value: cython.p_const_void) -> cython.size_t:
    return tensor_memory(value) // LARGE_VALUE + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_tensor(
    from_key: cython.pointer(RedisModuleString),
    to_key: cython.pointer(RedisModuleString),
    value: cython.p_const_void,
) -> cython.p_void:
    """Tensors never change once they are stored, so a copy is another reference."""
    return rai_tensor_retain(cython.cast(cython.pointer(rai_tensor), value))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def defrag_tensor(
    ctx: cython.pointer(RedisModuleDefragCtx),
    key: cython.pointer(RedisModuleString),
    value: cython.pointer(cython.p_void),
) -> cython.int:
    moved: cython.pointer(rai_tensor) = rai_tensor_defrag(ctx, cython.cast(cython.pointer(rai_tensor), value[0]))
    if moved != cython.NULL:
        value[0] = moved
    return 0  # done with this value


def register_tensor_type(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Registers AI_TENSOR; false when Redis refuses."""
    memset(cython.address(methods), 0, cython.sizeof(methods))
    methods.version = REDISMODULE_TYPE_METHOD_VERSION
    methods.rdb_load = load_tensor
    methods.rdb_save = save_tensor
    methods.aof_rewrite = rewrite_tensor
    methods.mem_usage = tensor_memory
    methods.digest = digest_tensor
    methods.free = free_tensor
    methods.free_effort = tensor_free_effort
    methods.copy = copy_tensor
    methods.defrag = defrag_tensor
    rai_types.tensor = RedisModule_CreateDataType(ctx, b"AI_TENSOR", ENCODING_VERSION, cython.address(methods))
    return rai_types.tensor != cython.NULL
