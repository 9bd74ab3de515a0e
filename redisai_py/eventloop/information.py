"""AI.INFO and the sections of INFO. Source of the rules: spec/config-info.md, sections 3 and 4.

The INFO callback also runs while Redis writes a crash report: it reads counters, waits
for no lock then, and allocates nothing.
"""

import cython
from cython.cimports.command_handlers import rai_handlers, rai_hooks
from cython.cimports.core import (
    RAI_BACKENDS,
    RAI_ONNX,
    RAI_SCRIPT,
    RAI_TF,
    RAI_TFLITE,
    RAI_TORCH,
    rai_backend,
    rai_backend_name,
    rai_config,
    rai_flows_add_info,
    rai_git_sha,
    rai_model,
    rai_queue,
    rai_queue_at,
    rai_queue_name,
    rai_queue_worker_cpu,
    rai_registry_count,
    rai_state_counts,
    rai_statistics_reset,
    rai_types,
    rai_version,
)
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdio import snprintf
from cython.cimports.posix.resource import (
    RUSAGE_CHILDREN,
    RUSAGE_SELF,
    getrusage,
    rusage,
)
from cython.cimports.posix.time import timeval
from cython.cimports.redis_api import (
    REDISMODULE_OK,
    RedisModule_InfoAddFieldCString,
    RedisModule_InfoAddFieldLongLong,
    RedisModule_InfoAddSection,
    RedisModule_RegisterInfoFunc,
    RedisModule_ReplyWithCString,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithString,
    RedisModule_WrongArity,
    RedisModuleCtx,
    RedisModuleInfoCtx,
    RedisModuleString,
)
from cython.cimports.redisai_py.eventloop.arguments import is_word
from cython.cimports.redisai_py.eventloop.keyspace import find_value
from cython.cimports.redisai_py.eventloop.load_figures import add_load, make_plain, reply_with_latency
from cython.cimports.redisai_py.eventloop.replies import (
    reply_with_bytes,
    reply_with_number,
    reply_with_pairs,
    reply_with_text,
)
from cython.cimports.redisai_py.eventloop.storing import reply_with_states

LOW_LEVEL_API_VERSION = cython.declare(cython.int, 1)
RDB_VERSION = cython.declare(cython.int, 4)
RUSAGE_THREAD = cython.declare(cython.int, 1)  # of Linux; Cython's posix.resource has no name for it


# ---- AI.INFO -------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def reply_with_versions(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    """AI.INFO without a key: versions of the module, its formats and the loaded backends; what is not compiled."""
    backend: cython.int
    loaded: cython.int = 0
    for backend in range(RAI_BACKENDS):
        loaded += rai_backend(backend).loaded != 0
    reply_with_pairs(ctx, 3 + loaded + 3)
    reply_with_text(ctx, b"Version", rai_version())
    reply_with_number(ctx, b"Low level API Version", LOW_LEVEL_API_VERSION)
    reply_with_number(ctx, b"RDB Encoding version", RDB_VERSION)
    for backend in range(RAI_BACKENDS):
        if rai_backend(backend).loaded:
            reply_with_text(ctx, rai_backend_name(backend), rai_backend(backend).version)
    reply_with_states(ctx)
    return REDISMODULE_OK


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def info(
    ctx: cython.pointer(RedisModuleCtx), argv: cython.pointer(cython.pointer(RedisModuleString)), argc: cython.int
) -> cython.int:
    """AI.INFO [key [RESETSTAT | LATENCY]]"""
    error: cython.p_const_char = cython.NULL
    model: cython.pointer(rai_model)
    if argc == 1:
        return reply_with_versions(ctx)
    if argc > 3:
        return RedisModule_WrongArity(ctx)
    model = cython.cast(
        cython.pointer(rai_model), find_value(ctx, argv[1], rai_types.model, cython.address(error), b"")
    )
    if model == cython.NULL:
        model = cython.cast(
            cython.pointer(rai_model), find_value(ctx, argv[1], rai_types.script, cython.address(error), b"")
        )
    if model == cython.NULL:
        return RedisModule_ReplyWithError(ctx, b"ERR cannot find run info for key")
    if argc == 3 and is_word(argv[2], b"RESETSTAT"):
        rai_statistics_reset(model)
        return RedisModule_ReplyWithSimpleString(ctx, b"OK")
    if argc == 3 and is_word(argv[2], b"LATENCY"):
        return reply_with_latency(ctx, model)
    reply_with_pairs(ctx, 9)
    RedisModule_ReplyWithCString(ctx, b"key")
    RedisModule_ReplyWithString(ctx, argv[1])
    if model.kind == RAI_SCRIPT:
        reply_with_text(ctx, b"type", b"SCRIPT")
    else:
        reply_with_text(ctx, b"type", b"MODEL")
    reply_with_text(ctx, b"backend", rai_backend_name(model.backend))
    reply_with_text(ctx, b"device", model.device)
    reply_with_bytes(ctx, b"tag", model.tag.data, model.tag.length)
    reply_with_number(ctx, b"duration", model.statistics.duration_us)
    reply_with_number(ctx, b"samples", -1 if model.kind == RAI_SCRIPT else model.statistics.samples)
    reply_with_number(ctx, b"calls", model.statistics.calls)
    reply_with_number(ctx, b"errors", model.statistics.errors)
    return REDISMODULE_OK


