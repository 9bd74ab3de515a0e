/* Workers in callbacks: those of other modules, and of flows, may take any time, and
 * may wait for a run of the same queue. Their queue gets along without them meanwhile. */
#include "queue_state.h"

enum { LONG_CALLBACK_US = 20000 };

/* What a worker does in other people's callbacks. */
typedef struct visit {
    pthread_mutex_t lock;
    rai_queue *queue; /* NULL: this thread is no worker */
    int depth;        /* callbacks lead to others */
    int64_t since_us; /* 0: not in a callback */
    int replaced;
    int raised; /* the queue's limit, for the replacement */
    int listed;
    struct visit *next;
} visit;

static _Thread_local visit own_visit = {.lock = PTHREAD_MUTEX_INITIALIZER};
static visit *visits; /* of all workers that ever called back; workers live for ever */

void rai_callbacks_serve(rai_queue *queue) {
    own_visit.queue = queue;
}

/* The queue gets along without this worker, which may wait for a run of its own, or
 * for a lock that somebody holds who waits for one. Called with the visit's lock held. */
static void replace(visit *away) {
    rai_queue *queue = away->queue;
    if (away->replaced) return;
    away->replaced = 1;
    pthread_mutex_lock(&queue->lock);
    __atomic_sub_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    away->raised = queue->limit < RAI_MAX_WORKERS;
    queue->limit += away->raised;
    queue->look = 1; /* the scheduler may hold requests that this worker was going to run */
    rai_queue_unlock(queue, 1);
}

void rai_callbacks_begin(void) {
    visit *own = &own_visit;
    if (own->queue == NULL || own->depth++ > 0) return;
    if (!own->listed) {
        own->listed = 1;
        own->next = __atomic_load_n(&visits, __ATOMIC_ACQUIRE);
        while (!__atomic_compare_exchange_n(&visits, &own->next, own, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
    }
    int64_t now = rai_now_us();
    pthread_mutex_lock(&own->lock);
    own->since_us = now;
    pthread_mutex_unlock(&own->lock);
    rai_watchdog_arm(now + LONG_CALLBACK_US);
}

void rai_callbacks_end(void) {
    visit *own = &own_visit;
    if (own->queue == NULL || --own->depth > 0) return;
    pthread_mutex_lock(&own->lock);
    own->since_us = 0;
    int replaced = own->replaced;
    own->replaced = 0;
    pthread_mutex_unlock(&own->lock);
    if (!replaced) return;
    pthread_mutex_lock(&own->queue->lock);
    __atomic_add_fetch(&own->queue->attentive, 1, __ATOMIC_RELAXED);
    own->queue->limit -= own->raised;
    pthread_mutex_unlock(&own->queue->lock);
}

void rai_callback_waits(void) {
    visit *own = &own_visit;
    if (own->queue == NULL || own->depth == 0) return;
    pthread_mutex_lock(&own->lock);
    replace(own);
    pthread_mutex_unlock(&own->lock);
}

int64_t rai_check_callbacks(int64_t now_us) {
    int64_t next = INT64_MAX;
    for (visit *each = __atomic_load_n(&visits, __ATOMIC_ACQUIRE); each; each = each->next) {
        pthread_mutex_lock(&each->lock);
        if (each->since_us && !each->replaced) {
            int64_t due = each->since_us + LONG_CALLBACK_US;
            if (due <= now_us) {
                replace(each);
            } else if (due < next) {
                next = due;
            }
        }
        pthread_mutex_unlock(&each->lock);
    }
    return next;
}
