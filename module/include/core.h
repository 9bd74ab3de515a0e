/* What the C core offers to the compiled event-loop modules (through core.pxd)
 * and to the worker side (through cffi). Declarations only: the generator reads
 * this file, so preprocessor lines are limited to the guard and the includes.
 *
 * Naming: "event loop" functions are called on Redis' main thread only;
 * "worker" functions are called from worker threads; the rest from anywhere.
 * No function here takes the GIL except where its comment says so. */
#ifndef RAI_CORE_H
#define RAI_CORE_H
#include <stddef.h>
#include <stdint.h>
#include "redis_api.h"

/* ---- tensors (tensor.c) ------------------------------------------------- */

typedef enum rai_dtype {
    RAI_FLOAT,
    RAI_DOUBLE,
    RAI_INT8,
    RAI_INT16,
    RAI_INT32,
    RAI_INT64,
    RAI_UINT8,
    RAI_UINT16,
    RAI_BOOL,
    RAI_STRING,
    RAI_FLOAT16, /* from here on: unknown to RedisAI */
    RAI_BFLOAT16,
    RAI_UINT32,
    RAI_UINT64,
    RAI_DTYPES
} rai_dtype;

/* A reference-counted, immutable-after-publication tensor: one allocation that
 * holds this header, the dims, the element offsets of STRING, and the data,
 * aligned to 64 bytes. Row major, packed. Elements of STRING end with a NUL. */
typedef struct rai_tensor {
    int32_t refcount;
    int32_t dtype;
    int32_t ndim;
    int64_t length;      /* elements */
    int64_t byte_length; /* bytes of data */
    int64_t *dims;
    int64_t *offsets; /* STRING: byte offset of each element, else NULL */
    char *data;
    char *replaced; /* STRING: data that another module gave later, in an allocation of its own, else NULL */
} rai_tensor;

int32_t rai_dtype_from_name(const char *name, size_t length); /* -1: unknown */
const char *rai_dtype_name(int32_t dtype);
int64_t rai_dtype_size(int32_t dtype); /* bytes per element; STRING 1 */
/* DLPack's type code, which with the bits of an element tells the dtype; STRING has one of RedisAI's own. */
int32_t rai_dtype_code(int32_t dtype);
int32_t rai_dtype_of_code(uint64_t code, uint64_t bits); /* -1: unknown */
/* Product of dims, each >= 0; -1 when it, or the bytes, overflow. */
int64_t rai_tensor_count(int32_t dtype, int32_t ndim, const int64_t *dims);
/* A tensor with uninitialised (zeroed: all zero bytes) data, one reference;
 * byte_length is used for STRING only. NULL: shape overflows or no memory. */
rai_tensor *rai_tensor_new(int32_t dtype, int32_t ndim, const int64_t *dims, int64_t byte_length, int zeroed);
/* Finds the elements of a STRING tensor's data. 0: their number is wrong. */
int rai_tensor_index_strings(rai_tensor *tensor);
/* Replaces the data of a STRING tensor that nobody else has. 0: the number of elements is wrong. */
int rai_tensor_set_strings(rai_tensor *tensor, const char *data, size_t length);
/* FLOAT16 and BFLOAT16 (halves.c). */
uint16_t rai_half_from_double(double number); /* rounds to nearest even; too large: infinity */
double rai_half_to_double(uint16_t bits);
uint16_t rai_bfloat_from_double(double number);
double rai_bfloat_to_double(uint16_t bits);
/* 1 when all bytes of BOOL data are 0 or 1. */
int rai_bool_data_valid(const char *data, size_t length);
rai_tensor *rai_tensor_retain(rai_tensor *tensor);
void rai_tensor_release(rai_tensor *tensor);
size_t rai_tensor_memory(const rai_tensor *tensor);
/* Where Redis moved a tensor that only the keyspace holds, or NULL (event loop). */
rai_tensor *rai_tensor_defrag(RedisModuleDefragCtx *ctx, rai_tensor *tensor);
int64_t rai_live_tensors(void);

