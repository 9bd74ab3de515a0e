/* Jobs: units of work for the workers, and the clients that wait for them.
 *
 * Every blocked client is answered exactly once, because there is exactly one
 * place that unblocks: rai_job_answer. A client that disconnects, is killed
 * or is unblocked meanwhile only marks its job as cancelled; the worker still
 * completes it, Redis then finds the client gone, and the job is freed. */
#include <string.h>
#include <time.h>

#include "internal.h"

enum { CHAINS = 1024 }; /* hash chains for the jobs in flight; a power of two */

static rai_job *in_flight[CHAINS]; /* by client; event loop only */
static int64_t last_id;
static int64_t live_jobs;

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_changed = PTHREAD_COND_INITIALIZER;

int64_t rai_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t rai_live_jobs(void) {
    return __atomic_load_n(&live_jobs, __ATOMIC_RELAXED);
}

void rai_job_init(rai_job *job, int32_t kind, rai_model *model, int32_t input_count, int32_t output_count) {
    job->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    job->kind = kind;
    job->model = model ? rai_model_retain(model) : NULL;
    job->input_count = input_count;
    job->output_count = output_count;
    job->inputs = (rai_tensor **)(job + 1);
    job->outputs = job->inputs + input_count;
    /* Executions, and the DAGs that they may be of, may be over before it matters. */
    if (kind != RAI_JOB_EXECUTE && kind != RAI_JOB_DAG) job->enqueued_us = rai_now_us();
    __atomic_add_fetch(&live_jobs, 1, __ATOMIC_RELAXED);
}

rai_job *rai_job_new(int32_t kind, rai_model *model, int32_t input_count, int32_t output_count) {
    size_t tensors = (size_t)input_count + (size_t)output_count;
    rai_job *job = RedisModule_Calloc(1, sizeof(*job) + tensors * sizeof(rai_tensor *));
    rai_job_init(job, kind, model, input_count, output_count);
    return job;
}

void rai_job_free(rai_job *job) {
    for (int32_t i = 0; i < job->input_count; i++) rai_tensor_release(job->inputs[i]);
    for (int32_t i = 0; i < job->output_count; i++) rai_tensor_release(job->outputs[i]);
    rai_model_release(job->model);
    rai_blob_release(job->blob);
    RedisModule_Free(job->error);
    RedisModule_Free(job->path);
    rai_call_free(job->call);
    rai_reply_free(job->reply);
    if (job->kind == RAI_JOB_DAG) rai_dag_free(job->dag);
    RedisModule_Free(job);
    __atomic_sub_fetch(&live_jobs, 1, __ATOMIC_RELAXED);
}

void rai_job_fail(rai_job *job, const char *text, size_t length) {
    if (job->error) return;
    char *error = RedisModule_Alloc(length + 1);
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        error[i] = c == '\r' || c == '\n' || c == 0 ? ' ' : c;
    }
    error[length] = 0;
    job->error = error;
}

/* ---- clients ------------------------------------------------------------ */

static rai_job **chain_of(const RedisModuleBlockedClient *client) {
    uintptr_t address = (uintptr_t)client;
    return &in_flight[(address >> 6 ^ address >> 16) & (CHAINS - 1)];
}

static void chain_add(rai_job *job) {
    rai_job **chain = chain_of(job->client);
    job->chain_next = *chain;
    if (*chain) (*chain)->chain_previous = job;
    *chain = job;
}

static void chain_remove(rai_job *job) {
    if (job->chain_previous) {
        job->chain_previous->chain_next = job->chain_next;
    } else {
        *chain_of(job->client) = job->chain_next;
    }
    if (job->chain_next) job->chain_next->chain_previous = job->chain_previous;
}

/* The client is gone, or does not want its answer any more: queued work is
 * dropped and running work is ended where the framework can do that. */
static void cancel(const RedisModuleBlockedClient *client) {
    rai_job *job = *chain_of(client);
    while (job && job->client != client) job = job->chain_next;
    if (job == NULL) return;
    __atomic_store_n(&job->cancelled, RAI_ABANDONED, __ATOMIC_RELEASE);
    if (job->kind == RAI_JOB_EXECUTE && job->model->queue) {
        rai_queue_give_up(job);
        rai_queue_cancel(job->model->queue, job->id);
    }
    if (job->kind == RAI_JOB_DAG) rai_dag_cancel(job->dag);
    if (job->kind == RAI_JOB_FLOW) rai_flow_left(job);
    rai_watchdog_poke();
}

static void disconnected(RedisModuleCtx *ctx, RedisModuleBlockedClient *client) {
    (void)ctx;
    cancel(client);
}

