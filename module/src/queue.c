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
    EARLY_HANDOVER = 64 /* jobs that do not wait for the turn's end */
};

enum { JOB_WAITING, JOB_BEGUN, JOB_GIVEN_UP }; /* phases of a request, of which it leaves the first once */

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
    const sleeper *preferred; /* woken before all others */
    rai_job *head, *tail;
    rai_job *urgent_head, *urgent_tail;
    rai_job *behind_head, *behind_tail; /* taken one by one, when nothing else is there */
    rai_job *soon_head, *soon_tail;     /* pushed in this turn; event loop only */
    int64_t soon_count;
    int64_t *cancelled; /* ids of jobs whose client is gone */
    int64_t cancelled_count, cancelled_room;
    int64_t attentive, limit, workers;
    int64_t entered, begun, left, given_up; /* requests; given up: left without a run */
    int64_t runs, gil_wait_us;
    int64_t at_once; /* requests that ran on the event loop; event loop only */
    int look;        /* somebody should look at the scheduler though no job is new */
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
static int loading; /* jobs behind wait for the end of a load: it has the cores to itself */

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

/* Takes the sleeper that is to be woken out of the list, which has some. Called with the lock held. */
static sleeper *next_to_wake(rai_queue *queue) {
    sleeper **place = &queue->sleepers;
    for (sleeper **each = place; *each; each = &(*each)->next) {
        if (*each == queue->preferred) place = each;
    }
    sleeper *next = *place;
    *place = next->next;
    return next;
}

