/* The watchdog: one thread that ends runs which take longer than allowed, or
 * whose clients are all gone, and answers requests whose TIMEOUT passes while all
 * workers are busy. It sleeps without a timer while nothing runs, and
 * wakes about once per allowed run time while something does, so that starting a
 * run costs it no more than one comparison. */
#include <errno.h>
#include <time.h>

#include "internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static int64_t wake_at = INT64_MAX; /* written under lock, read anywhere */
static int started;
static int checking; /* Python is looking at the runs right now */

static void *watch(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        int64_t deadline = wake_at;
        if (deadline == INT64_MAX) {
            pthread_cond_wait(&changed, &lock);
        } else if (deadline > rai_now_us()) {
            struct timespec until = {deadline / 1000000, deadline % 1000000 * 1000};
            pthread_cond_timedwait(&changed, &lock, &until);
        } else {
            __atomic_store_n(&checking, 1, __ATOMIC_SEQ_CST);
            __atomic_store_n(&wake_at, INT64_MAX, __ATOMIC_SEQ_CST);
            pthread_mutex_unlock(&lock);
            /* Without the GIL, so first. */
            int64_t callbacks = rai_check_callbacks(rai_now_us());
            int64_t parked = rai_check_parked(rai_now_us());
            int64_t next = rai_check_runs(rai_now_us());
            if (callbacks < next) next = callbacks;
            if (parked < next) next = parked;
            pthread_mutex_lock(&lock);
            __atomic_store_n(&checking, 0, __ATOMIC_SEQ_CST);
            if (next < wake_at) __atomic_store_n(&wake_at, next, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static void wake_before(int64_t deadline_us) {
    pthread_t thread;
    pthread_mutex_lock(&lock);
    if (!started) started = rai_thread_start(&thread, watch, NULL, "ai-watchdog") == 0;
    if (deadline_us < wake_at) {
        __atomic_store_n(&wake_at, deadline_us, __ATOMIC_RELEASE);
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&lock);
}

void rai_watchdog_arm(int64_t deadline_us) {
    if (deadline_us < __atomic_load_n(&wake_at, __ATOMIC_ACQUIRE)) wake_before(deadline_us);
}

/* A run that can be ended has armed the watchdog, so if it is neither armed nor
 * checking there is nothing to end. */
void rai_watchdog_poke(void) {
    int armed = __atomic_load_n(&wake_at, __ATOMIC_SEQ_CST) != INT64_MAX;
    if (armed || __atomic_load_n(&checking, __ATOMIC_SEQ_CST)) wake_before(0);
}

int rai_watchdog_init(void) {
    static int done; /* by a load that failed later */
    pthread_condattr_t monotonic;
    if (done++) return 0;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &monotonic);
    return pthread_condattr_destroy(&monotonic);
}