# ---- INFO ------------------------------------------------------------------------


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_seconds(ctx: cython.pointer(RedisModuleInfoCtx), field: cython.p_const_char, used: timeval) -> cython.void:
    text: cython.char[48]
    snprintf(
        text,
        cython.sizeof(text),
        b"%lld.%06lld",
        cython.cast(cython.longlong, used.tv_sec),
        cython.cast(cython.longlong, used.tv_usec),
    )
    RedisModule_InfoAddFieldCString(ctx, field, text)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_backend_versions(ctx: cython.pointer(RedisModuleInfoCtx)) -> cython.void:
    queues: cython.longlong = 0
    threads: cython.longlong = rai_config().threads_per_queue
    RedisModule_InfoAddSection(ctx, b"backends_info")
    if rai_backend(RAI_TF).loaded:
        RedisModule_InfoAddFieldCString(ctx, b"TensorFlow_version", rai_backend(RAI_TF).version)
    if rai_backend(RAI_TFLITE).loaded:
        RedisModule_InfoAddFieldCString(ctx, b"TensorFlowLite_version", rai_backend(RAI_TFLITE).version)
    if rai_backend(RAI_TORCH).loaded:
        RedisModule_InfoAddFieldCString(ctx, b"Torch_version", rai_backend(RAI_TORCH).version)
    if rai_backend(RAI_ONNX).loaded:
        while rai_queue_at(queues) != cython.NULL:
            queues += 1
        RedisModule_InfoAddFieldCString(ctx, b"onnxruntime_version", rai_backend(RAI_ONNX).version)
        RedisModule_InfoAddFieldLongLong(ctx, b"onnxruntime_memory", rai_backend(RAI_ONNX).memory)
        RedisModule_InfoAddFieldLongLong(
            ctx,
            b"onnxruntime_memory_access_num",
            rai_backend(RAI_ONNX).memory_accesses + rai_backend(RAI_ONNX).runner_accesses,
        )
        RedisModule_InfoAddFieldLongLong(
            ctx, b"onnxruntime_maximum_run_sessions_number", queues * (threads if threads > 0 else 1)
        )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_workers(ctx: cython.pointer(RedisModuleInfoCtx), queue: cython.pointer(rai_queue)) -> cython.void:
    """CPU seconds of each worker: of all that THREADS_PER_QUEUE asks for, or of those that the load called for."""
    field: cython.char[128]
    text: cython.char[48]
    worker: cython.longlong = 0
    least: cython.longlong = rai_config().threads_per_queue
    used: cython.double = rai_queue_worker_cpu(queue, 0)
    if least == 0:
        least = 1
    while used >= 0 or worker < least:
        snprintf(
            field,
            cython.sizeof(field),
            b"queue_%s_bthread_n%lld_used_cpu_total",
            rai_queue_name(queue),
            worker + 1,
        )
        make_plain(field, b"")  # scripts, and models of AI.MODELSET, name their device with any bytes
        snprintf(text, cython.sizeof(text), b"%.6f", used if used >= 0 else 0.0)
        RedisModule_InfoAddFieldCString(ctx, field, text)
        worker += 1
        used = rai_queue_worker_cpu(queue, worker)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_cpu(ctx: cython.pointer(RedisModuleInfoCtx)) -> cython.void:
    usage: rusage
    queue: cython.pointer(rai_queue)
    index: int64_t = 0
    RedisModule_InfoAddSection(ctx, b"cpu")
    getrusage(RUSAGE_SELF, cython.address(usage))
    add_seconds(ctx, b"self_used_cpu_sys", usage.ru_stime)
    add_seconds(ctx, b"self_used_cpu_user", usage.ru_utime)
    getrusage(RUSAGE_CHILDREN, cython.address(usage))
    add_seconds(ctx, b"children_used_cpu_sys", usage.ru_stime)
    add_seconds(ctx, b"children_used_cpu_user", usage.ru_utime)
    getrusage(RUSAGE_THREAD, cython.address(usage))
    add_seconds(ctx, b"main_thread_used_cpu_sys", usage.ru_stime)
    add_seconds(ctx, b"main_thread_used_cpu_user", usage.ru_utime)
    queue = rai_queue_at(0)
    while queue != cython.NULL:
        add_workers(ctx, queue)
        index += 1
        queue = rai_queue_at(index)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_states(ctx: cython.pointer(RedisModuleInfoCtx), for_crash_report: cython.bint) -> cython.void:
    """How many models and scripts are compiled; AI.INFO tells which are not.

    A section of our own, behind those of RedisAI: readers address these by position.
    """
    counts: rai_state_counts
    RedisModule_InfoAddSection(ctx, b"compilation")
    if rai_registry_count(cython.address(counts), not for_crash_report):
        RedisModule_InfoAddFieldLongLong(ctx, b"models_ready", counts.ready)
        RedisModule_InfoAddFieldLongLong(ctx, b"models_loading", counts.loading)
        RedisModule_InfoAddFieldLongLong(ctx, b"models_failed", counts.failed)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def add_info(ctx: cython.pointer(RedisModuleInfoCtx), for_crash_report: cython.int) -> cython.void:
    """The five sections of RedisAI, in its order, and ours; last, where there are flows, theirs."""
    RedisModule_InfoAddSection(ctx, b"versions")
    RedisModule_InfoAddFieldCString(ctx, b"RedisAI_version", rai_version())
    RedisModule_InfoAddFieldLongLong(ctx, b"low_level_API_version", LOW_LEVEL_API_VERSION)
    RedisModule_InfoAddFieldLongLong(ctx, b"rdb_version", RDB_VERSION)
    RedisModule_InfoAddSection(ctx, b"git")
    RedisModule_InfoAddFieldCString(ctx, b"git_sha", rai_git_sha())
    RedisModule_InfoAddSection(ctx, b"load_time_configs")
    RedisModule_InfoAddFieldLongLong(
        ctx, b"threads_per_queue", rai_config().threads_per_queue if rai_config().threads_per_queue else 1
    )
    RedisModule_InfoAddFieldLongLong(ctx, b"inter_op_parallelism", rai_config().inter_op_parallelism)
    RedisModule_InfoAddFieldLongLong(ctx, b"intra_op_parallelism", rai_config().intra_op_parallelism)
    RedisModule_InfoAddFieldLongLong(ctx, b"model_execution_timeout", rai_config().model_execution_timeout_ms)
    RedisModule_InfoAddFieldLongLong(ctx, b"backend_memory_limit", rai_config().backend_memory_limit_mb)
    add_backend_versions(ctx)
    add_cpu(ctx)
    add_states(ctx, for_crash_report)
    add_load(ctx, for_crash_report)
    rai_flows_add_info(ctx)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def register_info(ctx: cython.pointer(RedisModuleCtx)) -> cython.int:
    return RedisModule_RegisterInfoFunc(ctx, add_info)


rai_handlers.info = info
rai_hooks.register_info = register_info
