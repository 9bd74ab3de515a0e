/* Models and scripts as values, and what is known of their runs: model.c, histogram.c. */
#ifndef RAI_MODEL_H
#define RAI_MODEL_H
#include "tensor.h"

typedef enum rai_backend_id { RAI_TF, RAI_TFLITE, RAI_TORCH, RAI_ONNX, RAI_BACKENDS } rai_backend_id;

typedef enum rai_model_state {
    RAI_MODEL_LOADING, /* no session yet; executions wait */
    RAI_MODEL_READY,
    RAI_MODEL_FAILED /* executions are answered with model->error */
} rai_model_state;

typedef struct rai_bytes {
    char *data;
    size_t length;
} rai_bytes;

/* A piece of a model blob: either a Redis string that is held, or a buffer of ours. */
typedef struct rai_chunk {
    const char *data;
    size_t length;
    RedisModuleString *string;
} rai_chunk;

/* A model's serialised form, shared by the copies of a model: the chunks in the
 * order in which they arrived. Filled once, then immutable. */
typedef struct rai_blob {
    int32_t refcount;
    int64_t chunk_count;
    size_t length;
    rai_chunk *chunks;
} rai_blob;

typedef struct rai_names {
    int64_t count;
    rai_bytes *items;
} rai_names;

typedef struct rai_statistics {
    int64_t calls;
    int64_t errors;
    int64_t duration_us;
    int64_t samples;
} rai_statistics;

/* How long the requests of a model waited and ran; histogram.c. */
typedef struct rai_latency rai_latency;

typedef struct rai_job rai_job;
typedef struct rai_queue rai_queue;
typedef struct rai_dag rai_dag;
typedef struct rai_runner rai_runner;

/* dtypes and dims of the inputs of a run, where these are few. */
typedef enum rai_few { RAI_FEW_INPUTS = 8, RAI_FEW_DIMS = 4 } rai_few;
typedef struct rai_shapes {
    int32_t count;
    int32_t dtypes[RAI_FEW_INPUTS];
    int32_t ndims[RAI_FEW_INPUTS];
    int64_t dims[RAI_FEW_INPUTS][RAI_FEW_DIMS];
} rai_shapes;

/* How often something was asked for in a turn of the event loop, and in the one before it. */
typedef struct rai_turns {
    int64_t turn;
    int32_t now;
    int32_t before;
} rai_turns;

typedef enum rai_model_kind { RAI_MODEL, RAI_SCRIPT } rai_model_kind;

/* A model value, or a script's: both are stored, loaded by a backend on a worker,
 * and executed on tensors. A script's blob is its source, its inputs are the names
 * of its entry points, and it has no outputs and no batching.
 *
 * Workers write state, error, session_memory, at_once, the names that a model itself
 * states, and session, a Python object that only they touch; the event loop the other
 * fields. Whoever drops the last reference frees it. */
typedef struct rai_model {
    int32_t refcount;
    int32_t kind; /* rai_model_kind */
    int32_t backend;
    int32_t state; /* rai_model_state; written by workers under lock, read anywhere */
    char *device;  /* as typed */
    rai_bytes tag;
    int64_t batch_size;
    int64_t min_batch_size;
    int64_t min_batch_timeout_ms;
    int64_t warmup; /* runs before it is ready */
    rai_names *inputs;
    rai_names *outputs;
    rai_names *retired[2]; /* names that readers may still see, kept until the end */
    rai_blob *blob;
    rai_queue *queue;
    int64_t session_memory; /* bytes of the session, as far as its framework tells; 0: unknown */
    rai_statistics statistics;
    rai_latency *latency;
    rai_runner *at_once; /* those whose runs are known to be short (runner.c) */
    rai_turns turns;     /* when it was asked for last (event loop) */
    void *session;
    char *error;
    rai_job *waiting; /* executions that wait for state to leave LOADING */
    struct rai_model *next_awaited;
    RedisModuleString *key; /* the name under which the keyspace last held it */
    struct rai_model *previous;
    struct rai_model *next;
} rai_model;