/* ---- models and scripts (model.c) ---------------------------------------- */

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
    void *session;
    char *error;
    rai_job *waiting;       /* executions that wait for state to leave LOADING */
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

/* ---- jobs and queues (queue.c) ------------------------------------------ */

/* Why a job is cancelled. */
typedef enum rai_cancelled {
    RAI_ABANDONED = 1, /* the client is gone: if it runs it is ended */
    RAI_DROPPED        /* another operation of its DAG failed: if it runs it may go on */
} rai_cancelled;

typedef enum rai_job_kind {
    RAI_JOB_EXECUTE, /* run a model, or a function of a script, for a client or for a DAG */
    RAI_JOB_DAG,     /* wait for the executions of a DAG; queued at most to be completed */
    RAI_JOB_FLOW,    /* wait for a flow that the client called; goes to the flows, not to a queue */
    RAI_JOB_LOAD,    /* create a model's session */
    RAI_JOB_BACKEND, /* load a backend */
    RAI_JOB_RETUNE,  /* give a session what its runs have shown it to need */
    RAI_JOB_RELEASE  /* drop a session and a blob */
} rai_job_kind;

/* What the execution of a script has besides tensors. Its keys and arguments are
 * the script's; the user and the database are those of the client, for the
 * commands that the script runs. */
typedef struct rai_call {
    rai_bytes function;
    rai_names *keys; /* NULL: none */
    rai_names *args;
    int64_t list_count; /* the inputs end with so many lists (LIST_INPUTS) */
    int64_t *list_lengths;
    int32_t database;
    rai_bytes user;      /* Redis 7 */
    uint64_t client_id;  /* Redis 6.2, where it tells the user */
    int32_t full_rights; /* the same: 1 or -1 once it is known whether the user may do everything */
    int32_t trusted;     /* nobody's rights apply: another module calls, or an event */
} rai_call;

/* The call of the context's client (event loop). In the module's own context
 * (rai_detached_context, any thread) it is a trusted one, in database 0. */
rai_call *rai_call_new(RedisModuleCtx *ctx, const char *function, size_t length);
/* From here on, the calls that this thread makes in the module's own context are not
 * trusted ones but have the rights and the database of this one; NULL: no more. */
void rai_call_act_as(rai_call *call);
/* The context of the module itself, without a client; used with Redis' lock only. */
RedisModuleCtx *rai_detached_context(void);
void rai_call_free(rai_call *call);

/* What a flow gives back, as the event loop is to reply with it: nodes, each a kind
 * (the type byte of RESP3, or @ for a tensor), 8 bytes with a number, a double or a
 * length (of a tensor: its position), and after a length that many bytes, or nodes. */
typedef struct rai_reply {
    rai_bytes nodes;
    int32_t tensor_count;
    rai_tensor **tensors;
} rai_reply;

/* What a job without a client does when it is complete, on a worker, without the
 * GIL; the job is the callee's from then on. */
typedef void (*rai_job_callback)(rai_job *job);

/* A unit of work for a worker. Between push and complete it belongs to the
 * workers; a job with a client is freed on the event loop, after the reply. */
