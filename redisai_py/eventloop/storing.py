"""Storing, deleting and listing models and scripts.

A value is stored in two steps: a worker creates its session while only the
client that stores it waits, and then it is published in the keyspace; until then
the old value serves. What comes from a trusted source is published at once and
loaded in the background. Source of the rules: spec/commands.md, sections 5, 8, 9,
12, and the decisions on MODELSTORE and SCRIPTSTORE.
"""

import cython
from cython.cimports.core import (
    RAI_JOB_LOAD,
    RAI_MODEL_FAILED,
    RAI_MODEL_LOADING,
    RAI_SCRIPT,
    rai_control_queue,
    rai_job,
    rai_job_free,
    rai_job_new,
    rai_job_of_context,
    rai_job_run_in_place,
    rai_job_spawn_behind,
    rai_job_submit,
    rai_model,
    rai_model_release,
    rai_model_retain,
    rai_now_us,
    rai_queue_of_device,
    rai_registry_add,
    rai_registry_snapshot,
    rai_types,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.redis_api import (
    REDISMODULE_CTX_FLAGS_DENY_BLOCKING,
    REDISMODULE_CTX_FLAGS_LOADING,
    REDISMODULE_CTX_FLAGS_LUA,
    REDISMODULE_CTX_FLAGS_MULTI,
    REDISMODULE_CTX_FLAGS_REPLICATED,
    REDISMODULE_OK,
    REDISMODULE_OPEN_KEY_NOTOUCH,
    REDISMODULE_READ,
    RedisModule_CloseKey,
    RedisModule_DeleteKey,
    RedisModule_Free,
    RedisModule_GetContextFlags,
    RedisModule_LatencyAddSample,
    RedisModule_Log,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue,
    RedisModule_ModuleTypeSetValue,
    RedisModule_OpenKey,
    RedisModule_Replicate,
    RedisModule_ReplicateVerbatim,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithCString,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleKey,
    RedisModuleString,
    RedisModuleType,
)
from cython.cimports.redisai_py.eventloop.effects import obstacle
from cython.cimports.redisai_py.eventloop.keyspace import open_for_writing, reply_with_wrong_type
from cython.cimports.redisai_py.eventloop.notifications import notify, notify_deleted
from cython.cimports.redisai_py.eventloop.replies import reply_with_number

IN_PLACE_FLAGS = cython.declare(
    cython.int, REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA | REDISMODULE_CTX_FLAGS_DENY_BLOCKING
)
TRUSTED_FLAGS = cython.declare(cython.int, REDISMODULE_CTX_FLAGS_LOADING | REDISMODULE_CTX_FLAGS_REPLICATED)


def is_trusted(ctx: cython.pointer(RedisModuleCtx)) -> cython.bint:
    """Whether the command comes from an AOF or from our master: it was accepted before."""
    return (RedisModule_GetContextFlags(ctx) & TRUSTED_FLAGS) != 0


def load_in_background(model: cython.pointer(rai_model)) -> cython.void:
    """Has a worker create the session of a value that is in the keyspace already, when nobody waits for anything else.

    The first execution of the value moves it forward.
    """
    model.queue = rai_queue_of_device(model.device)
    rai_job_spawn_behind(rai_job_new(RAI_JOB_LOAD, model, 0, 0), rai_control_queue())


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def type_of(kind: cython.int) -> cython.pointer(RedisModuleType):
    return rai_types.script if kind == RAI_SCRIPT else rai_types.model


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def publish(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    model: cython.pointer(rai_model),
    error: cython.p_const_char,
) -> cython.int:
    """Stores what a worker accepted, or what comes from a trusted source, and replies."""
    key: cython.pointer(RedisModuleKey)
    if error != cython.NULL:
        RedisModule_Log(ctx, b"warning", b"%s", error)
        return RedisModule_ReplyWithError(ctx, error)
    # Checked only now, as RedisAI does: a broken model is reported before a wrong type.
    key = open_for_writing(ctx, argv[1], type_of(model.kind))
    if key == cython.NULL:
        return reply_with_wrong_type(ctx)
    model.queue = rai_queue_of_device(model.device)
    rai_registry_add(model, argv[1])
    RedisModule_ModuleTypeSetValue(key, type_of(model.kind), rai_model_retain(model))
    RedisModule_CloseKey(key)
    # Verbatim; Redis 6.2 forgets RedisModule_ReplicateVerbatim in the reply to a blocked client.
    RedisModule_Replicate(
        ctx,
        RedisModule_StringPtrLen(argv[0], cython.NULL),
        b"v",
        argv + 1,
        cython.cast(cython.size_t, argc - 1),
    )
    notify(ctx, b"scriptstore" if model.kind == RAI_SCRIPT else b"modelstore", argv[1])
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_to_store(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    job: cython.pointer(rai_job) = rai_job_of_context(ctx)
    add_latency(job)
    error: cython.p_const_char = cython.NULL
    if job.error == cython.NULL:
        error = obstacle(ctx, argv + 1, 1)
    if error != cython.NULL:
        return RedisModule_ReplyWithError(ctx, error)
    return publish(ctx, argv, argc, job.model, job.error)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_latency(job: cython.pointer(rai_job)) -> cython.void:
    """Tells Redis' latency monitor how long the load took, with what it had to wait for."""
    RedisModule_LatencyAddSample(b"ai-load", (rai_now_us() - job.enqueued_us) // 1000)


def store(
    ctx: cython.pointer(RedisModuleCtx),
    argv: cython.pointer(cython.pointer(RedisModuleString)),
    argc: cython.int,
    model: cython.pointer(rai_model),
) -> cython.int:
    """Loads a parsed value and stores it at argv[1]; takes over the caller's reference."""
    job: cython.pointer(rai_job)
    if is_trusted(ctx):
        if publish(ctx, argv, argc, model, cython.NULL) == REDISMODULE_OK and model.queue != cython.NULL:
            load_in_background(model)
        rai_model_release(model)
        return REDISMODULE_OK
    job = rai_job_new(RAI_JOB_LOAD, model, 0, 0)
    rai_model_release(model)  # the job has a reference
    if RedisModule_GetContextFlags(ctx) & IN_PLACE_FLAGS:
        # MULTI, Lua and calls of other modules cannot wait without the event loop.
        rai_job_run_in_place(job, rai_control_queue())
        add_latency(job)
        publish(ctx, argv, argc, job.model, job.error)
        rai_job_free(job)
    else:
        rai_job_submit(ctx, job, rai_control_queue(), reply_to_store)
    return REDISMODULE_OK


def delete(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.pointer(RedisModuleString),
    type: cython.pointer(RedisModuleType),
) -> cython.int:
    """Deletes a key that holds a value of this type, and replies."""
    key: cython.pointer(RedisModuleKey) = open_for_writing(ctx, name, type)
    if key == cython.NULL:  # an alias
        return reply_with_wrong_type(ctx)
    RedisModule_DeleteKey(key)
    RedisModule_CloseKey(key)
    RedisModule_ReplicateVerbatim(ctx)
    notify_deleted(ctx, b"scriptdel" if type == rai_types.script else b"modeldel", name)
    return RedisModule_ReplyWithSimpleString(ctx, b"OK")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_in_keyspace(ctx: cython.pointer(RedisModuleCtx), model: cython.pointer(rai_model)) -> cython.bint:
    """Whether the selected database holds this very value under its last known name."""
    found: cython.bint
    key: cython.pointer(RedisModuleKey) = cython.cast(
        cython.pointer(RedisModuleKey),
        RedisModule_OpenKey(ctx, model.key, REDISMODULE_READ | REDISMODULE_OPEN_KEY_NOTOUCH),
    )
    if key == cython.NULL:
        return False
    found = RedisModule_ModuleTypeGetType(key) == type_of(model.kind) and RedisModule_ModuleTypeGetValue(key) == model
    RedisModule_CloseKey(key)
    return found


def scan(ctx: cython.pointer(RedisModuleCtx), kind: cython.int) -> cython.int:
    """Replies with [key, tag] of every value of this kind in the selected database."""
    count: int64_t = 0
    found: int64_t = 0
    i: int64_t
    models: cython.pointer(cython.pointer(rai_model)) = rai_registry_snapshot(cython.address(count))
    for i in range(count):
        if models[i].kind == kind and is_in_keyspace(ctx, models[i]):
            models[found], models[i] = models[i], models[found]
            found += 1
    RedisModule_ReplyWithArray(ctx, found)
    for i in range(count):
        if i < found:
            RedisModule_ReplyWithArray(ctx, 2)
            RedisModule_ReplyWithString(ctx, models[i].key)
            RedisModule_ReplyWithStringBuffer(ctx, models[i].tag.data, models[i].tag.length)
        rai_model_release(models[i])
    RedisModule_Free(models)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def move_up(
    models: cython.pointer(cython.pointer(rai_model)), start: int64_t, count: int64_t, state: cython.int
) -> int64_t:
    """Moves the models in a state to ``start`` and on; where they end."""
    i: int64_t
    for i in range(start, count):
        if models[i].state == state:
            models[start], models[i] = models[i], models[start]
            start += 1
    return start


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_keys(
    ctx: cython.pointer(RedisModuleCtx),
    name: cython.p_const_char,
    models: cython.pointer(cython.pointer(rai_model)),
    start: int64_t,
    end: int64_t,
) -> cython.void:
    i: int64_t
    RedisModule_ReplyWithCString(ctx, name)
    RedisModule_ReplyWithArray(ctx, end - start)
    for i in range(start, end):
        RedisModule_ReplyWithString(ctx, models[i].key)


def reply_with_states(ctx: cython.pointer(RedisModuleCtx)) -> cython.void:
    """Six elements: how many models and scripts of the selected database are compiled, and which are not (yet)."""
    count: int64_t = 0
    found: int64_t = 0
    loading: int64_t
    failed: int64_t
    i: int64_t
    models: cython.pointer(cython.pointer(rai_model)) = rai_registry_snapshot(cython.address(count))
    for i in range(count):
        if is_in_keyspace(ctx, models[i]):
            models[found], models[i] = models[i], models[found]
            found += 1
    loading = move_up(models, 0, found, RAI_MODEL_LOADING)
    failed = move_up(models, loading, found, RAI_MODEL_FAILED)
    reply_with_number(ctx, b"Models ready", found - failed)
    reply_with_keys(ctx, b"Models loading", models, 0, loading)
    reply_with_keys(ctx, b"Models failed", models, loading, failed)
    for i in range(count):
        rai_model_release(models[i])
    RedisModule_Free(models)