/* CLIENT UNBLOCK: Redis calls this as the client's reply. */
static int unblocked(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv, (void)argc;
    cancel(RedisModule_GetBlockedClientHandle(ctx));
    return RedisModule_ReplyWithSimpleString(ctx, "TIMEDOUT");
}

static void free_answered(RedisModuleCtx *ctx, void *private_data) {
    (void)ctx;
    rai_job *job = private_data;
    chain_remove(job);
    rai_job_free(job);
}

void rai_job_block(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply) {
    job->client = RedisModule_BlockClient(ctx, reply, unblocked, free_answered, 0);
    RedisModule_SetDisconnectCallback(job->client, disconnected);
    RedisModule_BlockedClientMeasureTimeStart(job->client);
    chain_add(job);
}

rai_job *rai_job_of_context(RedisModuleCtx *ctx) {
    return RedisModule_GetBlockedClientPrivateData(ctx);
}

/* ---- ways to submit ----------------------------------------------------- */

void rai_job_submit(RedisModuleCtx *ctx, rai_job *job, rai_queue *queue, RedisModuleCmdFunc reply) {
    rai_job_block(ctx, job, reply);
    rai_queue_push_soon(queue, job);
}

void rai_job_refuse(rai_job *job) {
    if (job->calls_back) {
        rai_queue_push(job->model->queue, job);
    } else {
        rai_jobs_complete(&job, 1);
    }
}

void rai_job_start(rai_job *job, void (*push)(rai_queue *, rai_job *)) {
    rai_model *model = job->model;
    rai_queue_enter(job);
    if (__atomic_load_n(&model->state, __ATOMIC_ACQUIRE) == RAI_MODEL_LOADING && rai_model_park(model, job)) return;
    if (__atomic_load_n(&model->state, __ATOMIC_ACQUIRE) == RAI_MODEL_FAILED) {
        rai_job_fail(job, model->error, strlen(model->error));
        rai_job_refuse(job);
    } else {
        push(model->queue, job);
    }
}

void rai_job_submit_execution(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply) {
    rai_job_block(ctx, job, reply);
    rai_job_start(job, rai_queue_push_soon);
}

void rai_job_spawn(rai_job *job, rai_queue *queue) {
    rai_queue_push(queue, job);
}

void rai_job_spawn_behind(rai_job *job, rai_queue *queue) {
    rai_queue_push_behind(queue, job);
}

static int waiting_in_place; /* threads, the event loop among them */

/* Not held while anything but the end of a job is waited for. */
static void wait_until_done(rai_job *job) {
    rai_callback_waits();
    __atomic_add_fetch(&waiting_in_place, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&done_lock);
    while (!job->done) pthread_cond_wait(&done_changed, &done_lock);
    pthread_mutex_unlock(&done_lock);
    __atomic_sub_fetch(&waiting_in_place, 1, __ATOMIC_SEQ_CST);
}

int rai_jobs_in_place(void) {
    return __atomic_load_n(&waiting_in_place, __ATOMIC_SEQ_CST);
}

void rai_job_run_in_place(rai_job *job, rai_queue *queue) {
    job->in_place = 1;
    rai_queue_push(queue, job);
    wait_until_done(job);
}

void rai_job_execute_in_place(rai_job *job) {
    job->in_place = 1;
    rai_job_start(job, rai_queue_push);
    wait_until_done(job);
}

void rai_job_execute(rai_job *job, rai_job_callback callback, void *owner) {
    job->calls_back = 1;
    job->callback = callback;
    job->owner = owner;
    rai_job_start(job, rai_queue_push);
}

void rai_job_answer(rai_job *job) {
    RedisModule_UnblockClient(job->client, job);
}

static void complete(rai_job *job) {
    if (job->dag && job->kind == RAI_JOB_EXECUTE) {
        rai_dag_job_completed(job);
    } else if (job->callback) {
        job->callback(job);
    } else if (job->client) {
        RedisModule_BlockedClientMeasureTimeEnd(job->client);
        if (!rai_pause_holds(job)) rai_job_answer(job);
    } else if (job->in_place) {
        pthread_mutex_lock(&done_lock);
        job->done = 1;
        pthread_cond_broadcast(&done_changed);
        pthread_mutex_unlock(&done_lock);
    } else {
        rai_job_free(job);
    }
}

/* Those that call back come last: nobody knows how long that takes. */
void rai_jobs_complete(rai_job **jobs, int64_t count) {
    int64_t left = 0;
    rai_queue_leave(jobs, count);
    for (int64_t i = 0; i < count; i++) {
        if (jobs[i]->calls_back) {
            jobs[left++] = jobs[i];
        } else {
            complete(jobs[i]);
        }
    }
    if (left == 0) return;
    rai_callbacks_begin();
    for (int64_t i = 0; i < left; i++) complete(jobs[i]);
    rai_callbacks_end();
}
