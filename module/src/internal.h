/* What the C files share with each other and with nobody else. */
#ifndef RAI_INTERNAL_H
#define RAI_INTERNAL_H
#include <pthread.h>
#include <stdint.h>

#include "core.h"

enum { RAI_REDIS_7 = 0x00070000 }; /* as RedisModule_GetServerVersion states it */

/* queue.c */
/* Pushes now, or together with the other jobs of this turn (event loop). */
void rai_queue_push_soon(rai_queue *queue, rai_job *job);
/* Pushes behind all others; rai_queue_hasten moves the load of a model from there to them. */
void rai_queue_push_behind(rai_queue *queue, rai_job *job);
void rai_queue_hasten(rai_queue *queue, const rai_model *model);
void rai_queue_cancel(rai_queue *queue, int64_t job_id);
void rai_queues_init(void);
int64_t rai_usable_cores(void);
int64_t rai_turn(void); /* of the event loop, which counts them where Redis tells of them (7.0) */
void rai_queues_subscribe(RedisModuleCtx *ctx);
/* Around callbacks. A worker that stays long in one, or waits in it for another
 * job, is replaced meanwhile, beyond the queue's limit. Elsewhere these do nothing. */
void rai_callbacks_begin(void);
void rai_callbacks_end(void);
void rai_callback_waits(void);
/* Replaces the workers that have been in callbacks for long; when to look again. */
int64_t rai_check_callbacks(int64_t now_us);

/* jobs.c */
/* Makes a job of zeroed memory, behind which is room for the tensors. */
void rai_job_init(rai_job *job, int32_t kind, rai_model *model, int32_t input_count, int32_t output_count);
void rai_job_answer(rai_job *job); /* has the event loop answer the job's client */
void rai_job_block(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);
/* Answers a job that failed without a run; if it calls back, on a worker. */
void rai_job_refuse(rai_job *job);
/* Sends an execution on its way: to its queue, or to wait for its model. */
void rai_job_start(rai_job *job, void (*push)(rai_queue *, rai_job *));

/* dag.c */
void rai_dag_free(rai_dag *dag);          /* all but the memory that it shares with its job */
void rai_dag_cancel(rai_dag *dag);        /* the client is gone */
void rai_dag_job_completed(rai_job *job); /* an execution is over */

/* histogram.c */
rai_latency *rai_latency_new(void);
size_t rai_latency_memory(void);
void rai_latency_reset(rai_latency *latency);

/* queue_load.c: a request is the queue's from the time when only a worker is missing until it is over. */
void rai_queue_enter(rai_job *job);
void rai_queue_leave(rai_job **jobs, int64_t count);
int64_t rai_job_timeout_us(const rai_job *job); /* when its TIMEOUT passes (CLOCK_MONOTONIC); INT64_MAX: never */
/* A request of the model ran on the event loop. */
void rai_queue_count_at_once(rai_model *model);
void rai_queue_give_up(rai_job *job); /* it is cancelled: it does not wait any more, or goes on running */

/* model.c */
rai_bytes rai_bytes_new(const char *data, size_t length); /* a copy, with a NUL behind it */
int rai_model_park(rai_model *model, rai_job *job);
/* Answers parked jobs whose TIMEOUT has passed; when to look again (watchdog). */
int64_t rai_check_parked(int64_t now_us);
void rai_models_init(void);

/* kept_replies.c */
void rai_kept_forget(rai_tensor *tensor);       /* it is freed */
void rai_kept_moved(rai_tensor *tensor);        /* by defragmentation, to here (event loop) */
void rai_tensor_may_change(rai_tensor *tensor); /* from now on; nothing that depends on its data is kept */

/* calls.c */
int rai_holds_redis_lock(void); /* whether this worker runs a command of Redis */

/* pause.c */
int rai_pause_holds(rai_job *job); /* whether it keeps the job for now (worker) */

/* watchdog.c */
int rai_watchdog_init(void);

/* interpreter.c */
int rai_interpreter_start(RedisModuleCtx *ctx, const char *module_dir, const char *python);
void rai_serve_queue(rai_queue *queue); /* body of a worker thread */
int64_t rai_check_runs(int64_t now_us); /* body of the watchdog's turn */

void rai_serve_flows(void); /* body of the thread of the flows */

/* flows.c */
void rai_flows_subscribe(RedisModuleCtx *ctx);
void rai_flow_left(const rai_job *job); /* its client is gone */
void rai_reply_free(rai_reply *reply);

/* shared_api.c */
int rai_shared_api_export(RedisModuleCtx *ctx);

/* settings.c */
void rai_log_init(RedisModuleCtx *ctx);
void rai_shut_down(void); /* nothing is served any more: prepares the way out */

/* Starts a detached thread of 16 MiB stack that handles no signals but its own crash. 0: done. */
int rai_thread_start(pthread_t *thread, void *(*body)(void *), void *argument, const char *name);
/* Has the calling thread, the event loop, scheduled soon after it wakes, whatever
 * the workers do to the cores. */
void rai_thread_prefer(void);

/* divisions.c: integer divisions in models and libraries end no process from now on. Once for the process. */
void rai_divisions_init(void);
/* Now and then, since Redis sets or removes its handlers on CONFIG SET crash-log-enabled. */
void rai_divisions_renew(void);
/* A count of those that the event loop has met: each takes it longer than a thousand others. */
int rai_divisions_met(void);

#endif