struct rai_job {
    struct rai_job *next;
    int64_t id;
    int32_t kind;
    int32_t cancelled; /* RAI_ABANDONED or RAI_DROPPED: it is not begun any more */
    int32_t timed_out; /* set by a worker: the reply is TIMEDOUT */
    int32_t in_place;  /* a thread waits for done */
    int32_t done;
    int32_t calls_back; /* completing it calls another module, or us, back: not with the GIL, and not in its caller */
    rai_job_callback callback; /* NULL: none, or it is part of a DAG, which has one */
    void *owner;               /* for the callback */
    rai_model *model;
    RedisModuleBlockedClient *client; /* NULL: nobody waits, or a thread does */
    rai_job *chain_previous;          /* jobs in flight, by client */
    rai_job *chain_next;
    int64_t enqueued_us;  /* CLOCK_MONOTONIC; 0: not yet */
    int64_t ready_us;     /* RAI_JOB_EXECUTE: when nothing but a worker was missing */
    int64_t begun_us;     /* RAI_JOB_EXECUTE: when its run began; 0: it did not */
    int32_t phase;        /* queue.c */
    int64_t timeout_ms;   /* 0: none */
    int32_t urgent;       /* PRIORITY HIGH: it goes before what waits for its device */
    char *error;          /* one line, with its code; NULL: success */
    int32_t first_output; /* position of the first output key in the command */
    int32_t input_count;
    int32_t output_count;
    rai_tensor **inputs;
    rai_tensor **outputs;
    int32_t backend;  /* RAI_JOB_BACKEND */
    char *path;       /* RAI_JOB_BACKEND; NULL: the default path */
    void *session;    /* RAI_JOB_RELEASE; may be NULL */
    rai_blob *blob;   /* RAI_JOB_RELEASE; may be NULL */
    rai_call *call;   /* RAI_JOB_EXECUTE of a script */
    rai_reply *reply; /* RAI_JOB_FLOW */
    rai_dag *dag;     /* RAI_JOB_DAG: its own; RAI_JOB_EXECUTE: the one that it is part of, or NULL */
    int32_t op;       /* RAI_JOB_EXECUTE: position in the DAG */
};

/* A job with room for its inputs and outputs. References belong to the job. */
rai_job *rai_job_new(int32_t kind, rai_model *model, int32_t input_count, int32_t output_count);
void rai_job_free(rai_job *job);
/* Sets the job's error, once; CR and LF become blanks. */
void rai_job_fail(rai_job *job, const char *text, size_t length);
int64_t rai_live_jobs(void);
int64_t rai_now_us(void);

/* Blocks the calling client until the job is completed and pushes it. The job
 * is freed after its client got reply (or was found gone) (event loop). */
void rai_job_submit(RedisModuleCtx *ctx, rai_job *job, rai_queue *queue, RedisModuleCmdFunc reply);
/* Pushes a job that nobody waits for; it is freed when it is complete. */
void rai_job_spawn(rai_job *job, rai_queue *queue);
/* The same, behind all jobs that somebody waits for. */
void rai_job_spawn_behind(rai_job *job, rai_queue *queue);
/* Pushes the job and waits for it in place. On the event loop only where Redis
 * cannot block a client (MULTI, Lua, module load, calls of other modules). The
 * caller frees the job. */
void rai_job_run_in_place(rai_job *job, rai_queue *queue);
/* The same for an execution, which is not batched, nor counted. */
void rai_job_execute_in_place(rai_job *job);
/* Sends an execution, with a callback, on its way. */
void rai_job_execute(rai_job *job, rai_job_callback callback, void *owner);
rai_job *rai_job_of_context(RedisModuleCtx *ctx); /* in a reply callback */
/* Pushes the execution, or, while its model is loading, parks it until the load ends. */
void rai_job_submit_execution(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);

/* ---- DAGs (dag.c) -------------------------------------------------------- */

typedef enum rai_dag_op_kind { RAI_OP_TENSORSET, RAI_OP_TENSORGET, RAI_OP_EXECUTE } rai_dag_op_kind;

/* An operation. Tensors have no names here: every definition of a name is a slot
 * of its own. */
typedef struct rai_dag_op {
    int32_t kind;     /* rai_dag_op_kind */
    int32_t flags;    /* of a TENSORGET: what to reply with */
    int32_t waits;    /* inputs that are not there yet */
    int32_t out;      /* handed to the workers */
    int32_t input_at; /* where its inputs begin in the DAG's list; of a TENSORGET: its tensor */
    int32_t output;   /* its first output's slot; of a TENSORSET: its tensor */
    int32_t edge;     /* first of the edges to the executions that wait for this one; -1: none */
    rai_job *job;     /* of an execution */
} rai_dag_op;

