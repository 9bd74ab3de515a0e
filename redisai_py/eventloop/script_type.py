"""The script value type. What scripts share with models, such as free and copy, is in model_type.

Source of the rules: spec/persistence.md, sections 5 and 7; every encoding from 0 to
4 is read, 4 is written.
"""

import cython
from cython.cimports.core import (
    RAI_SCRIPT,
    RAI_TORCH,
    rai_blob_new,
    rai_blob_own,
    rai_model,
    rai_model_release,
    rai_model_set_names,
    rai_names,
    rai_names_new,
    rai_registry_add,
    rai_types,
)
from cython.cimports.redis_api import (
    RedisModule_CreateDataType,
    RedisModule_EmitAOF,
    RedisModule_Free,
    RedisModule_GetKeyNameFromIO,
    RedisModule_IsIOError,
    RedisModule_LoadStringBuffer,
    RedisModule_LogIOError,
    RedisModule_Realloc,
    RedisModule_SaveStringBuffer,
    RedisModuleCtx,
    RedisModuleIO,
    RedisModuleString,
    RedisModuleTypeMethods,
)
from cython.cimports.redisai_py.eventloop.model_type import (
    ENCODING_VERSION,
    add_names,
    fill_shared_methods,
    load_names,
    load_start,
    refuse_newer,
    save_names,
    save_text,
)
from cython.cimports.redisai_py.eventloop.storing import load_in_background
from cython.cimports.redisai_py.eventloop.strings import free_strings, new_strings

methods = cython.declare(RedisModuleTypeMethods)


def source_of(script: cython.pointer(rai_model)) -> cython.p_const_char:
    """The source, a C string: its one chunk is a Redis string, or was loaded with its NUL."""
    return script.blob.chunks[0].data


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def save_script(io: cython.pointer(RedisModuleIO), value: cython.p_void) -> cython.void:
    script: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    save_text(io, script.device)
    RedisModule_SaveStringBuffer(io, script.tag.data, script.tag.length)
    save_text(io, source_of(script))
    save_names(io, script.inputs)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_source(io: cython.pointer(RedisModuleIO), script: cython.pointer(rai_model)) -> cython.bint:
    """Reads the source; false when the payload is broken."""
    length: cython.size_t = 0
    text: cython.p_char = RedisModule_LoadStringBuffer(io, cython.address(length))
    if RedisModule_IsIOError(io) or text == cython.NULL:
        RedisModule_Free(text)
        return False
    if length == 0 or text[length - 1] != 0:
        text = cython.cast(cython.p_char, RedisModule_Realloc(text, length + 1))
        length += 1
        text[length - 1] = 0
    script.blob = rai_blob_new(1)
    rai_blob_own(script.blob, text, length - 1)
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_script_fields(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.pointer(rai_model):
    """The script in a payload; NULL when it is broken."""
    names: cython.pointer(rai_names)
    script: cython.pointer(rai_model) = load_start(io, version, RAI_SCRIPT, RAI_TORCH)
    if script == cython.NULL:
        return cython.NULL
    if load_source(io, script):
        names = load_names(io) if version >= 3 else rai_names_new(0)
        if names != cython.NULL:
            rai_model_set_names(script, names, rai_names_new(0))
            return script
    rai_model_release(script)
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def load_script(io: cython.pointer(RedisModuleIO), version: cython.int) -> cython.p_void:
    """Installs the script from its source; a worker compiles it in the background."""
    script: cython.pointer(rai_model)
    if refuse_newer(io, version, b"script"):
        return cython.NULL
    script = load_script_fields(io, version)
    if script == cython.NULL:
        RedisModule_LogIOError(io, b"warning", b"Experienced a short read while reading a script from RDB")
        return cython.NULL
    rai_registry_add(script, RedisModule_GetKeyNameFromIO(io))
    load_in_background(script)
    return script


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def rewrite_script(
    io: cython.pointer(RedisModuleIO), key: cython.pointer(RedisModuleString), value: cython.p_void
) -> cython.void:
    """AI.SCRIPTSTORE, or AI.SCRIPTSET for a script without entry points, which the former refuses (Q6)."""
    script: cython.pointer(rai_model) = cython.cast(cython.pointer(rai_model), value)
    words: cython.pointer(cython.pointer(RedisModuleString)) = new_strings(2 + script.inputs.count)
    count: cython.size_t = 0
    command: cython.p_const_char = b"AI.SCRIPTSET"
    if script.inputs.count > 0:
        command = b"AI.SCRIPTSTORE"
        count = add_names(words, 0, b"ENTRY_POINTS", script.inputs)
    RedisModule_EmitAOF(
        io,
        command,
        b"sccbvcc",
        key,
        script.device,
        cython.cast(cython.p_const_char, b"TAG"),
        script.tag.data,
        script.tag.length,
        words,
        count,
        cython.cast(cython.p_const_char, b"SOURCE"),
        source_of(script),
    )
    free_strings(words, count)


def register_script_type(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    fill_shared_methods(cython.address(methods))
    methods.rdb_load = load_script
    methods.rdb_save = save_script
    methods.aof_rewrite = rewrite_script
    rai_types.script = RedisModule_CreateDataType(ctx, b"AI_SCRIPT", ENCODING_VERSION, cython.address(methods))
    return rai_types.script != cython.NULL
