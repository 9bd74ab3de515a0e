/* Pauses: CLIENT PAUSE, FAILOVER, CLUSTER FAILOVER and SHUTDOWN hold up clients that
 * write, so that replicas catch up, and Redis ends the process if anything is
 * replicated meanwhile. Executions that began before are still running then. Their
 * jobs are kept here when they are completed, and answered when the pause is over; if
 * the server has become a replica by then, Redis has told their clients already.
 *
 * Redis has no event for a pause. Since 7.0 every turn of the event loop looks; on 6.2
 * its cron does, or the first reply that comes into a pause. What was completed before
 * that, but not yet answered, cannot be held back any more: its client is told to try
 * again (eventloop/effects.py). */
#include "internal.h"

enum { LOOK_AGAIN_MS = 5 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int paused; /* written by the event loop under lock, read anywhere */
static rai_job *held, **held_end = &held;

static int has_effects(const rai_job *job) {
    if (job->error || job->timed_out) return 0;
    if (job->kind != RAI_JOB_DAG) return job->kind == RAI_JOB_EXECUTE || job->kind == RAI_JOB_LOAD;
    return job->dag->persist_count > 0 && job->dag->failed == job->dag->op_count && !job->dag->timed_out;
}

int rai_pause_holds(rai_job *job) {
    if (!__atomic_load_n(&paused, __ATOMIC_ACQUIRE) || !has_effects(job)) return 0;
    pthread_mutex_lock(&lock);
    int holds = paused;
    if (holds) {
        job->next = NULL;
        *held_end = job;
        held_end = &job->next;
    }
    pthread_mutex_unlock(&lock);
    return holds;
}

static void look_again(RedisModuleCtx *ctx, void *unused);

static void set_timer(void) {
    RedisModule_CreateTimer(rai_detached_context(), LOOK_AGAIN_MS, look_again, NULL);
}

static void end_pause(void) {
    pthread_mutex_lock(&lock);
    __atomic_store_n(&paused, 0, __ATOMIC_RELEASE);
    rai_job *job = held;
    held = NULL;
    held_end = &held;
    pthread_mutex_unlock(&lock);
    while (job) {
        rai_job *next = job->next;
        job->next = NULL;
        rai_job_answer(job);
        job = next;
    }
}

static void look_again(RedisModuleCtx *ctx, void *unused) {
    (void)ctx, (void)unused;
    if (RedisModule_AvoidReplicaTraffic()) {
        set_timer();
    } else {
        end_pause();
    }
}

int rai_replication_paused(void) {
    int now = RedisModule_AvoidReplicaTraffic();
    if (now && !paused) {
        pthread_mutex_lock(&lock);
        __atomic_store_n(&paused, 1, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&lock);
        set_timer();
    }
    return now;
}
