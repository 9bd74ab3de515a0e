/* Starting threads that leave Redis' signals to its main thread. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

enum { STACK_SIZE = 16 << 20 }; /* graph optimisers recurse deeply */

/* Gives the calling thread a time slice of its own: Linux 6.12 and later schedule
 * threads with short slices sooner when they wake up; older kernels ignore it. */
static void set_slice(uint64_t nanoseconds) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = 48};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0 || attributes.policy != SCHED_OTHER)
        return;
    attributes.size = sizeof(attributes);
    attributes.runtime = nanoseconds;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void rai_thread_prefer(void) {
    enum { SHORTEST_SLICE_NS = 100000 };
    set_slice(SHORTEST_SLICE_NS);
}

typedef struct start {
    void *(*body)(void *);
    void *argument;
} start;

/* Threads inherit the event loop's slice, but must not compete with it. */
static void *begin(void *argument) {
    start begun = *(start *)argument;
    RedisModule_Free(argument);
    set_slice(0);
    return begun.body(begun.argument);
}

int rai_thread_start(pthread_t *thread, void *(*body)(void *), void *argument, const char *name) {
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    /* A crash is raised in the thread that crashes: Redis is to report it. */
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++) sigdelset(&all, crashes[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    start *beginning = RedisModule_Alloc(sizeof(*beginning));
    *beginning = (start){body, argument};
    int error = pthread_create(thread, &attributes, begin, beginning);
    if (error) RedisModule_Free(beginning);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0) pthread_setname_np(*thread, name);
    return error;
}
