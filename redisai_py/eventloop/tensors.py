"""AI.TENSORSET and AI.TENSORGET: storing, replicating, and replies.

Source of the rules: spec/commands.md, sections 3 and 4, and decisions Q2, Q9, Q47.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_BFLOAT16,
    RAI_DOUBLE,
    RAI_FLOAT,
    RAI_FLOAT16,
    RAI_INT8,
    RAI_INT16,
    RAI_INT32,
    RAI_INT64,
    RAI_STRING,
    RAI_UINT16,
    RAI_UINT32,
    RAI_UINT64,
    rai_bfloat_to_double,
    rai_double_text,
    rai_dtype_name,
    rai_half_to_double,
    rai_kept_reply,
    rai_tensor,
    rai_tensor_release,
    rai_tensor_retain,
    rai_types,
)
from cython.cimports.libc.stdint import (
    INT64_MAX,
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import strlen
from cython.cimports.redis_api import (
    REDISMODULE_CTX_FLAGS_RESP3,
    REDISMODULE_NO_EXPIRE,
    REDISMODULE_OK,
    RedisModule_CloseKey,
    RedisModule_GetContextFlags,
    RedisModule_GetExpire,
    RedisModule_GetServerVersion,
    RedisModule_ModuleTypeReplaceValue,
    RedisModule_ModuleTypeSetValue,
    RedisModule_Replicate,
    RedisModule_ReplicateVerbatim,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithBigNumber,
    RedisModule_ReplyWithDouble,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithMap,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_SetExpire,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.keyspace import find_tensor, open_for_writing, reply_with_wrong_type
from cython.cimports.redisai_py.eventloop.notifications import notify
from cython.cimports.redisai_py.eventloop.replies import reply_with_pairs
from cython.cimports.redisai_py.eventloop.strings import dtype_string, free_strings, new_dims, word_blob
from cython.cimports.redisai_py.eventloop.tensor_arguments import parse_tensor

# What AI.TENSORGET replies with.
META = cython.declare(cython.int, 1)
BLOB = cython.declare(cython.int, 2)
VALUES = cython.declare(cython.int, 4)

REDIS_7_2 = cython.declare(cython.int, 0x00070200)  # from which on Redis writes the shortest text of a double


# ---- storing and replicating -----------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def set_tensor(key: cython.pointer(RedisModuleKey), tensor: cython.pointer(rai_tensor)) -> cython.bint:
    """Makes the tensor the value of the opened key, which takes over the caller's reference; false when it cannot.

    A tensor that is there already is exchanged inside the value: the same to everybody as a
    deletion and a new value, without the work on Redis' tables.
    """
    former: cython.p_void = cython.NULL
    if RedisModule_ModuleTypeReplaceValue(key, rai_types.tensor, tensor, cython.address(former)) != REDISMODULE_OK:
        return RedisModule_ModuleTypeSetValue(key, rai_types.tensor, tensor) == REDISMODULE_OK
    rai_tensor_release(cython.cast(cython.pointer(rai_tensor), former))
    if RedisModule_GetExpire(key) != REDISMODULE_NO_EXPIRE:
        RedisModule_SetExpire(key, REDISMODULE_NO_EXPIRE)
    return True


def store_tensor(key: cython.pointer(RedisModuleKey), tensor: cython.pointer(rai_tensor)) -> cython.void:
    """Makes the tensor the value of the opened key; the keyspace gets a reference of its own."""
    set_tensor(key, rai_tensor_retain(tensor))


def replicate_tensor(
    ctx: cython.pointer(RedisModuleCtx), name: cython.pointer(RedisModuleString), tensor: cython.pointer(rai_tensor)
) -> cython.void:
    """Propagates a stored output as ``AI.TENSORSET name dtype dim ... BLOB data``."""
    dims: cython.pointer(cython.pointer(RedisModuleString)) = new_dims(tensor)
    RedisModule_Replicate(
        ctx,
        b"AI.TENSORSET",
        b"ssvsb",
        name,
        dtype_string(tensor.dtype),
        dims,
        cython.cast(cython.size_t, tensor.ndim),
        word_blob(),
        tensor.data,
        cython.cast(cython.size_t, tensor.byte_length),
    )
    free_strings(dims, tensor.ndim)


# ---- replies -----------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_word(ctx: cython.pointer(RedisModuleCtx), word: cython.p_const_char) -> cython.void:
    RedisModule_ReplyWithStringBuffer(ctx, word, strlen(word))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_unsigned(ctx: cython.pointer(RedisModuleCtx), value: uint64_t) -> cython.void:
    """An integer; above what integer replies can hold a big number, which is a bulk string in RESP2."""
    text: cython.char[24]
    length: cython.int
    if value <= cython.cast(uint64_t, INT64_MAX):
        RedisModule_ReplyWithLongLong(ctx, value)
        return
    length = snprintf(text, cython.sizeof(text), b"%llu", cython.cast(cython.ulonglong, value))
    if cython.cast(cython.p_void, RedisModule_ReplyWithBigNumber) != cython.NULL:
        RedisModule_ReplyWithBigNumber(ctx, text, length)
    else:  # Redis 6.2
        RedisModule_ReplyWithStringBuffer(ctx, text, length)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_double(ctx: cython.pointer(RedisModuleCtx), number: cython.double, in_text: cython.bint) -> cython.void:
    """A double: ``in_text`` says whether it is a bulk string with 17 digits. Redis takes longer to write that."""
    text: cython.char[32]
    length: int32_t = rai_double_text(number, text) if in_text else 0
    if length > 0:
        RedisModule_ReplyWithStringBuffer(ctx, text, length)
    else:
        RedisModule_ReplyWithDouble(ctx, number)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_value(
    ctx: cython.pointer(RedisModuleCtx), tensor: cython.pointer(rai_tensor), i: int64_t, in_text: cython.bint
) -> cython.void:
    """One element: a double, an integer, or a bulk string without its NUL."""
    dtype: int32_t = tensor.dtype
    data: cython.p_char = tensor.data
    if dtype == RAI_FLOAT:
        reply_with_double(ctx, cython.cast(cython.p_float, data)[i], in_text)
    elif dtype == RAI_DOUBLE:
        reply_with_double(ctx, cython.cast(cython.p_double, data)[i], in_text)
    elif dtype == RAI_STRING:
        reply_with_word(ctx, data + tensor.offsets[i])
    elif dtype == RAI_INT8:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(int8_t), data)[i])
    elif dtype == RAI_INT16:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(int16_t), data)[i])
    elif dtype == RAI_INT32:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(int32_t), data)[i])
    elif dtype == RAI_INT64:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(int64_t), data)[i])
    elif dtype == RAI_UINT16:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(uint16_t), data)[i])
    elif dtype == RAI_UINT32:
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(uint32_t), data)[i])
    elif dtype == RAI_UINT64:
        reply_with_unsigned(ctx, cython.cast(cython.pointer(uint64_t), data)[i])
    elif dtype == RAI_FLOAT16:
        reply_with_double(ctx, rai_half_to_double(cython.cast(cython.pointer(uint16_t), data)[i]), in_text)
    elif dtype == RAI_BFLOAT16:
        reply_with_double(ctx, rai_bfloat_to_double(cython.cast(cython.pointer(uint16_t), data)[i]), in_text)
    else:  # UINT8 and BOOL
        RedisModule_ReplyWithLongLong(ctx, cython.cast(cython.pointer(uint8_t), data)[i])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def doubles_are_text(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Whether Redis would write doubles for this client as we do: not from 7.2 on, nor in RESP3; 6.2 does not tell."""
    if cython.cast(cython.p_void, RedisModule_ReplyWithMap) == cython.NULL:
        return False
    if RedisModule_GetServerVersion() >= REDIS_7_2:
        return False
    return (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_RESP3) == 0


