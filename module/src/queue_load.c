/* What a queue holds and has seen: counted where a request is entered, begins and
 * leaves, and shown by INFO. */
#include <stdio.h>

#include "queue_state.h"

/* Longer timeouts, of a year and more, never pass. */
static const int64_t LONGEST_TIMEOUT_MS = (int64_t)1 << 35;
enum { GRACE_US = 1000 }; /* after a TIMEOUT, for a worker to notice it before the watchdog does */

enum { JOB_WAITING, JOB_BEGUN, JOB_GIVEN_UP }; /* phases of a request, of which it leaves the first once */

void rai_queue_enter(rai_job *job) {
    if (job->enqueued_us == 0) job->enqueued_us = rai_now_us();
    /* An execution of a DAG had to wait for others first; the time is that of its own queue. */
    int64_t ready_us = job->dag ? rai_now_us() : job->enqueued_us;
    if (job->model->queue) __atomic_add_fetch(&job->model->queue->entered, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&job->ready_us, ready_us, __ATOMIC_RELEASE);
    int64_t timeout_us = rai_job_timeout_us(job);
    if (job->model->queue && timeout_us != INT64_MAX) rai_queue_expect(job->model->queue, timeout_us);
}

int64_t rai_job_timeout_us(const rai_job *job) {
    if (job->timeout_ms <= 0 || job->timeout_ms >= LONGEST_TIMEOUT_MS) return INT64_MAX;
    return job->enqueued_us + job->timeout_ms * 1000;
}

/* Workers look at TIMEOUTs, too, but all of them may be busy by then. */
void rai_queue_expect(rai_queue *queue, int64_t timeout_us) {
    int64_t due = timeout_us + GRACE_US, known = __atomic_load_n(&queue->due_us, __ATOMIC_ACQUIRE);
    while (due < known) {
        if (__atomic_compare_exchange_n(&queue->due_us, &known, due, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) break;
    }
    rai_watchdog_arm(due);
}

int64_t rai_queue_due(const rai_queue *queue) {
    return __atomic_load_n(&queue->due_us, __ATOMIC_ACQUIRE);
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