/* Makes sure that somebody is, or will be, attentive. Called with the lock held. */
static void need_attention(rai_queue *queue) {
    if (queue->attentive > 0) return;
    if (queue->sleepers) {
        sleeper *next = next_to_wake(queue);
        next->woken = 1;
        __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED); /* it is, as soon as it runs */
        pthread_cond_signal(&next->woken_up);
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

/* Urgent jobs have a list of their own, which workers look at first. */
static void append_urgent(rai_queue *queue, rai_job *job) {
    pthread_mutex_lock(&queue->lock);
    if (queue->urgent_tail) {
        queue->urgent_tail->next = job;
    } else {
        queue->urgent_head = job;
    }
    queue->urgent_tail = job;
    need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_push(rai_queue *queue, rai_job *job) {
    job->next = NULL;
    if (job->urgent) {
        append_urgent(queue, job);
    } else {
        append(queue, job, job);
    }
}

void rai_queue_push_behind(rai_queue *queue, rai_job *job) {
    job->next = NULL;
    pthread_mutex_lock(&queue->lock);
    if (queue->behind_tail) {
        queue->behind_tail->next = job;
    } else {
        queue->behind_head = job;
    }
    queue->behind_tail = job;
    if (!__atomic_load_n(&loading, __ATOMIC_RELAXED)) need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

/* Takes the load of a model out of those behind; NULL when it is not there (any more).
 * Called with the lock held. */
static rai_job *unlink_load(rai_queue *queue, const rai_model *model) {
    rai_job *previous = NULL, *job = queue->behind_head;
    while (job && !(job->kind == RAI_JOB_LOAD && job->model == model)) {
        previous = job;
        job = job->next;
    }
    if (job == NULL) return NULL;
    *(previous ? &previous->next : &queue->behind_head) = job->next;
    if (queue->behind_tail == job) queue->behind_tail = previous;
    return job;
}

void rai_queue_hasten(rai_queue *queue, const rai_model *model) {
    pthread_mutex_lock(&queue->lock);
    rai_job *job = unlink_load(queue, model);
    pthread_mutex_unlock(&queue->lock);
    if (job) rai_queue_push(queue, job);
}

static void hand_over(rai_queue *queue) {
    rai_job *head = queue->soon_head, *tail = queue->soon_tail;
    if (head == NULL) return;
    queue->soon_head = queue->soon_tail = NULL;
    queue->soon_count = 0;
    append(queue, head, tail);
}

void rai_queue_push_soon(rai_queue *queue, rai_job *job) {
    if (job->urgent) {
        rai_queue_push(queue, job);
        return;
    }
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

/* Called with the lock held. */
static int has_behind(const rai_queue *queue) {
    return queue->behind_head && !__atomic_load_n(&loading, __ATOMIC_RELAXED);
}

int64_t rai_queue_take(rai_queue *queue, rai_job **jobs, int64_t room, int64_t *cancelled, int64_t cancelled_room,
                       int64_t *cancelled_count, int64_t deadline_us) {
    int64_t taken = 0;
    pthread_mutex_lock(&queue->lock);
    while (deadline_us > 0 && !queue->head && !queue->urgent_head && !has_behind(queue) && !queue->cancelled_count &&
           !queue->look) {
        if (!sleep_until(queue, deadline_us)) break;
    }
    queue->look = 0;
    while (queue->urgent_head && taken < room) {
        rai_job *job = queue->urgent_head;
        queue->urgent_head = job->next;
        job->next = NULL;
        jobs[taken++] = job;
    }
    if (queue->urgent_head == NULL) queue->urgent_tail = NULL;
    while (queue->head && taken < room) {
        rai_job *job = queue->head;
        queue->head = job->next;
        job->next = NULL;
        jobs[taken++] = job;
    }
    if (queue->head == NULL) queue->tail = NULL;
    if (taken == 0 && has_behind(queue)) {
        jobs[taken++] = queue->behind_head;
        queue->behind_head = queue->behind_head->next;
        if (queue->behind_head == NULL) queue->behind_tail = NULL;
        jobs[0]->next = NULL;
    }
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
    if (more_work || queue->head || queue->urgent_head || queue->cancelled_count) need_attention(queue);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_attentive(rai_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    __atomic_add_fetch(&queue->attentive, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&queue->lock);
}

void rai_queue_prefer_this_worker(rai_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->preferred = own_sleeper();
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

/* ---- what a queue holds, and what INFO shows --------------------------------- */

void rai_queue_enter(rai_job *job) {
    if (job->enqueued_us == 0) job->enqueued_us = rai_now_us();
    /* An execution of a DAG had to wait for others first; the time is that of its own queue. */
    int64_t ready_us = job->dag ? rai_now_us() : job->enqueued_us;
    if (job->model->queue) __atomic_add_fetch(&job->model->queue->entered, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&job->ready_us, ready_us, __ATOMIC_RELEASE);
}

/* Whether the request was waiting, and is in the given phase from now on. */
static int ends_waiting(rai_job *job, int32_t phase) {
    int32_t waiting = JOB_WAITING;
    return __atomic_compare_exchange_n(&job->phase, &waiting, phase, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void rai_queue_give_up(rai_job *job) {
    rai_queue *queue = job->model->queue;
    if (queue && ends_waiting(job, JOB_GIVEN_UP)) __atomic_add_fetch(&queue->given_up, 1, __ATOMIC_RELAXED);
}

/* Before their clients know: whoever has a reply does not see its request running. */
void rai_queue_leave(rai_job **jobs, int64_t count) {
    rai_queue *queue = NULL; /* whose requests are being counted: as a rule all are of one */
    int64_t left = 0;
    for (int64_t i = 0; i < count; i++) {
        rai_job *job = jobs[i];
        if (job->kind != RAI_JOB_EXECUTE || job->model->queue == NULL) continue;
        if (job->phase == JOB_WAITING) rai_queue_give_up(job);
        if (job->phase != JOB_BEGUN) continue;
        if (job->model->queue != queue && left > 0) {
            __atomic_add_fetch(&queue->left, left, __ATOMIC_RELAXED);
            left = 0;
        }
        queue = job->model->queue;
        left++;
    }
    if (left > 0) __atomic_add_fetch(&queue->left, left, __ATOMIC_RELAXED);
}

void rai_jobs_begin(rai_job **jobs, int64_t count, int64_t runs) {
    int64_t now = rai_now_us();
    rai_queue *queue = jobs[0]->model->queue;
    int64_t begun = 0; /* a request that was given up just before it began is not waited for */
    for (int64_t i = 0; i < count; i++) {
        jobs[i]->begun_us = now;
        begun += ends_waiting(jobs[i], JOB_BEGUN);
    }
    __atomic_add_fetch(&queue->begun, begun, __ATOMIC_RELAXED);
    __atomic_add_fetch(&queue->runs, runs, __ATOMIC_RELAXED);
    rai_latency_add_runs(jobs[0]->model->latency, runs);
}

void rai_queue_count_at_once(rai_model *model) {
    model->queue->at_once++;
    rai_latency_add_runs(model->latency, 1);
}

void rai_queue_add_gil_wait(rai_queue *queue, int64_t microseconds) {
    __atomic_add_fetch(&queue->gil_wait_us, microseconds, __ATOMIC_RELAXED);
}

/* In the order in which a request is counted, backwards: no difference is negative. */
void rai_queue_get_load(const rai_queue *queue, rai_queue_load *load) {
    int64_t left = __atomic_load_n(&queue->left, __ATOMIC_RELAXED);
    int64_t given_up = __atomic_load_n(&queue->given_up, __ATOMIC_RELAXED);
    int64_t begun = __atomic_load_n(&queue->begun, __ATOMIC_RELAXED);
    load->running = begun - left;
    load->waiting = __atomic_load_n(&queue->entered, __ATOMIC_RELAXED) - begun - given_up;
    load->at_once = queue->at_once;
    load->requests = begun + queue->at_once;
    load->runs = __atomic_load_n(&queue->runs, __ATOMIC_RELAXED) + queue->at_once;
    load->gil_wait_us = __atomic_load_n(&queue->gil_wait_us, __ATOMIC_RELAXED);
    load->workers = __atomic_load_n(&queue->workers, __ATOMIC_ACQUIRE);
}

const char *rai_queue_refusal(const rai_model *model) {
    static char text[128];
    int64_t most = rai_config()->max_queue_depth;
    rai_queue_load load;
    if (most == 0 || model->queue == NULL) return NULL;
    rai_queue_get_load(model->queue, &load);
    if (load.waiting < most) return NULL;
    snprintf(text, sizeof(text), "QUEUEFULL %lld requests wait for device %s already (MAX_QUEUE_DEPTH)",
             (long long)load.waiting, model->queue->name);
    return text;
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
}

/* While a file, or a master's data, is read nobody can ask for anything. */
static void loads(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)ctx, (void)event, (void)data;
    int begins = subevent < REDISMODULE_SUBEVENT_LOADING_ENDED;
    pthread_mutex_lock(&control->lock);
    __atomic_store_n(&loading, begins, __ATOMIC_RELAXED);
    if (!begins && control->behind_head) need_attention(control);
    pthread_mutex_unlock(&control->lock);
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
