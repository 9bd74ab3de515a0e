/* Job queues, one per device, and the threads that serve them.
 *
 * A worker is asleep (waiting in rai_queue_take), attentive (draining the queue,
 * or in a run so short that it will be back at once), or occupied (in a long
 * run). The rule that decides how many workers serve a queue is: while there is
 * work, somebody is attentive. A push wakes or starts a worker only if nobody
 * is, so tiny models keep one worker busy and its caches warm, and long runs
 * spread over as many workers as the queue may have. Wake-ups cost more than
 * anything else on this path, so the pushes of one turn of the event loop are
 * handed over together before the loop sleeps: the worker then drains and answers
 * them together, too. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "internal.h"

enum {
    MAX_WORKERS = 64,
    LONG_CALLBACK_US = 20000,
    EARLY_HANDOVER = 64, /* jobs that do not wait for the turn's end */
    REDIS_7 = 0x00070000
};

/* A worker that sleeps. The one that fell asleep last is woken first: its caches
 * are warm, and under light load the others are not disturbed at all. */
typedef struct sleeper {
    pthread_cond_t woken_up;
    int woken;
    struct sleeper *next;
} sleeper;

struct rai_queue {
    pthread_mutex_t lock;
    sleeper *sleepers;
    rai_job *head, *tail;
    rai_job *soon_head, *soon_tail; /* pushed in this turn; event loop only */
    int64_t soon_count;
    int64_t *cancelled; /* ids of jobs whose client is gone */
    int64_t cancelled_count, cancelled_room;
    int64_t attentive, limit, workers;
    int look; /* somebody should look at the scheduler though no job is new */
    pthread_t threads[MAX_WORKERS];
    char *name; /* upper case */
    void *scheduler;
    rai_queue *next;
    rai_queue *next_soon; /* queues with jobs in soon_head */
    int in_soon_list;
};

static pthread_mutex_t queues_lock = PTHREAD_MUTEX_INITIALIZER; /* of appending */
static rai_queue *queues;                                       /* in order of creation; only ever appended to */
static rai_queue *control;                                      /* loads models and backends; one worker, in order */
static rai_queue *soon_queues;                                  /* event loop only */
static int hold_back;                                           /* pushes wait for the end of the turn */

static int64_t usable_cores(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
    return CPU_COUNT(&cores);
}

static rai_queue *queue_new(const char *name, int64_t limit) {
    rai_queue *queue = RedisModule_Calloc(1, sizeof(*queue));
    pthread_mutex_init(&queue->lock, NULL);
    queue->limit = limit < MAX_WORKERS ? limit : MAX_WORKERS;
    queue->name = RedisModule_Alloc(strlen(name) + 1);
    for (size_t i = 0; i <= strlen(name); i++) {
        queue->name[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    }
    return queue;
}

static rai_queue *find_queue(const char *device) {
    rai_queue *queue = __atomic_load_n(&queues, __ATOMIC_ACQUIRE);
    while (queue && strcasecmp(queue->name, device) != 0) queue = __atomic_load_n(&queue->next, __ATOMIC_ACQUIRE);
    return queue;
}

rai_queue *rai_queue_of_device(const char *device) {
    rai_queue *queue = find_queue(device);
    if (queue) return queue;
    pthread_mutex_lock(&queues_lock);
    queue = find_queue(device);
    if (queue == NULL) {
        int64_t limit = rai_config()->threads_per_queue;
        rai_queue **last = &queues;
        while (*last) last = &(*last)->next;
        queue = queue_new(device, limit ? limit : usable_cores());
        __atomic_store_n(last, queue, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&queues_lock);
    return queue;
}

rai_queue *rai_control_queue(void) {
    return control;
}

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

/* ---- waking workers ----------------------------------------------------- */

static void *worker_thread(void *argument) {
    own_visit.queue = argument;
    rai_serve_queue(argument);
    return NULL;
}

/* Makes sure that somebody is, or will be, attentive. Called with the lock held. */
static void need_attention(rai_queue *queue) {
    if (queue->attentive > 0) return;
    if (queue->sleepers) {
        sleeper *last = queue->sleepers;
        queue->sleepers = last->next;
        last->woken = 1;
        __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED); /* it is, as soon as it runs */
        pthread_cond_signal(&last->woken_up);
    } else if (queue->workers < queue->limit) {
        char name[16];
        snprintf(name, sizeof(name), "ai-%.12s", queue->name);
        if (rai_thread_start(&queue->threads[queue->workers], worker_thread, queue, name) != 0) return;
        __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED); /* so is a new one */
        __atomic_store_n(&queue->workers, queue->workers + 1, __ATOMIC_RELEASE);
    }
}