/* A directed acyclic graph of operations: the event loop builds it, then workers
 * and event loop change it under its lock, until its job is completed. */
struct rai_dag {
    int32_t op_count;
    int32_t slot_count;
    int32_t input_count;
    int32_t failed;    /* the first operation, in the order of the command, that failed; op_count: none */
    int32_t timed_out; /* an execution came too late */
    rai_dag_op *ops;
    rai_tensor **slots;
    int32_t *makers; /* of each slot, the operation that defines it; -1: it was loaded */
    int32_t *inputs; /* slots */
    int32_t persist_count;
    int32_t persist_at; /* where the names to persist begin in the command */
    int32_t *persist;   /* their slots */
    void *run;          /* dag.c */
};

/* A job with an empty DAG. */
rai_job *rai_dag_new(void);
/* Adds an operation of a rai_dag_op_kind; its position. */
int32_t rai_dag_add(rai_dag *dag, int32_t kind);
/* Adds a definition, with a reference that the DAG takes over, or NULL; its slot. */
int32_t rai_dag_define(rai_dag *dag, int32_t maker, rai_tensor *tensor);
/* Adds a slot to the inputs of the operation that is being built. */
void rai_dag_need(rai_dag *dag, int32_t op, int32_t slot);
/* Starts a DAG: hands out the executions that need nothing but what is there, and
 * blocks the client until all are over. 1: they are over already, since none had to
 * leave the event loop; then the client is not blocked, and the caller replies and
 * frees the job (event loop). */
int rai_dag_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);
/* The same for a callback, which is called on a worker. */
void rai_dag_execute(rai_job *job, rai_job_callback callback, void *owner);
/* Whether the tensor is there, as far as the client may know: what was made behind
 * the first failure is not. */
int rai_dag_has(const rai_dag *dag, int32_t slot);

/* One operation of a DAG in the words of AI.DAGEXECUTE, as the event loop's parser
 * understands it. */
typedef struct rai_parsed_op {
    int32_t kind;              /* rai_dag_op_kind */
    int32_t is_script;         /* of an execution */
    rai_job *job;              /* of an execution: without inputs */
    rai_tensor *tensor;        /* of a TENSORSET */
    const char *error;         /* NULL: none */
    RedisModuleString **names; /* of inputs, then outputs; of the tensor; the caller gives room for all words */
} rai_parsed_op;

/* ---- runners: models that need no Python to run (runner.c) ---------------- */

/* What is known of a runner's run time, by which it may run on the event loop. */
typedef struct rai_pace {
    int32_t is_short;       /* its runs take less time than a worker costs, as far as is known */
    rai_shapes known;       /* inputs for which that has been seen: up to these dims */
    int64_t average_ns;     /* of the runs on the event loop, which alone writes it while they are short */
    int64_t runs;           /* how many these are; the same */
    int32_t failures;       /* times that it was too slow there */
    int64_t seen;           /* runs on workers since it was last judged by them */
    int64_t seen_ns;        /* that they took together */
    rai_shapes seen_shapes; /* of inputs, that each of them had at least */
} rai_pace;

/* One run: the outputs are NULL before, and then the caller's references; or there is
 * an error's text, to be freed with RedisModule_Free. */
typedef struct rai_run {
    int32_t input_count;
    int32_t output_count;
    rai_tensor **inputs;
    rai_tensor **outputs;
    char *error;
} rai_run;

/* What a session may have besides its Python methods. It lives as long as the session. */
struct rai_runner {
    /* Runs the model once, in any thread, several at a time, without the GIL. stop: what
     * a worker's watchdog ends the run by, or NULL. 0: it declines, and the session is to
     * do this run by its Python method, from the beginning. */
    int (*run)(rai_runner *runner, void *stop, rai_run *run);
    const char *function; /* of a script; NULL: it is a model's */
    int32_t input_count;  /* -1: any number */
    int32_t output_count; /* the same */
    int32_t predictable;  /* the run time follows from the shapes of the inputs */
    void *state;          /* run's own */
    rai_pace pace;        /* runner.c */
    rai_runner *next;     /* the same: of those of its model whose runs are short */
};

