/* Jobs, and the clients that wait for them: jobs.c, pause.c. */
#ifndef RAI_JOB_H
#define RAI_JOB_H
#include "model.h"

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
/* How many threads wait for a job in place; any thread. */
int rai_jobs_in_place(void);
/* Sends an execution, with a callback, on its way. */
void rai_job_execute(rai_job *job, rai_job_callback callback, void *owner);
rai_job *rai_job_of_context(RedisModuleCtx *ctx); /* in a reply callback */
/* Pushes the execution, or, while its model is loading, parks it until the load ends. */
void rai_job_submit_execution(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);

/* Whether Redis forbids at the moment that anything is replicated: CLIENT PAUSE, a
 * failover, a shutdown (event loop). From then on, until that is over, completed jobs
 * whose effects are to be written are held back (pause.c). */
int rai_replication_paused(void);
/* Worker: answers the clients of completed jobs. */
void rai_jobs_complete(rai_job **jobs, int64_t count);

#endif
