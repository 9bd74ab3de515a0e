"""Tensors from the arguments of AI.TENSORSET.

Source of the rules: spec/commands.md, section 3, and decisions Q2, Q9, Q47.
"""

import cython
from cython.cimports.core import (
    RAI_BFLOAT16,
    RAI_BOOL,
    RAI_DOUBLE,
    RAI_FLOAT,
    RAI_FLOAT16,
    RAI_INT16,
    RAI_INT32,
    RAI_INT64,
    RAI_STRING,
    RAI_UINT16,
    RAI_UINT32,
    RAI_UINT64,
    rai_bfloat_from_double,
    rai_bool_data_valid,
    rai_dtype_from_name,
    rai_dtype_size,
    rai_half_from_double,
    rai_tensor,
    rai_tensor_count,
    rai_tensor_index_strings,
    rai_tensor_new,
    rai_tensor_release,
)
from cython.cimports.libc.stdint import (
    INT64_MAX,
    INT64_MIN,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from cython.cimports.libc.string import memchr, memcpy
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Realloc,
    RedisModule_StringPtrLen,
    RedisModule_StringToDouble,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_integer, parse_unsigned, text_of
from cython.cimports.redisai_py.eventloop.storing import is_trusted

BAD_SHAPE = cython.declare(cython.p_const_char, b"ERR invalid or negative value found in tensor shape")
BAD_VALUE = cython.declare(cython.p_const_char, b"ERR invalid value")
BAD_STRING = cython.declare(cython.p_const_char, b"ERR C-string value contains null character")

# Ranges of the integer dtypes, by dtype; BOOL takes 0 and 1, UINT64 has a parser of its own.
LOWEST = cython.declare(cython.longlong[14], [0, 0, -128, -32768, -2147483648, INT64_MIN, 0, 0, 0, 0, 0, 0, 0, 0])
HIGHEST = cython.declare(
    cython.longlong[14], [0, 0, 127, 32767, 2147483647, INT64_MAX, 255, 65535, 1, 0, 0, 0, 4294967295, 0]
)

# The shape of the command at hand. The event loop is one thread, so one buffer
# that grows to the longest shape ever seen is enough.
dims_buffer = cython.declare(cython.pointer(int64_t), cython.NULL)
dims_room = cython.declare(cython.int, 0)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def make_room_for_dims(count: cython.int) -> cython.void:
    global dims_buffer, dims_room
    if count > dims_room:
        dims_room = count + 16
        dims_buffer = cython.cast(
            cython.pointer(int64_t), RedisModule_Realloc(dims_buffer, dims_room * cython.sizeof(int64_t))
        )


def parse_tensor(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_tensor):
    """A new tensor from ``dtype [dim ...] [BLOB data | VALUES value ...]``; NULL with the error.

    Clients cannot set empty tensors, but models make some, which reach a replica and an AOF as this
    command. ``ctx`` is NULL for a command that comes from neither.
    """
    length: cython.size_t = 0
    value: cython.longlong = 0
    ndim: cython.int = 0
    count: int64_t
    dtype: int32_t
    at: cython.int
    tensor: cython.pointer(rai_tensor)
    data: cython.p_const_char = text_of(argv[0], cython.address(length))
    dtype = rai_dtype_from_name(data, length)
    if dtype < 0:
        error[0] = b"ERR invalid data type"
        return cython.NULL
    for at in range(1, argc):
        if is_word(argv[at], b"BLOB"):
            return parse_blob(dtype, ndim, argv + at + 1, argc - at - 1, error)
        if is_word(argv[at], b"VALUES"):
            return parse_values(dtype, ndim, argv + at + 1, argc - at - 1, error)
        if not parse_integer(argv[at], cython.address(value)) or value < 0:
            error[0] = BAD_SHAPE
            return cython.NULL
        if value == 0 and (ctx == cython.NULL or not is_trusted(ctx)):
            error[0] = BAD_SHAPE
            return cython.NULL
        make_room_for_dims(ndim + 1)
        dims_buffer[ndim] = value
        ndim += 1
    # Zeros of a numeric dtype, and the NUL that ends each empty string, are the same bytes.
    count = rai_tensor_count(dtype, ndim, dims_buffer)
    tensor = cython.NULL if count < 0 else rai_tensor_new(dtype, ndim, dims_buffer, count, True)
    if tensor == cython.NULL:
        error[0] = BAD_SHAPE
    elif dtype == RAI_STRING:
        rai_tensor_index_strings(tensor)
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_blob(
    dtype: int32_t,
    ndim: cython.int,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_tensor):
    """A tensor of the shape in ``dims_buffer`` with the data of the one argument that must be left."""
    length: cython.size_t = 0
    data: cython.p_const_char
    tensor: cython.pointer(rai_tensor)
    count: int64_t = rai_tensor_count(dtype, ndim, dims_buffer)
    if argc != 1:
        error[0] = b"ERR a single binary string should come after the BLOB argument in 'AI.TENSORSET' command"
        return cython.NULL
    data = RedisModule_StringPtrLen(argv[0], cython.address(length))
    if count < 0:
        error[0] = BAD_SHAPE
        return cython.NULL
    # Checked before memory for the shape is asked for: the blob bounds it.
    if dtype == RAI_STRING:
        if length < cython.cast(cython.size_t, count):
            error[0] = b"ERR Number of string elements in data blob does not match tensor length"
            return cython.NULL
    elif cython.cast(int64_t, length) != count * rai_dtype_size(dtype):
        error[0] = b"ERR data length does not match tensor shape and type"
        return cython.NULL
    if dtype == RAI_BOOL and not rai_bool_data_valid(data, length):
        error[0] = b"ERR BOOL tensor elements must be 0 or 1"
        return cython.NULL
    tensor = rai_tensor_new(dtype, ndim, dims_buffer, length, False)
    if tensor == cython.NULL:
        error[0] = BAD_SHAPE
        return cython.NULL
    memcpy(tensor.data, data, length)
    if dtype == RAI_STRING and not rai_tensor_index_strings(tensor):
        error[0] = b"ERR Number of string elements in data blob does not match tensor length"
        rai_tensor_release(tensor)
        return cython.NULL
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_values(
    dtype: int32_t,
    ndim: cython.int,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_tensor):
    """A tensor of the shape in ``dims_buffer`` with one argument for each element."""
    tensor: cython.pointer(rai_tensor)
    at: cython.int
    count: int64_t = rai_tensor_count(dtype, ndim, dims_buffer)
    if count < 0:
        error[0] = BAD_SHAPE
        return cython.NULL
    if argc != count:
        error[0] = b"ERR wrong number of values was given in 'AI.TENSORSET' command"
        return cython.NULL
    if dtype == RAI_STRING:
        return parse_strings(ndim, argv, argc, error)
    tensor = rai_tensor_new(dtype, ndim, dims_buffer, 0, False)
    if tensor == cython.NULL:
        error[0] = BAD_SHAPE
        return cython.NULL
    for at in range(argc):
        if not set_element(tensor, at, argv[at]):
            error[0] = BAD_VALUE
            rai_tensor_release(tensor)
            return cython.NULL
    return tensor


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_element(
    tensor: cython.pointer(rai_tensor), index: cython.int, argument: cython.pointer(RedisModuleString)
) -> cython.bint:
    """Converts one argument to the tensor's dtype; false when it is out of range or no number."""
    value: cython.longlong = 0
    dtype: int32_t = tensor.dtype
    if dtype == RAI_FLOAT or dtype == RAI_DOUBLE or dtype == RAI_FLOAT16 or dtype == RAI_BFLOAT16:
        return set_real(tensor, index, argument)
    if dtype == RAI_UINT64:
        return parse_unsigned(argument, cython.cast(cython.pointer(uint64_t), tensor.data) + index)
    if not parse_integer(argument, cython.address(value)) or value < LOWEST[dtype] or value > HIGHEST[dtype]:
        return False
    if dtype == RAI_INT64:
        cython.cast(cython.pointer(int64_t), tensor.data)[index] = value
    elif dtype == RAI_INT32:
        cython.cast(cython.pointer(int32_t), tensor.data)[index] = value
    elif dtype == RAI_UINT32:
        cython.cast(cython.pointer(uint32_t), tensor.data)[index] = value
    elif dtype == RAI_INT16:
        cython.cast(cython.pointer(int16_t), tensor.data)[index] = value
    elif dtype == RAI_UINT16:
        cython.cast(cython.pointer(uint16_t), tensor.data)[index] = value
    else:  # the one-byte dtypes: in range, so the low byte is the value
        cython.cast(cython.pointer(uint8_t), tensor.data)[index] = value & 255
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_real(
    tensor: cython.pointer(rai_tensor), index: cython.int, argument: cython.pointer(RedisModuleString)
) -> cython.bint:
    """The same for the floating-point dtypes."""
    real: cython.double = 0
    if RedisModule_StringToDouble(argument, cython.address(real)) != REDISMODULE_OK:
        return False
    if tensor.dtype == RAI_FLOAT:
        cython.cast(cython.p_float, tensor.data)[index] = real
    elif tensor.dtype == RAI_DOUBLE:
        cython.cast(cython.p_double, tensor.data)[index] = real
    elif tensor.dtype == RAI_FLOAT16:
        cython.cast(cython.pointer(uint16_t), tensor.data)[index] = rai_half_from_double(real)
    else:
        cython.cast(cython.pointer(uint16_t), tensor.data)[index] = rai_bfloat_from_double(real)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_strings(
    ndim: cython.int,
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    error: cython.pointer(cython.p_const_char),
) -> cython.pointer(rai_tensor):
    """A STRING tensor: each value without NUL bytes, except that its last byte may be one."""
    length: cython.size_t = 0
    total: int64_t = 0
    at: cython.int
    data: cython.p_const_char
    tensor: cython.pointer(rai_tensor)
    for at in range(argc):
        data = RedisModule_StringPtrLen(argv[at], cython.address(length))
        if length == 0 or memchr(data, 0, length - 1) != cython.NULL:
            error[0] = BAD_STRING
            return cython.NULL
        total += length + (data[length - 1] != 0)
    tensor = rai_tensor_new(RAI_STRING, ndim, dims_buffer, total, False)
    if tensor == cython.NULL:
        error[0] = BAD_SHAPE
        return cython.NULL
    total = 0
    for at in range(argc):
        data = RedisModule_StringPtrLen(argv[at], cython.address(length))
        tensor.offsets[at] = total
        memcpy(tensor.data + total, data, length)
        total += length
        if data[length - 1] != 0:
            tensor.data[total] = 0
            total += 1
    return tensor