/* ---- batches (merging.c) -------------------------------------------------- */

/* An input, which is no STRING, of all jobs, which fit together; NULL: no memory. */
rai_tensor *rai_join_inputs(rai_job **jobs, int64_t count, int32_t input);
/* Gives each job its rows of an output, which has the rows of all of them. 0: no memory. */
int rai_divide_output(int32_t dtype, int32_t ndim, const int64_t *all_dims, const void *all, rai_job **jobs,
                      int64_t count, int32_t output);

/* Worker: runs the jobs, all of one model, or one function of a script, each by itself
 * or, merged, all as one batch; each gets its outputs or an error. 0: the runner declined
 * one of them; none has outputs. */
int rai_run_jobs(rai_runner *runner, void *stop, rai_job **jobs, int64_t count, int merged);
/* Runs the job right here if its model is known to take no longer than handing the
 * job to a worker would. 0: not so, nothing was done (event loop). */
int rai_run_at_once(rai_job *job);

/* Whether Redis forbids at the moment that anything is replicated: CLIENT PAUSE, a
 * failover, a shutdown (event loop). From then on, until that is over, completed jobs
 * whose effects are to be written are held back (pause.c). */
int rai_replication_paused(void);

rai_queue *rai_queue_of_device(const char *device); /* creates it */
rai_queue *rai_control_queue(void);
/* Hands over what was pushed in this turn of the event loop (event loop). */
void rai_queues_flush(void);

/* Worker: waits, without the GIL, until there are jobs, cancellations or a
 * reason to look at the scheduler, or until deadline_us (0: no waiting, INT64_MAX:
 * for ever).
 * Returns the number of jobs taken; *cancelled receives ids of cancelled jobs. */
int64_t rai_queue_take(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled, int64_t cancelled_room,
                       int64_t *cancelled_count, int64_t deadline_us);
/* Worker: around a run that is expected to be long. While no worker of the queue
 * is attentive, the next push (or more_work) wakes or starts another one. */
void rai_queue_occupied(rai_queue *queue, int more_work);
void rai_queue_attentive(rai_queue *queue);
/* Worker: from now on this thread, when it is asleep, is woken before the others of its queue. */
void rai_queue_prefer_this_worker(rai_queue *queue);
/* Worker: answers the clients of completed jobs. */
void rai_jobs_complete(rai_job **jobs, int64_t count);
/* Moves the load of a model that has no session yet to those that somebody waits for. */
void rai_model_wanted(rai_model *model);
/* Worker: publishes a finished load and releases the executions that waited. */
void rai_model_loaded(rai_model *model, void *session, const char *error, size_t error_length);
/* Worker: a run begins, with these requests; runs is how often the session is called. */
void rai_jobs_begin(rai_job **jobs, int64_t count, int64_t runs);
/* Worker: it got work, and then had to wait for the GIL. */
void rai_queue_add_gil_wait(rai_queue *queue, int64_t microseconds);

/* What a queue has seen, and what it holds now. */
typedef struct rai_queue_load {
    int64_t waiting; /* requests; also those whose model is still loading */
    int64_t running;
    int64_t requests; /* that began to run */
    int64_t at_once;  /* of these, on the event loop */
    int64_t runs;
    int64_t gil_wait_us;
    int64_t workers;
} rai_queue_load;

