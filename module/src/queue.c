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

#include "queue_state.h"

enum {
    EARLY_HANDOVER = 64, /* jobs that do not wait for the turn's end */
    LEAST_ON_GPU = 2,
    MOST_ON_GPU = 8,
};

static pthread_mutex_t queues_lock = PTHREAD_MUTEX_INITIALIZER; /* of appending */
static rai_queue *queues;                                       /* in order of creation; only ever appended to */
static rai_queue *control;                                      /* loads models and backends; one worker, in order */
static rai_queue *soon_queues;                                  /* event loop only */
static int hold_back;                                           /* pushes wait for the end of the turn */
static int64_t turn;                                            /* the number of this one */
static int loading; /* jobs behind wait for the end of a load: it has the cores to itself */

int64_t rai_usable_cores(void) {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
    return CPU_COUNT(&cores);
}

static rai_queue *queue_new(const char *name, int64_t limit) {
    rai_queue *queue = RedisModule_Calloc(1, sizeof(*queue));
    pthread_mutex_init(&queue->lock, NULL);
    queue->due_us = INT64_MAX;
    queue->limit = limit < RAI_MAX_WORKERS ? limit : RAI_MAX_WORKERS;
    queue->name = RedisModule_Alloc(strlen(name) + 1);
    for (size_t i = 0; i <= strlen(name); i++) {
        queue->name[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    }
    return queue;
}

static int is_gpu(const char *device) {
    return strncasecmp(device, "GPU", 3) == 0;
}

/* The most workers of a device, unless THREADS_PER_QUEUE says how many. One that waits for a GPU looks at it
 * all the time, so the event loop needs a core for itself, and beyond a few they wait for the driver's locks. */
static int64_t most_workers(const char *device) {
    int64_t cores = rai_usable_cores();
    if (!is_gpu(device)) return cores;
    if (cores <= LEAST_ON_GPU) return LEAST_ON_GPU;
    return cores > MOST_ON_GPU ? MOST_ON_GPU : cores - 1;
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
        queue = queue_new(device, limit ? limit : most_workers(device));
        __atomic_store_n(last, queue, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&queues_lock);
    return queue;
}

rai_queue *rai_control_queue(void) {
    return control;
}

/* ---- waking workers ----------------------------------------------------- */

static void *worker_thread(void *argument) {
    rai_callbacks_serve(argument);
    rai_serve_queue(argument);
    return NULL;
}

/* Takes the sleeper that is to be woken out of the list, which has some. Called with the lock held. */
static rai_sleeper *next_to_wake(rai_queue *queue) {
    rai_sleeper **place = &queue->sleepers;
    for (rai_sleeper **each = place; *each; each = &(*each)->next) {
        if (*each == queue->preferred) place = each;
    }
    rai_sleeper *next = *place;
    *place = next->next;
    return next;
}

/* Makes sure that somebody is, or will be, attentive. Called with the lock held.
 * Returns who is to be signalled once it is free; NULL: nobody. */
static rai_sleeper *call_somebody(rai_queue *queue) {
    if (queue->attentive > 0) return NULL;
    if (queue->sleepers) {
        rai_sleeper *next = next_to_wake(queue);
        next->woken = 1;
        rai_placement_choose(next);
        __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED); /* it is, as soon as it runs */
        return next;
    }
    if (queue->workers < queue->limit) {
        char name[16];
        snprintf(name, sizeof(name), "ai-%.12s", queue->name);
        if (rai_thread_start(&queue->threads[queue->workers], worker_thread, queue, name) != 0) return NULL;
        __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED); /* so is a new one */
        __atomic_store_n(&queue->workers, queue->workers + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

/* A worker that is woken needs the lock, and often takes the core of whoever wakes it. */
void rai_queue_unlock(rai_queue *queue, int needs_attention) {
    rai_sleeper *called = needs_attention ? call_somebody(queue) : NULL;
    pthread_mutex_unlock(&queue->lock);
    if (called) pthread_cond_signal(&called->woken_up); /* it lives for ever, as workers do */
}

/* ---- pushing -------------------------------------------------------------- */

/* Puts jobs, which are linked, at the end of a list. */
static void append(rai_job_list *list, rai_job_list jobs) {
    if (list->tail) {
        list->tail->next = jobs.head;
    } else {
        list->head = jobs.head;
    }
    list->tail = jobs.tail;
}

static void append_one(rai_job_list *list, rai_job *job) {
    job->next = NULL;
    append(list, (rai_job_list){job, job});
}

/* NULL: the list is empty. */
static rai_job *take_first(rai_job_list *list) {
    rai_job *job = list->head;
    if (job == NULL) return NULL;
    list->head = job->next;
    if (list->head == NULL) list->tail = NULL;
    job->next = NULL;
    return job;
}

void rai_queue_push(rai_queue *queue, rai_job *job) {
    pthread_mutex_lock(&queue->lock);
    append_one(job->urgent ? &queue->urgent : &queue->normal, job);
    rai_queue_unlock(queue, 1);
}

void rai_queue_push_behind(rai_queue *queue, rai_job *job) {
    pthread_mutex_lock(&queue->lock);
    append_one(&queue->behind, job);
    rai_queue_unlock(queue, !__atomic_load_n(&loading, __ATOMIC_RELAXED));
}

/* Takes the load of a model out of those behind; NULL when it is not there (any more).
 * Called with the lock held. */
static rai_job *unlink_load(rai_queue *queue, const rai_model *model) {
    rai_job *previous = NULL, *job = queue->behind.head;
    while (job && !(job->kind == RAI_JOB_LOAD && job->model == model)) {
        previous = job;
        job = job->next;
    }
    if (job == NULL) return NULL;
    *(previous ? &previous->next : &queue->behind.head) = job->next;
    if (queue->behind.tail == job) queue->behind.tail = previous;
    return job;
}

void rai_queue_hasten(rai_queue *queue, const rai_model *model) {
    pthread_mutex_lock(&queue->lock);
    rai_job *job = unlink_load(queue, model);
    pthread_mutex_unlock(&queue->lock);
    if (job) rai_queue_push(queue, job);
}

static void hand_over(rai_queue *queue) {
    if (queue->soon.head == NULL) return;
    pthread_mutex_lock(&queue->lock);
    append(&queue->normal, queue->soon);
    rai_queue_unlock(queue, 1);
    queue->soon = (rai_job_list){NULL, NULL};
    queue->soon_count = 0;
}

void rai_queue_push_soon(rai_queue *queue, rai_job *job) {
    if (job->urgent) {
        rai_queue_push(queue, job);
        return;
    }
    append_one(&queue->soon, job);
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
    rai_queue_unlock(queue, 1);
}

/* ---- the workers' side -------------------------------------------------- */

/* This thread's place among the sleepers. */
static rai_sleeper *own_sleeper(void) {
    static _Thread_local rai_sleeper own;
    static _Thread_local int ready;
    if (!ready) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&own.woken_up, &monotonic);
        pthread_condattr_destroy(&monotonic);
        own.thread = pthread_self();
        ready = 1;
    }
    return &own;
}

