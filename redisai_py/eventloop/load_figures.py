"""What queues, backends, models and scripts are busy with: sections of INFO behind RedisAI's, and AI.INFO LATENCY.

docs/operating.md explains the fields. While Redis writes a crash report only the
queues are shown, since the rest takes a lock and memory.
"""

import cython
from cython.cimports.core import (
    RAI_BACKENDS,
    RAI_PHASE_QUEUE,
    RAI_PHASE_RUN,
    RAI_SCRIPT,
    rai_backend,
    rai_backend_name,
    rai_latency_quantiles,
    rai_latency_runs,
    rai_model,
    rai_model_release,
    rai_quantiles,
    rai_queue,
    rai_queue_at,
    rai_queue_get_load,
    rai_queue_load,
    rai_queue_name,
    rai_registry_snapshot,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import strchr
from cython.cimports.redis_api import (
    RedisModule_Free,
    RedisModule_InfoAddFieldCString,
    RedisModule_InfoAddFieldLongLong,
    RedisModule_InfoAddSection,
    RedisModule_InfoBeginDictField,
    RedisModule_InfoEndDictField,
    RedisModule_StringPtrLen,
    RedisModuleCtx,
    RedisModuleInfoCtx,
)
from cython.cimports.redisai_py.eventloop.replies import reply_with_number, reply_with_pairs

NAME_SIZE = cython.declare(cython.int, 256)


def make_plain(text: cython.p_char, others: cython.p_const_char) -> cython.void:
    """Makes a name, which may be any bytes, part of a line: what is not printable ASCII, and ``others``, become _."""
    character: cython.uchar
    while text[0] != 0:
        character = text[0]
        if character <= b" "[0] or character > b"~"[0] or strchr(others, character) != cython.NULL:
            text[0] = b"_"[0]
        text += 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def begin_line(
    ctx: cython.pointer(RedisModuleInfoCtx), kind: cython.p_const_char, name: cython.p_const_char
) -> cython.void:
    """Begins a line of ``field=value`` under ``kind_name``, without what would make it ambiguous."""
    line: cython.char[256]
    snprintf(line, cython.sizeof(line), b"%s_%s", kind, name)
    make_plain(line, b":#,=")
    RedisModule_InfoBeginDictField(ctx, line)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_queues(ctx: cython.pointer(RedisModuleInfoCtx)) -> cython.void:
    """A line for each device: what waits and runs now, and what ran since the start."""
    index: int64_t = 0
    mean: cython.char[32]
    load: rai_queue_load
    queue: cython.pointer(rai_queue) = rai_queue_at(0)
    RedisModule_InfoAddSection(ctx, b"queues")
    while queue != cython.NULL:
        rai_queue_get_load(queue, cython.address(load))
        snprintf(
            mean,
            cython.sizeof(mean),
            b"%.2f",
            cython.cast(cython.double, load.requests) / load.runs if load.runs > 0 else 0.0,
        )
        begin_line(ctx, b"queue", rai_queue_name(queue))
        RedisModule_InfoAddFieldLongLong(ctx, b"waiting", load.waiting)
        RedisModule_InfoAddFieldLongLong(ctx, b"running", load.running)
        RedisModule_InfoAddFieldLongLong(ctx, b"requests", load.requests)
        RedisModule_InfoAddFieldLongLong(ctx, b"at_once", load.at_once)
        RedisModule_InfoAddFieldLongLong(ctx, b"runs", load.runs)
        RedisModule_InfoAddFieldCString(ctx, b"mean_batch", mean)
        RedisModule_InfoAddFieldLongLong(ctx, b"workers", load.workers)
        RedisModule_InfoAddFieldLongLong(ctx, b"gil_wait_usec", load.gil_wait_us)
        RedisModule_InfoEndDictField(ctx)
        index += 1
        queue = rai_queue_at(index)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_backends(
    ctx: cython.pointer(RedisModuleInfoCtx), models: cython.pointer(cython.pointer(rai_model)), count: int64_t
) -> cython.void:
    """A line for each loaded backend: its version, its models and scripts, and the memory of their sessions."""
    backend: cython.int
    i: int64_t
    number: int64_t
    memory: int64_t
    RedisModule_InfoAddSection(ctx, b"backends")
    for backend in range(RAI_BACKENDS):
        if not rai_backend(backend).loaded:
            continue
        number = memory = 0
        for i in range(count):
            if models[i].backend == backend:
                number += 1
                memory += models[i].session_memory
        begin_line(ctx, b"backend", rai_backend_name(backend))
        RedisModule_InfoAddFieldCString(ctx, b"version", rai_backend(backend).version)
        RedisModule_InfoAddFieldLongLong(ctx, b"models", number)
        RedisModule_InfoAddFieldLongLong(ctx, b"session_memory", memory)
        RedisModule_InfoEndDictField(ctx)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_quantiles(
    ctx: cython.pointer(RedisModuleInfoCtx),
    model: cython.pointer(rai_model),
    phase: cython.int,
    p50: cython.p_const_char,
    p99: cython.p_const_char,
    p999: cython.p_const_char,
) -> cython.void:
    quantiles: rai_quantiles
    rai_latency_quantiles(model.latency, phase, cython.address(quantiles))
    RedisModule_InfoAddFieldLongLong(ctx, p50, quantiles.p50)
    RedisModule_InfoAddFieldLongLong(ctx, p99, quantiles.p99)
    RedisModule_InfoAddFieldLongLong(ctx, p999, quantiles.p999)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_models(
    ctx: cython.pointer(RedisModuleInfoCtx),
    models: cython.pointer(cython.pointer(rai_model)),
    count: int64_t,
    scripts: cython.bint,
) -> cython.void:
    """A line for each model, or script, that was called: how often, and how long its requests waited and ran."""
    i: int64_t
    model: cython.pointer(rai_model)
    RedisModule_InfoAddSection(ctx, b"scripts" if scripts else b"models")
    for i in range(count):
        model = models[i]
        if (model.kind == RAI_SCRIPT) != scripts or model.statistics.calls == 0:
            continue
        begin_line(ctx, b"script" if scripts else b"model", RedisModule_StringPtrLen(model.key, cython.NULL))
        RedisModule_InfoAddFieldLongLong(ctx, b"calls", model.statistics.calls)
        RedisModule_InfoAddFieldLongLong(ctx, b"errors", model.statistics.errors)
        RedisModule_InfoAddFieldLongLong(ctx, b"runs", rai_latency_runs(model.latency))
        add_quantiles(ctx, model, RAI_PHASE_QUEUE, b"queue_p50", b"queue_p99", b"queue_p99.9")
        add_quantiles(ctx, model, RAI_PHASE_RUN, b"run_p50", b"run_p99", b"run_p99.9")
        RedisModule_InfoEndDictField(ctx)


def add_load(ctx: cython.pointer(RedisModuleInfoCtx), for_crash_report: cython.int) -> cython.void:
    """The sections queues, backends, models and scripts."""
    count: int64_t = 0
    i: int64_t
    models: cython.pointer(cython.pointer(rai_model))
    add_queues(ctx)
    if for_crash_report:
        return
    models = rai_registry_snapshot(cython.address(count))
    add_backends(ctx, models, count)
    add_models(ctx, models, count, False)
    add_models(ctx, models, count, True)
    for i in range(count):
        rai_model_release(models[i])
    RedisModule_Free(models)


def reply_with_latency(ctx: cython.pointer(RedisModuleCtx), model: cython.pointer(rai_model)) -> cython.int:
    """AI.INFO key LATENCY: runs, and quantiles of waiting and running in microseconds."""
    waiting: rai_quantiles
    running: rai_quantiles
    rai_latency_quantiles(model.latency, RAI_PHASE_QUEUE, cython.address(waiting))
    rai_latency_quantiles(model.latency, RAI_PHASE_RUN, cython.address(running))
    reply_with_pairs(ctx, 7)
    reply_with_number(ctx, b"runs", rai_latency_runs(model.latency))
    reply_with_number(ctx, b"queue_p50", waiting.p50)
    reply_with_number(ctx, b"queue_p99", waiting.p99)
    reply_with_number(ctx, b"queue_p99.9", waiting.p999)
    reply_with_number(ctx, b"run_p50", running.p50)
    reply_with_number(ctx, b"run_p99", running.p99)
    reply_with_number(ctx, b"run_p99.9", running.p999)
    return 0