int32_t rai_backend_from_name(const char *name, size_t length); /* -1: unknown */
const char *rai_backend_name(int32_t backend);
rai_model *rai_model_new(int32_t kind, int32_t backend, const char *device, size_t device_length);
void rai_model_set_tag(rai_model *model, const char *tag, size_t length);
rai_blob *rai_blob_new(int64_t room);
/* Holds string as the next chunk, without copying it (event loop). */
void rai_blob_hold(rai_blob *blob, RedisModuleString *string);
/* Takes a buffer allocated by Redis as the next chunk, of any number. */
void rai_blob_own(rai_blob *blob, char *data, size_t length);
/* Up to length bytes from offset, contiguous. *owned is NULL, or a buffer that
 * the caller frees with RedisModule_Free (a slice across chunks). */
const char *rai_blob_slice(const rai_blob *blob, size_t offset, size_t length, char **owned);
rai_blob *rai_blob_retain(rai_blob *blob);
void rai_blob_release(rai_blob *blob);
rai_names *rai_names_new(int64_t count);
void rai_names_set(rai_names *names, int64_t index, const char *name, size_t length);
void rai_names_add(rai_names *names, const char *name, size_t length);
void rai_names_free(rai_names *names);
/* Gives a model its names, which it takes over. At most once after the model was
 * published: then it is the worker that loaded it, while the event loop reads. */
void rai_model_set_names(rai_model *model, rai_names *inputs, rai_names *outputs);
rai_model *rai_model_retain(rai_model *model);
void rai_model_release(rai_model *model);
/* The free method of the value types (event loop, or Redis' lazy-free thread). */
void rai_model_free_value(rai_model *model);
size_t rai_model_memory(const rai_model *model);
/* Lets Redis move the blob of a model that only the keyspace holds (event loop). */
void rai_model_defrag(RedisModuleDefragCtx *ctx, rai_model *model);
int64_t rai_live_models(void);
void rai_statistics_reset(rai_model *model);
/* Called by workers when a run ended: one call, its duration, its samples. */
void rai_statistics_add(rai_model *model, int failed, int64_t duration_us, int64_t samples);

typedef enum rai_phase { RAI_PHASE_QUEUE, RAI_PHASE_RUN, RAI_PHASES } rai_phase;

/* What is shown of a phase, in microseconds, with an error of at most 6 %. */
typedef struct rai_quantiles {
    int64_t p50;
    int64_t p99;
    int64_t p999;
} rai_quantiles;

/* Counts one request: how long it waited and how long it ran (worker). */
void rai_latency_add(rai_latency *latency, int64_t queue_us, int64_t run_us);
/* Counts runs of the session, of which each may serve several requests (worker). */
void rai_latency_add_runs(rai_latency *latency, int64_t runs);
int64_t rai_latency_runs(const rai_latency *latency);
void rai_latency_quantiles(const rai_latency *latency, int32_t phase, rai_quantiles *quantiles);

/* The model that an alias, which is a list of one name, stands for, borrowed, or NULL.
 * To be called with Redis' lock. */
rai_model *rai_alias_target(RedisModuleCtx *ctx, const rai_names *alias);

/* The registry of models in the keyspace, by their last known name. */
void rai_registry_add(rai_model *model, const RedisModuleString *key); /* event loop */
void rai_registry_remove(rai_model *model);
void rai_registry_rename(rai_model *model, RedisModuleString *key); /* event loop */
typedef struct rai_state_counts {
    int64_t ready;
    int64_t loading;
    int64_t failed;
} rai_state_counts;

/* How many of the registered values are in each state. 0: without wait the registry
 * was in use, and nothing was counted. */
int rai_registry_count(rai_state_counts *counts, int wait);
/* All registered models, each with a reference for the caller, in an array that
 * the caller frees (event loop). */
rai_model **rai_registry_snapshot(int64_t *count);

/* Moves the load of a model that has no session yet to those that somebody waits for. */
void rai_model_wanted(rai_model *model);
/* Worker: publishes a finished load and releases the executions that waited. */
void rai_model_loaded(rai_model *model, void *session, const char *error, size_t error_length);

#endif
