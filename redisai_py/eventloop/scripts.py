"""AI.SCRIPTSTORE, AI.SCRIPTSET, AI.SCRIPTGET, AI.SCRIPTDEL and AI._SCRIPTSCAN.

Source of the rules: spec/commands.md, sections 8, 9 and 12 to 14.
"""

import cython
from cython.cimports.command_handlers import rai_handlers
from cython.cimports.core import (
    RAI_SCRIPT,
    RAI_TORCH,
    rai_blob_hold,
    rai_blob_new,
    rai_model,
    rai_model_new,
    rai_model_release,
    rai_model_set_names,
    rai_model_set_tag,
    rai_names,
    rai_names_new,
    rai_names_set,
    rai_types,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_Log,
    RedisModule_ReplyWithCString,
    RedisModule_ReplyWithError,
    RedisModule_StringPtrLen,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word, parse_loose_integer, text_of
from cython.cimports.redisai_py.eventloop.keyspace import find_script
from cython.cimports.redisai_py.eventloop.replies import (
    reply_with_bytes,
    reply_with_names,
    reply_with_pairs,
    reply_with_text,
)
from cython.cimports.redisai_py.eventloop.script_type import source_of
from cython.cimports.redisai_py.eventloop.storing import delete, scan, store


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_start(
    argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int, at: cython.p_int
) -> cython.pointer(rai_model):
    """A new script from ``key device [TAG tag]``; ``at`` is then the position behind that."""
    length: cython.size_t = 0
    text: cython.p_const_char = text_of(argv[2], cython.address(length))
    script: cython.pointer(rai_model) = rai_model_new(RAI_SCRIPT, RAI_TORCH, text, length)
    at[0] = 3
    if argc > 4 and is_word(argv[3], b"TAG"):
        text = RedisModule_StringPtrLen(argv[4], cython.address(length))
        rai_model_set_tag(script, text, length)
        at[0] = 5
    return script


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_entry_points(
    script: cython.pointer(rai_model),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    at: cython.p_int,
) -> cython.p_const_char:
    """Parses ``ENTRY_POINTS n function ...``; NULL, or the error."""
    count: cython.longlong = 0
    i: int64_t
    length: cython.size_t = 0
    name: cython.p_const_char
    names: cython.pointer(rai_names)
    if at[0] >= argc or not is_word(argv[at[0]], b"ENTRY_POINTS"):
        return b"ERR Insufficient arguments, missing script entry points"
    at[0] += 1
    if at[0] >= argc or not parse_loose_integer(argv[at[0]], cython.address(count)):
        return b"ERR Non numeric entry points number provided to AI.SCRIPTSTORE command"
    at[0] += 1
    if count < 0 or count > argc - at[0]:
        return b"ERR Insufficient arguments, missing script entry points"
    names = rai_names_new(count)
    for i in range(count):
        name = text_of(argv[at[0] + i], cython.address(length))
        rai_names_set(names, i, name, length)
    rai_model_set_names(script, names, rai_names_new(0))
    at[0] += cython.cast(cython.int, count)
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def parse_source(
    script: cython.pointer(rai_model),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    at: cython.int,
) -> cython.p_const_char:
    """Keeps what follows SOURCE; what comes behind it is ignored. NULL, or the error."""
    if at + 1 >= argc or not is_word(argv[at], b"SOURCE"):
        return b"ERR Insufficient arguments, missing script SOURCE"
    script.blob = rai_blob_new(1)
    rai_blob_hold(script.blob, argv[at + 1])
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def store_or_reply(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    script: cython.pointer(rai_model),
    error: cython.p_const_char,
) -> cython.int:
    if error == cython.NULL:
        return store(ctx, argv, argc, script)
    rai_model_release(script)
    return RedisModule_ReplyWithError(ctx, error)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptstore(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTSTORE key device [TAG tag] ENTRY_POINTS n function [function ...] SOURCE source"""
    error: cython.p_const_char
    script: cython.pointer(rai_model)
    at: cython.int = 0
    if argc < 8:
        return RedisModule_WrongArity(ctx)
    script = parse_start(argv, argc, cython.address(at))
    error = parse_entry_points(script, argv, argc, cython.address(at))
    if error == cython.NULL:
        error = parse_source(script, argv, argc, at)
    return store_or_reply(ctx, argv, argc, script, error)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptset(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTSET key device [TAG tag] SOURCE source"""
    script: cython.pointer(rai_model)
    at: cython.int = 0
    if argc != 5 and argc != 7:
        return RedisModule_WrongArity(ctx)
    script = parse_start(argv, argc, cython.address(at))
    return store_or_reply(ctx, argv, argc, script, parse_source(script, argv, argc, at))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptget(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTGET key [META] [SOURCE]; unknown words are ignored, as RedisAI does."""
    error: cython.p_const_char = cython.NULL
    meta: cython.bint = False
    source: cython.bint = False
    at: cython.int
    script: cython.pointer(rai_model)
    if argc < 2 or argc > 4:
        return RedisModule_WrongArity(ctx)
    script = find_script(ctx, argv[1], cython.address(error))
    if script == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    for at in range(2, argc):
        meta = meta or is_word(argv[at], b"META")
        source = source or is_word(argv[at], b"SOURCE")
    if source and not meta:
        return RedisModule_ReplyWithCString(ctx, source_of(script))
    source = source or not meta
    reply_with_pairs(ctx, 4 if source else 3)
    reply_with_text(ctx, b"device", script.device)
    reply_with_bytes(ctx, b"tag", script.tag.data, script.tag.length)
    reply_with_names(ctx, b"Entry Points", script.inputs)
    if source:
        reply_with_text(ctx, b"source", source_of(script))
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptdel(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.SCRIPTDEL key"""
    error: cython.p_const_char = cython.NULL
    if argc != 2:
        return RedisModule_WrongArity(ctx)
    if find_script(ctx, argv[1], cython.address(error)) == cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return delete(ctx, argv[1], rai_types.script)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def scriptscan(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI._SCRIPTSCAN: [key, tag] of every script in the selected database (Q1, Q33)"""
    if argc != 1:
        return RedisModule_WrongArity(ctx)
    RedisModule_Log(ctx, b"warning", b"SCRIPTSCAN is experimental and might be removed in future versions")
    return scan(ctx, RAI_SCRIPT)


rai_handlers.scriptstore = scriptstore
rai_handlers.scriptset = scriptset
rai_handlers.scriptget = scriptget
rai_handlers.scriptdel = scriptdel
rai_handlers.scriptscan = scriptscan
