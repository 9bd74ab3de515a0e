/* Queues, their workers and the watchdog: queue.c, queue_load.c, callbacks.c, watchdog.c. */
#ifndef RAI_QUEUE_H
#define RAI_QUEUE_H
#include "job.h"

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
/* Worker: it has the GIL, for which it may have had to wait once more: from now on it may be on any core. */
void rai_queue_settled(void);
/* When the watchdog is to look for requests whose TIMEOUT has passed; INT64_MAX: never. */
int64_t rai_queue_due(const rai_queue *queue);
/* It is to do so soon after this time. */
void rai_queue_expect(rai_queue *queue, int64_t timeout_us);
/* Watchdog, when that is due: takes without waiting, in place of the workers, which are to
 * look at the scheduler when it has what was taken. Nothing is due until more is expected. */
int64_t rai_queue_take_waiting(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled,
                               int64_t cancelled_room, int64_t *cancelled_count);
/* Pushes a job that is not, or no longer, parked. */
void rai_queue_push(rai_queue *queue, rai_job *job);
/* Has a worker look at the scheduler, when one can: there may be something to do. */
void rai_queue_look(rai_queue *queue);
/* The core that the calling thread is on; -1: unknown. */
int rai_current_core(void);
/* Worker: around a run that is expected to be long. While no worker of the queue
 * is attentive, the next push (or more_work) wakes or starts another one. Its begin returns
 * the core that the worker is on, as above. */
int rai_queue_occupied(rai_queue *queue, int more_work);
void rai_queue_attentive(rai_queue *queue);
/* The same as rai_queue_occupied, from elsewhere, for a worker whose run was expected to be short. */
void rai_queue_stuck(rai_queue *queue, int more_work);
/* Worker: from now on this thread, when it is asleep, is woken before the others of its queue. */
void rai_queue_prefer_this_worker(rai_queue *queue);
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
int64_t rai_queue_worker_limit(const rai_queue *queue);
int rai_queue_on_gpu(const rai_queue *queue);
/* Visits queues for INFO: CPU seconds of worker (0-based) or -1 past the last. */
rai_queue *rai_queue_at(int64_t index);
double rai_queue_worker_cpu(const rai_queue *queue, int64_t worker);

/* The watchdog thread: calls back into Python when a run may have to be ended, or the
 * TIMEOUT of a request has passed. */
void rai_watchdog_arm(int64_t deadline_us);
void rai_watchdog_poke(void);

/* Implemented in Python (worker/entry.py): the life of a worker thread, and the watchdog's look at the runs: it returns
 * when it wants to look again. Both are called without the GIL and take it. */
void rai_python_worker(rai_queue *queue);
int64_t rai_python_watchdog(int64_t now_us);

#endif
