"""AI.MODELGET, AI.MODELDEL and AI._MODELSCAN: what is done with models that are there.

Source of the rules: spec/commands.md, sections 7 to 9.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_MODEL,
    rai_backend_name,
    rai_blob,
    rai_blob_slice,
    rai_config,
    rai_model,
    rai_types,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Free,
    RedisModule_Log,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.keyspace import find_model
from cython.cimports.redisai_py.eventloop.replies import (
    reply_with_bytes,
    reply_with_names,
    reply_with_number,
    reply_with_pairs,
    reply_with_text,
)
from cython.cimports.redisai_py.eventloop.storing import delete, scan


def chunk_count(blob: cython.pointer(rai_blob)) -> int64_t:
    """How many chunks of MODEL_CHUNK_SIZE the blob is given out in: the last one may be empty."""
    return blob.length // rai_config().model_chunk_size + 1


def chunk_at(
    blob: cython.pointer(rai_blob),
    index: int64_t,
    length: cython.pointer(cython.size_t),
    owned: cython.pointer(cython.p_char),
) -> cython.p_const_char:
    """One of the ``chunk_count`` chunks; ``owned`` as in ``rai_blob_slice``."""
    size: cython.size_t = rai_config().model_chunk_size
    offset: cython.size_t = index * size
    length[0] = size if index < chunk_count(blob) - 1 else blob.length - offset
    return rai_blob_slice(blob, offset, length[0], owned)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_blob(ctx: cython.pointer(RedisModuleCtx), blob: cython.pointer(rai_blob)) -> cython.void:
    count: int64_t = chunk_count(blob)
    length: cython.size_t = 0
    owned: cython.p_char = cython.NULL
    data: cython.p_const_char
    i: int64_t
    if count > 1:
        RedisModule_ReplyWithArray(ctx, count)
    for i in range(count):
        data = chunk_at(blob, i, cython.address(length), cython.address(owned))
        RedisModule_ReplyWithStringBuffer(ctx, data, length)
        RedisModule_Free(owned)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelget(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELGET key [META] [BLOB]; unknown words are ignored, as RedisAI does."""
    error: cython.p_const_char = cython.NULL
    meta: cython.bint = False
    blob: cython.bint = False
    at: cython.int
    model: cython.pointer(rai_model)
    if argc < 2 or argc > 4:
        return RedisModule_WrongArity(ctx)
    model = find_model(ctx, argv[1], cython.address(error))
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    for at in range(2, argc):
        meta = meta or is_word(argv[at], b"META")
        blob = blob or is_word(argv[at], b"BLOB")
    if blob and not meta:
        reply_with_blob(ctx, model.blob)
        return REDISMODULE_OK
    if not meta:
        blob = True
    reply_with_pairs(ctx, 9 if blob else 8)
    reply_with_text(ctx, b"backend", rai_backend_name(model.backend))
    reply_with_text(ctx, b"device", model.device)
    reply_with_bytes(ctx, b"tag", model.tag.data, model.tag.length)
    reply_with_number(ctx, b"batchsize", model.batch_size)
    reply_with_number(ctx, b"minbatchsize", model.min_batch_size)
    reply_with_names(ctx, b"inputs", model.inputs)
    reply_with_names(ctx, b"outputs", model.outputs)
    reply_with_number(ctx, b"minbatchtimeout", model.min_batch_timeout_ms)
    if blob:
        RedisModule_ReplyWithStringBuffer(ctx, b"blob", 4)
        reply_with_blob(ctx, model.blob)
    return REDISMODULE_OK


# ---- AI.MODELDEL and AI._MODELSCAN --------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modeldel(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.MODELDEL key"""
    error: cython.p_const_char = cython.NULL
    if argc != 2:
        return RedisModule_WrongArity(ctx)
    if find_model(ctx, argv[1], cython.address(error)) == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return delete(ctx, argv[1], rai_types.model)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def modelscan(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI._MODELSCAN: [key, tag] of every model in the selected database (Q1, Q33)"""
    if argc != 1:
        return RedisModule_WrongArity(ctx)
    RedisModule_Log(ctx, b"warning", b"MODELSCAN is experimental and might be removed in future versions")
    return scan(ctx, RAI_MODEL)


rai_handlers.modelget = modelget
rai_handlers.modeldel = modeldel
rai_handlers.modelscan = modelscan