/* Sleeps until woken; 0 when the deadline passed first. Called with the lock held. */
static int sleep_until(rai_queue *queue, int64_t deadline_us) {
    rai_sleeper *own = own_sleeper();
    struct timespec until = {deadline_us / 1000000, deadline_us % 1000000 * 1000};
    int error = 0;
    rai_placement_release(own); /* somebody else took what it was woken for */
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
    rai_sleeper **place = &queue->sleepers;
    while (*place != own) place = &(*place)->next;
    *place = own->next;
    __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    return 0;
}

/* Whether there are jobs, other than those behind. Called with the lock held. */
static int has_jobs(const rai_queue *queue) {
    return queue->urgent.head || queue->normal.head;
}

/* Called with the lock held. */
static int has_behind(const rai_queue *queue) {
    return queue->behind.head && !__atomic_load_n(&loading, __ATOMIC_RELAXED);
}

/* What rai_queue_take takes when it does not wait. Called with the lock held. */
static int64_t take(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled, int64_t cancelled_room,
                    int64_t *cancelled_count) {
    int64_t taken = 0;
    while (queue->urgent.head && taken < room) jobs[taken++] = take_first(&queue->urgent);
    while (queue->normal.head && taken < room) jobs[taken++] = take_first(&queue->normal);
    if (taken == 0 && has_behind(queue)) jobs[taken++] = take_first(&queue->behind);
    *cancelled_count = queue->cancelled_count < cancelled_room ? queue->cancelled_count : cancelled_room;
    queue->cancelled_count -= *cancelled_count;
    if (*cancelled_count > 0) {
        memcpy(cancelled, queue->cancelled, (size_t)*cancelled_count * sizeof(*cancelled));
        memmove(queue->cancelled, queue->cancelled + *cancelled_count,
                (size_t)queue->cancelled_count * sizeof(*cancelled));
    }
    return taken;
}