void rai_queue_get_load(const rai_queue *queue, rai_queue_load *load);
/* Whether max_queue_depth requests wait for the model's device already: the error, or NULL (event loop). */
const char *rai_queue_refusal(const rai_model *model);
const char *rai_queue_name(const rai_queue *queue);
void *rai_queue_get_scheduler(rai_queue *queue);
void rai_queue_set_scheduler(rai_queue *queue, void *scheduler);
int64_t rai_queue_worker_limit(const rai_queue *queue);
/* Visits queues for INFO: CPU seconds of worker (0-based) or -1 past the last. */
rai_queue *rai_queue_at(int64_t index);
double rai_queue_worker_cpu(const rai_queue *queue, int64_t worker);

/* ---- Redis, as scripts see it (calls.c) ------------------------------------ */

/* What a script asks of Redis: done by a worker that holds Redis' lock and, since
 * the order is Redis' lock first, then the GIL, not the GIL. */

/* Runs a command with the rights of the call's user, in its database, and
 * replicates its effects. The reply is RESP2, in a buffer that the caller frees
 * with rai_call_free_reply. NULL: the command was not run, errno tells why. */
char *rai_call_redis(rai_call *call, int32_t argc, const char *const *argv, const size_t *lengths,
                     size_t *reply_length);
void rai_call_free_reply(char *reply);
/* The model, or script, at a key, with a reference for the caller; NULL with the error. */
rai_model *rai_call_find_model(rai_call *call, int32_t kind, const char *key, size_t length, const char **error);
/* NULL, or why whoever this thread acts as must not use the model, or script, at a key (with Redis' lock). */
const char *rai_call_refusal(int32_t kind, RedisModuleString *key);
/* The tensors at some keys, with references for the caller: all, and 1, or none, and the error. */
int rai_call_find_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                          rai_tensor **tensors, const char **error);
/* Stores and replicates tensors: all, and 1, or none, and the error. */
int rai_call_store_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                           rai_tensor *const *tensors, const char **error);

/* ---- flows (flows.c) ------------------------------------------------------- */

typedef enum rai_flow_trigger { RAI_FLOW_COMMAND, RAI_FLOW_EVENT, RAI_FLOW_STREAM } rai_flow_trigger;

/* A function that a flow file registered; never freed. Counters are changed
 * atomically, or by the thread of the flows only. */
typedef struct rai_flow {
    struct rai_flow *next;
    char *name;
    int32_t trigger;
    char *pattern; /* of the keys that trigger it */
    char *event;   /* NULL: any */
    int64_t calls;
    int64_t errors;
    int64_t running;
    int64_t waiting; /* events that are not handled yet */
    int64_t dropped; /* events that were too many */
} rai_flow;

typedef enum rai_flow_file_state { RAI_FLOW_LOADING, RAI_FLOW_LOADED, RAI_FLOW_FAILED } rai_flow_file_state;

/* A flow file, for INFO; never freed. */
typedef struct rai_flow_file {
    struct rai_flow_file *next;
    char *name;
    char *error;
    int32_t state;
} rai_flow_file;

typedef enum rai_flow_message_kind {
    RAI_FLOW_CALLED,   /* job: a client called */
    RAI_FLOW_LEFT,     /* id: of the job whose client is gone */
    RAI_FLOW_HAPPENED, /* flow, database, event and key */
    RAI_FLOW_FINISHED  /* id and finished: a run that a flow started */
} rai_flow_message_kind;

typedef struct rai_flow_message {
    struct rai_flow_message *next;
    int32_t kind;
    int32_t database;
    int64_t id;
    rai_job *job;
    rai_flow *flow;
    void *finished; /* RAI_OnFinishCtx */
    rai_bytes event;
    rai_bytes key;
} rai_flow_message;

/* The flow files at this path are to be loaded, and served, once the server is up. */
int rai_flows_set_path(const char *path);
const char *rai_flows_path(void); /* NULL: there are none */
/* Blocks the client until the flow that the job's call names has answered (event loop). */
void rai_flow_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);
void rai_flows_add_info(RedisModuleInfoCtx *ctx);