def parse_formats(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, formats: cython.p_int
) -> cython.p_const_char:
    """Parses ``[META] [BLOB | VALUES]`` into a set of META, BLOB and VALUES; NULL, or the error."""
    at: cython.int
    formats[0] = 0
    for at in range(argc):
        if is_word(argv[at], b"META"):
            formats[0] |= META
        elif is_word(argv[at], b"BLOB"):
            formats[0] |= BLOB
        elif is_word(argv[at], b"VALUES"):
            formats[0] |= VALUES
        else:
            return b"ERR unsupported data format"
        if formats[0] & BLOB and formats[0] & VALUES:
            return b"ERR both BLOB and VALUES specified"
    if formats[0] == 0:
        formats[0] = META | BLOB
    return cython.NULL


def reply_with_tensor(
    ctx: cython.pointer(RedisModuleCtx), tensor: cython.pointer(rai_tensor), formats: cython.int
) -> cython.int:
    """Replies with what is asked for of a tensor: a set of META, BLOB and VALUES."""
    meta: cython.bint = (formats & META) != 0
    blob: cython.bint = (formats & BLOB) != 0
    values: cython.bint = (formats & VALUES) != 0
    in_text: cython.bint
    i: int64_t
    if meta:
        reply_with_pairs(ctx, 3 if blob or values else 2)
        RedisModule_ReplyWithStringBuffer(ctx, b"dtype", 5)
        reply_with_word(ctx, rai_dtype_name(tensor.dtype))
        RedisModule_ReplyWithStringBuffer(ctx, b"shape", 5)
        RedisModule_ReplyWithArray(ctx, tensor.ndim)
        for i in range(tensor.ndim):
            RedisModule_ReplyWithLongLong(ctx, tensor.dims[i])
    if blob:
        if meta:
            RedisModule_ReplyWithStringBuffer(ctx, b"blob", 4)
        RedisModule_ReplyWithStringBuffer(ctx, tensor.data, tensor.byte_length)
    elif values:
        if meta:
            RedisModule_ReplyWithStringBuffer(ctx, b"values", 6)
        RedisModule_ReplyWithArray(ctx, tensor.length)
        in_text = doubles_are_text(ctx)
        for i in range(tensor.length):
            reply_with_value(ctx, tensor, i, in_text)
    return REDISMODULE_OK