int64_t rai_queue_take(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled, int64_t cancelled_room,
                       int64_t *cancelled_count, int64_t deadline_us) {
    pthread_mutex_lock(&queue->lock);
    while (deadline_us > 0 && !has_jobs(queue) && !has_behind(queue) && !queue->cancelled_count && !queue->look) {
        if (!sleep_until(queue, deadline_us)) break;
    }
    queue->look = 0;
    int64_t taken = take(queue, jobs, room, cancelled, cancelled_room, cancelled_count);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void rai_queue_settled(void) {
    rai_placement_release(own_sleeper());
}

int64_t rai_queue_take_waiting(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled,
                               int64_t cancelled_room, int64_t *cancelled_count) {
    __atomic_store_n(&queue->due_us, INT64_MAX, __ATOMIC_SEQ_CST); /* before: who comes now sets it again */
    pthread_mutex_lock(&queue->lock);
    int64_t taken = take(queue, jobs, room, cancelled, cancelled_room, cancelled_count);
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

void rai_queue_stuck(rai_queue *queue, int more_work) {
    pthread_mutex_lock(&queue->lock);
    __atomic_sub_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    if (more_work) queue->look = 1;
    rai_queue_unlock(queue, queue->look || has_jobs(queue) || queue->cancelled_count);
}

int rai_queue_occupied(rai_queue *queue, int more_work) {
    int core = rai_placement_begin_run();
    rai_queue_stuck(queue, more_work);
    return core;
}

void rai_queue_look(rai_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->look = 1;
    rai_queue_unlock(queue, 1);
}

void rai_queue_attentive(rai_queue *queue) {
    rai_placement_end_run();
    pthread_mutex_lock(&queue->lock);
    __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_prefer_this_worker(rai_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->preferred = own_sleeper();
    pthread_mutex_unlock(&queue->lock);
}

const char *rai_queue_name(const rai_queue *queue) {
    return queue->name;
}

int64_t rai_queue_worker_limit(const rai_queue *queue) {
    return queue->limit;
}

int rai_queue_on_gpu(const rai_queue *queue) {
    return is_gpu(queue->name);
}

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
    rai_replication_paused();
    hold_back = subevent != REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP;
    if (!hold_back) rai_queues_flush();
    turn += hold_back;
}

int64_t rai_turn(void) {
    return turn;
}

/* While a file, or a master's data, is read nobody can ask for anything. */
static void loads(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx, (void)event, (void)data;
    int begins = subevent < REDISMODULE_SUBEVENT_LOADING_ENDED;
    pthread_mutex_lock(&control->lock);
    __atomic_store_n(&loading, begins, __ATOMIC_RELAXED);
    rai_queue_unlock(control, !begins && control->behind.head);
}

void rai_queues_init(void) {
    if (control == NULL) control = queue_new("control", 1);
}

void rai_queues_subscribe(RedisModuleCtx *ctx) {
    RedisModuleEvent load_event = {REDISMODULE_EVENT_LOADING, 1};
    RedisModule_SubscribeToServerEvent(ctx, load_event, loads);
    if (RedisModule_GetServerVersion() < RAI_REDIS_7) return;
    RedisModuleEvent event = {REDISMODULE_EVENT_EVENTLOOP, 1};
    RedisModule_SubscribeToServerEvent(ctx, event, around_sleep);
}
