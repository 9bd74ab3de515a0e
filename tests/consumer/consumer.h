/* A module that uses the C API of redisai-py, every function of it, as any other
 * module would: nothing but Redis' module API and redisai.h. */
#ifndef CONSUMER_H
#define CONSUMER_H
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "redis_api.h"

#include "redisai.h"

/* Where a check runs: on the event loop, with Redis' lock, which it never gives back;
 * or on a thread of its own, which takes the lock only around keys. */
typedef struct world {
    RedisModuleCtx *ctx;
    int in_thread;
    RedisModuleString **argv; /* of the check */
    int argc;
    char failure[512]; /* empty: all is as it should be */
} world;

void lock(world *w);
void unlock(world *w);
const char *word(world *w, int i);
RAI_Tensor *tensor_at(world *w, int i); /* at the key that is argument i; with a reference for the caller */
RAI_Model *model_at(world *w, int i);
RAI_Script *script_at(world *w, int i);
void store_tensor(world *w, const char *key, RAI_Tensor *tensor);

/* The end of a run, as its callback tells it to the thread that waits. */
typedef struct ending {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int calls;
    int on_caller; /* the callback ran on the thread that asked for the run */
    pthread_t caller;
    RAI_OnFinishCtx *finished;
    void (*first)(struct ending *ending); /* done in the callback, before the end is told; may be NULL */
    world *w;
} ending;

void ending_init(ending *e, world *w);
void on_finish(RAI_OnFinishCtx *ctx, void *private_data); /* an RAI_OnFinishCB; private_data is the ending */
int wait_for(ending *e, int calls);                       /* 0 after 20 seconds */

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            snprintf(w->failure, sizeof(w->failure), "%s:%d: not true: %s", __FILE__, __LINE__, #condition); \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)

#define CHECK_TEXT(text, expected)                                                                 \
    do {                                                                                           \
        const char *seen = (text);                                                                 \
        if (seen == NULL || strcmp(seen, (expected)) != 0) {                                       \
            snprintf(w->failure, sizeof(w->failure), "%s:%d: %s is %s", __FILE__, __LINE__, #text, \
                     seen ? seen : "NULL");                                                        \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* The checks: CONSUMER.CHECK LOOP|THREAD name [argument ...]. */
void check_errors(world *w);
void check_tensors(world *w);
void check_stored_tensors(world *w);
void check_changed_tensor(world *w);
void check_model_values(world *w);
void check_model_errors(world *w);
void check_script_values(world *w);
void check_model_sync(world *w);
void check_model_batch(world *w);
void check_model_async(world *w);
void check_async_error(world *w);
void check_sync_in_callback(world *w);
void check_lock_in_callback(world *w);
void check_many_runs(world *w);
void check_script_sync(world *w);
void check_script_async(world *w);
void check_script_redis(world *w);
void check_dag(world *w);
void check_dag_text(world *w);
void check_dag_errors(world *w);
void check_dag_failure(world *w);

#endif