# ---- commands ------------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tensorset(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.TENSORSET key dtype [dim ...] [BLOB data | VALUES value ...]"""
    error: cython.p_const_char = cython.NULL
    key: cython.pointer(RedisModuleKey)
    tensor: cython.pointer(rai_tensor)
    if argc < 4:
        return RedisModule_WrongArity(ctx)
    key = open_for_writing(ctx, argv[1], rai_types.tensor)
    if key == cython.NULL:
        return reply_with_wrong_type(ctx)
    tensor = parse_tensor(ctx, argv + 2, argc - 2, cython.address(error))
    if tensor == cython.NULL:
        RedisModule_CloseKey(key)
        return RedisModule_ReplyWithError(ctx, error)
    if not set_tensor(key, tensor):
        rai_tensor_release(tensor)
        RedisModule_CloseKey(key)
        return RedisModule_ReplyWithError(ctx, b"ERR could not save tensor")
    RedisModule_CloseKey(key)
    RedisModule_ReplicateVerbatim(ctx)
    notify(ctx, b"tensorset", argv[1])
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def tensorget(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.TENSORGET key [META] [BLOB | VALUES]"""
    error: cython.p_const_char = cython.NULL
    formats: cython.int = 0
    tensor: cython.pointer(rai_tensor)
    if argc < 2 or argc > 4:
        return RedisModule_WrongArity(ctx)
    tensor = find_tensor(ctx, argv[1], cython.address(error))
    if tensor != cython.NULL:
        error = parse_formats(argv + 2, argc - 2, cython.address(formats))
    if error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    if formats == (META | BLOB) and rai_kept_reply(ctx, argv[1], tensor):
        return REDISMODULE_OK
    return reply_with_tensor(ctx, tensor, formats)


rai_handlers.tensorset = tensorset
rai_handlers.tensorget = tensorget