/* The thread of the flows: readable while there are messages. */
int rai_flows_descriptor(void);
/* All messages that are there, oldest first; the caller frees each. */
rai_flow_message *rai_flows_take(void);
void rai_flow_message_free(rai_flow_message *message);
/* Announces a function; pattern and event may be NULL. */
rai_flow *rai_flow_register(int32_t trigger, const char *name, const char *pattern, const char *event);
/* Around a call of it; waited: it was for an event that waited. */
void rai_flow_begin(rai_flow *flow, int waited);
void rai_flow_end(rai_flow *flow, int failed);
void rai_flow_heard(rai_flow *flow); /* an event that only tells of news */
rai_flow_file *rai_flow_file_new(const char *name);
void rai_flow_file_done(rai_flow_file *file, const char *error); /* NULL: it is loaded */
/* Gives a job its reply, before it is completed; copies what it is given, and takes references. */
void rai_flow_reply(rai_job *job, const char *nodes, size_t length, rai_tensor *const *tensors, int32_t count);

/* The watchdog thread: calls back into Python when a run may have to be ended. */
void rai_watchdog_arm(int64_t deadline_us); /* worker */
void rai_watchdog_poke(void);

/* ---- implemented in Python, called from C through cffi (worker/entry.py) -- */

/* The life of a worker thread, and the watchdog's look at the runs: it returns
 * when it wants to look again. Both are called without the GIL and take it. */
void rai_python_worker(rai_queue *queue);
int64_t rai_python_watchdog(int64_t now_us);
/* The life of the thread of the flows; without the GIL, too. */
void rai_python_flows(void);

/* ---- configuration (settings.c) ------------------------------------------- */

typedef struct rai_settings {
    int64_t threads_per_queue; /* 0: chosen by the scheduler */
    int64_t intra_op_parallelism;
    int64_t inter_op_parallelism;
    int64_t model_chunk_size;
    int64_t model_execution_timeout_ms;
    int64_t backend_memory_limit_mb;
    int64_t max_queue_depth;        /* requests that may wait for a device; 0: any number */
    int64_t default_batch_delay_us; /* how long a batch of a model without MINBATCHSIZE is collected */
} rai_settings;

/* A number that can be configured: as a load argument, and, on Redis 7, as a
 * configuration parameter of the server. */
typedef struct rai_option {
    const char *argument;  /* THREADS_PER_QUEUE */
    const char *parameter; /* threads-per-queue */
    int64_t least;         /* as a load argument */
    int64_t most;
    int32_t can_change; /* at run time */
    int32_t is_bytes;
    int64_t *value; /* in the settings */
} rai_option;

rai_option *rai_option_at(int64_t index); /* NULL: there are no more */

/* BACKENDSPATH, without slashes at its end; set by the event loop, read anywhere. */
typedef enum rai_limits { RAI_PATH_SIZE = 4096 } rai_limits;
void rai_set_backends_path(const char *path);
void rai_get_backends_path(char *path, size_t size);

/* What INFO shows of a backend; written by workers once it is loaded. */
typedef struct rai_backend_info {
    int32_t loaded;
    char version[64];
    int64_t memory;
    int64_t memory_accesses;
} rai_backend_info;

/* The value types, as registered with Redis. */
typedef struct rai_value_types {
    RedisModuleType *tensor;
    RedisModuleType *model;
    RedisModuleType *script;
    RedisModuleType *alias;
} rai_value_types;

extern rai_value_types rai_types;

/* The module's version: major * 10000 + minor * 100 + patch, as text, and the commit. */
int rai_version_number(void);
const char *rai_version(void);
const char *rai_git_sha(void);

rai_settings *rai_config(void);
rai_backend_info *rai_backend(int32_t backend);
void rai_log(const char *level, const char *text); /* any thread */
/* Leave through _exit from now on: frameworks' destructors crash under busy threads. */
void rai_exit_quickly(void);
/* Around the import of a framework. 0: the server is shutting down, do not begin. */
int rai_import_begins(void);
void rai_import_ends(void);

#endif
