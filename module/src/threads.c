/* Starting threads that leave Redis' signals to its main thread. */
#define _GNU_SOURCE
#include <signal.h>

#include "internal.h"

enum { STACK_SIZE = 16 << 20 }; /* graph optimisers recurse deeply */

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
    int error = pthread_create(thread, &attributes, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0) pthread_setname_np(*thread, name);
    return error;
}
