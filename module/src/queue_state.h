/* What a queue is made of, for the files that serve it: queue.c, queue_load.c and callbacks.c. */
#ifndef RAI_QUEUE_STATE_H
#define RAI_QUEUE_STATE_H
#include <sched.h>

#include "internal.h"

enum { RAI_MAX_WORKERS = 64 };

typedef struct rai_job_list {
    rai_job *head, *tail;
} rai_job_list;

/* A worker that sleeps. The one that fell asleep last is woken first: its caches
 * are warm, and under light load the others are not disturbed at all. */
typedef struct rai_sleeper {
    pthread_cond_t woken_up;
    int woken;
    struct rai_sleeper *next;
    pthread_t thread;
    cpu_set_t cores; /* those it may use; while it is bound to fewer, for waking up */
    int is_bound;
} rai_sleeper;

struct rai_queue {
    pthread_mutex_t lock;
    rai_sleeper *sleepers;
    const rai_sleeper *preferred; /* woken before all others */
    rai_job_list urgent;
    rai_job_list normal;
    rai_job_list behind; /* taken one by one, when nothing else is there */
    rai_job_list soon;   /* pushed in this turn; event loop only */
    int64_t soon_count;
    int64_t *cancelled; /* ids of jobs whose client is gone */
    int64_t cancelled_count, cancelled_room;
    int64_t attentive, limit, workers;
    int64_t entered, begun, left, given_up; /* requests; given up: left without a run */
    int64_t runs, gil_wait_us;
    int64_t at_once; /* requests that ran on the event loop; event loop only */
    int64_t due_us;  /* when the watchdog is to look for TIMEOUTs that have passed */
    int look;        /* somebody should look at the scheduler though no job is new */
    pthread_t threads[RAI_MAX_WORKERS];
    char *name; /* upper case */
    rai_queue *next;
    rai_queue *next_soon; /* queues with jobs in soon */
    int in_soon_list;
};

/* Gives the lock up; if the queue needs attention, somebody is, or will be, attentive. */
void rai_queue_unlock(rai_queue *queue, int needs_attention);

/* placement.c: around a long run of this worker. */
int rai_placement_begin_run(void); /* on which core; -1: unknown */
void rai_placement_end_run(void);
void rai_placement_choose(rai_sleeper *sleeper); /* before it is woken, with the lock held */
void rai_placement_release(rai_sleeper *own);    /* by itself, when it is awake */

/* callbacks.c: this thread is a worker of the queue. */
void rai_callbacks_serve(rai_queue *queue);

#endif