static void append(rai_queue *queue, rai_job *head, rai_job *tail) {
    pthread_mutex_lock(&queue->lock);
    if (queue->tail) {
        queue->tail->next = head;
    } else {
        queue->head = head;
    }
    queue->tail = tail;
    need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_push(rai_queue *queue, rai_job *job) {
    job->next = NULL;
    append(queue, job, job);
}

static void hand_over(rai_queue *queue) {
    rai_job *head = queue->soon_head, *tail = queue->soon_tail;
    if (head == NULL) return;
    queue->soon_head = queue->soon_tail = NULL;
    queue->soon_count = 0;
    append(queue, head, tail);
}

void rai_queue_push_soon(rai_queue *queue, rai_job *job) {
    job->next = NULL;
    if (queue->soon_tail) {
        queue->soon_tail->next = job;
    } else {
        queue->soon_head = job;
    }
    queue->soon_tail = job;
    queue->soon_count++;
    if (!hold_back || queue->soon_count >= EARLY_HANDOVER) {
        hand_over(queue);
    } else if (!queue->in_soon_list) {
        queue->in_soon_list = 1;
        queue->next_soon = soon_queues;
        soon_queues = queue;
    }
}

void rai_queues_flush(void) {
    while (soon_queues) {
        rai_queue *queue = soon_queues;
        soon_queues = queue->next_soon;
        queue->in_soon_list = 0;
        hand_over(queue);
    }
}

void rai_queue_cancel(rai_queue *queue, int64_t job_id) {
    pthread_mutex_lock(&queue->lock);
    if (queue->cancelled_count == queue->cancelled_room) {
        queue->cancelled_room = queue->cancelled_room ? queue->cancelled_room * 2 : 16;
        queue->cancelled =
            RedisModule_Realloc(queue->cancelled, (size_t)queue->cancelled_room * sizeof(*queue->cancelled));
    }
    queue->cancelled[queue->cancelled_count++] = job_id;
    need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

/* ---- the workers' side -------------------------------------------------- */

/* This thread's place among the sleepers. */
static sleeper *own_sleeper(void) {
    static _Thread_local sleeper own;
    static _Thread_local int ready;
    if (!ready) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&own.woken_up, &monotonic);
        pthread_condattr_destroy(&monotonic);
        ready = 1;
    }
    return &own;
}

/* Sleeps until woken; 0 when the deadline passed first. Called with the lock held. */
static int sleep_until(rai_queue *queue, int64_t deadline_us) {
    sleeper *own = own_sleeper();
    struct timespec until = {deadline_us / 1000000, deadline_us % 1000000 * 1000};
    int error = 0;
    own->woken = 0;
    own->next = queue->sleepers;
    queue->sleepers = own;
    __atomic_sub_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    while (!own->woken && error != ETIMEDOUT) {
        if (deadline_us == INT64_MAX) {
            error = pthread_cond_wait(&own->woken_up, &queue->lock);
        } else {
            error = pthread_cond_timedwait(&own->woken_up, &queue->lock, &until);
        }
    }
    if (own->woken) return 1;
    sleeper **place = &queue->sleepers;
    while (*place != own) place = &(*place)->next;
    *place = own->next;
    __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    return 0;
}

