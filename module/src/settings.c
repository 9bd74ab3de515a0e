/* Settings, what INFO shows of backends, logging and the way out. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { IMPORT_PATIENCE_US = 15000000 };

static rai_settings settings = {
    .model_chunk_size = 511LL << 20,
    .model_execution_timeout_ms = 5000,
};
rai_value_types rai_types;

static rai_option options[] = {
    {"THREADS_PER_QUEUE", "threads-per-queue", 1, INT32_MAX, 0, 0, &settings.threads_per_queue},
    {"INTRA_OP_PARALLELISM", "intra-op-parallelism", 1, INT32_MAX, 0, 0, &settings.intra_op_parallelism},
    {"INTER_OP_PARALLELISM", "inter-op-parallelism", 1, INT32_MAX, 0, 0, &settings.inter_op_parallelism},
    {"MODEL_CHUNK_SIZE", "model-chunk-size", 1, INT64_MAX, 1, 1, &settings.model_chunk_size},
    {"MODEL_EXECUTION_TIMEOUT", "model-execution-timeout", 1000, INT32_MAX, 1, 0, &settings.model_execution_timeout_ms},
    {"BACKEND_MEMORY_LIMIT", "backend-memory-limit", 1, INT64_MAX / 1000000, 0, 0, &settings.backend_memory_limit_mb},
    {"MAX_QUEUE_DEPTH", "max-queue-depth", 0, INT64_MAX, 1, 0, &settings.max_queue_depth},
    {"DEFAULT_BATCH_DELAY", "default-batch-delay", 0, 1000000000, 1, 0, &settings.default_batch_delay_us},
};

static rai_backend_info backends[RAI_BACKENDS];
static RedisModuleCtx *log_context;

static pthread_mutex_t path_lock = PTHREAD_MUTEX_INITIALIZER;
static char backends_path[RAI_PATH_SIZE];

int rai_version_number(void) {
    return RAI_MAJOR * 10000 + RAI_MINOR * 100 + RAI_PATCH;
}

const char *rai_version(void) {
    static char text[32];
    snprintf(text, sizeof(text), "%d.%d.%d", RAI_MAJOR, RAI_MINOR, RAI_PATCH);
    return text;
}

const char *rai_git_sha(void) {
    return RAI_GIT_SHA;
}

rai_settings *rai_config(void) {
    return &settings;
}

rai_option *rai_option_at(int64_t index) {
    return index < (int64_t)(sizeof(options) / sizeof(options[0])) ? &options[index] : NULL;
}

void rai_set_backends_path(const char *path) {
    pthread_mutex_lock(&path_lock);
    int length = snprintf(backends_path, sizeof(backends_path), "%s", path);
    if (length >= (int)sizeof(backends_path)) length = (int)sizeof(backends_path) - 1;
    while (length > 1 && backends_path[length - 1] == '/') backends_path[--length] = 0;
    pthread_mutex_unlock(&path_lock);
}

void rai_get_backends_path(char *path, size_t size) {
    pthread_mutex_lock(&path_lock);
    snprintf(path, size, "%s", backends_path);
    pthread_mutex_unlock(&path_lock);
}

RedisModuleCtx *rai_detached_context(void) {
    return log_context;
}

rai_backend_info *rai_backend(int32_t backend) {
    return &backends[backend];
}

void rai_backend_count_accesses(int32_t backend, int64_t accesses) {
    __atomic_add_fetch(&backends[backend].runner_accesses, accesses, __ATOMIC_RELAXED);
}

void rai_log(const char *level, const char *text) {
    RedisModule_Log(log_context, level, "%s", text);
}

void rai_log_init(RedisModuleCtx *ctx) {
    log_context = RedisModule_GetDetachedThreadSafeContext(ctx);
}

/* Runs at exit() before every handler that was registered earlier, in particular
 * the C++ destructors of frameworks, whose threads may still be running. */
static void leave(int status, void *unused) {
    (void)unused;
    fflush(NULL);
    _exit(status);
}

void rai_exit_quickly(void) {
    on_exit(leave, NULL);
}

/* A framework that is being imported registers its destructors all the while, behind
 * our handler. So the import and the end of the server wait for each other. */
static int importing, shutting_down;

int rai_import_begins(void) {
    __atomic_store_n(&importing, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&shutting_down, __ATOMIC_SEQ_CST)) return 1;
    __atomic_store_n(&importing, 0, __ATOMIC_SEQ_CST);
    return 0;
}

void rai_import_ends(void) {
    rai_exit_quickly();
    __atomic_store_n(&importing, 0, __ATOMIC_SEQ_CST);
}

void rai_shut_down(void) {
    static const struct timespec moment = {0, 1000000};
    int64_t deadline = rai_now_us() + IMPORT_PATIENCE_US;
    __atomic_store_n(&shutting_down, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&importing, __ATOMIC_SEQ_CST) && rai_now_us() < deadline) nanosleep(&moment, NULL);
    rai_exit_quickly();
}