int64_t rai_queue_take(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled, int64_t cancelled_room,
                       int64_t *cancelled_count, int64_t deadline_us) {
    int64_t taken = 0;
    pthread_mutex_lock(&queue->lock);
    while (deadline_us > 0 && !queue->head && !queue->cancelled_count && !queue->look) {
        if (!sleep_until(queue, deadline_us)) break;
    }
    queue->look = 0;
    while (queue->head && taken < room) {
        rai_job *job = queue->head;
        queue->head = job->next;
        job->next = NULL;
        jobs[taken++] = job;
    }
    if (queue->head == NULL) queue->tail = NULL;
    *cancelled_count = queue->cancelled_count < cancelled_room ? queue->cancelled_count : cancelled_room;
    queue->cancelled_count -= *cancelled_count;
    if (*cancelled_count > 0) {
        memcpy(cancelled, queue->cancelled, (size_t)*cancelled_count * sizeof(*cancelled));
        memmove(queue->cancelled, queue->cancelled + *cancelled_count,
                (size_t)queue->cancelled_count * sizeof(*cancelled));
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void rai_queue_occupied(rai_queue *queue, int more_work) {
    pthread_mutex_lock(&queue->lock);
    __atomic_sub_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    if (more_work) queue->look = 1;
    if (more_work || queue->head || queue->cancelled_count) need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_attentive(rai_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&queue->lock);
}

/* ---- workers in callbacks ------------------------------------------------ */

/* The queue gets along without this worker, which may wait for a run of its own, or
 * for a lock that somebody holds who waits for one. Called with the visit's lock held. */
static void replace(visit *away) {
    rai_queue *queue = away->queue;
    if (away->replaced) return;
    away->replaced = 1;
    pthread_mutex_lock(&queue->lock);
    __atomic_sub_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    away->raised = queue->limit < MAX_WORKERS;
    queue->limit += away->raised;
    queue->look = 1; /* the scheduler may hold requests that this worker was going to run */
    need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
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

const char *rai_queue_name(const rai_queue *queue) {
    return queue->name;
}

void *rai_queue_get_scheduler(rai_queue *queue) {
    return queue->scheduler;
}

void rai_queue_set_scheduler(rai_queue *queue, void *scheduler) {
    queue->scheduler = scheduler;
}

int64_t rai_queue_worker_limit(const rai_queue *queue) {
    return queue->limit;
}

/* ---- what INFO shows ---------------------------------------------------- */

rai_queue *rai_queue_at(int64_t index) {
    rai_queue *queue = __atomic_load_n(&queues, __ATOMIC_ACQUIRE);
    while (queue && index-- > 0) queue = __atomic_load_n(&queue->next, __ATOMIC_ACQUIRE);
    return queue;
}

double rai_queue_worker_cpu(const rai_queue *queue, int64_t worker) {
    clockid_t clock;
    struct timespec used;
    if (worker >= __atomic_load_n(&queue->workers, __ATOMIC_ACQUIRE)) return -1;
    if (pthread_getcpuclockid(queue->threads[worker], &clock) != 0 || clock_gettime(clock, &used) != 0) return -1;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* ---- set-up ------------------------------------------------------------- */

/* Redis 7 tells when it goes to sleep before it runs what clients that were just
 * unblocked had pipelined, so only between waking up and that moment can pushes be
 * held back. */
static void around_sleep(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx, (void)event, (void)data;
    hold_back = subevent != REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP;
    if (!hold_back) rai_queues_flush();
}

int rai_queues_init(RedisModuleCtx *ctx) {
    control = queue_new("control", 1);
    if (RedisModule_GetServerVersion() >= REDIS_7) {
        RedisModuleEvent event = {REDISMODULE_EVENT_EVENTLOOP, 1};
        RedisModule_SubscribeToServerEvent(ctx, event, around_sleep);
    }
    return REDISMODULE_OK;
}
