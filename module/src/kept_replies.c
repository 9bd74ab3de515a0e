/* Replies of AI.TENSORGET with META and BLOB that are kept.
 *
 * Such a reply has eight parts or more, each of which costs a call of Redis' module API; of
 * a small tensor they take longer than all else that the command does. A reply that Redis
 * has made before, in its wire format, is one part. Those of a bounded number of tensors,
 * which were read often, are kept. */
#include "internal.h"

enum { PLACES = 1024, LARGEST = 1024 /* bytes */, READS_BEFORE = 64 };

static struct {
    rai_tensor *tensor; /* not held: whoever frees it empties its place */
    RedisModuleCallReply *reply;
} places[PLACES];
static int next_place; /* event loop */

/* Guards the places against those who free tensors on other threads. The event loop alone
 * fills them, and reads those of tensors that others hold meanwhile. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Empties a place and returns its reply, to be freed. Called with the lock held. */
static RedisModuleCallReply *empty(int place) {
    RedisModuleCallReply *reply = places[place].reply;
    /* The last access to the tensor, which somebody may be about to free. */
    if (reply) __atomic_store_n(&places[place].tensor->kept.place, 0, __ATOMIC_RELEASE);
    places[place].tensor = NULL;
    places[place].reply = NULL;
    return reply;
}

void rai_kept_forget(rai_tensor *tensor) {
    if (__atomic_load_n(&tensor->kept.place, __ATOMIC_ACQUIRE) == 0) return;
    pthread_mutex_lock(&lock);
    int place = tensor->kept.place;
    RedisModuleCallReply *reply = place > 0 ? empty(place - 1) : NULL;
    pthread_mutex_unlock(&lock);
    if (reply) RedisModule_FreeCallReply(reply);
}

void rai_kept_moved(rai_tensor *tensor) {
    if (tensor->kept.place > 0) places[tensor->kept.place - 1].tensor = tensor;
}

void rai_tensor_may_change(rai_tensor *tensor) {
    __atomic_store_n(&tensor->kept.may_change, 1, __ATOMIC_RELAXED);
}

/* The reply, made by the command itself; NULL: it is an error. */
static RedisModuleCallReply *make(RedisModuleCtx *ctx, const RedisModuleString *key) {
    RedisModuleCtx *detached = rai_detached_context(); /* the reply outlives ctx */
    int database = RedisModule_GetSelectedDb(detached);
    RedisModule_SelectDb(detached, RedisModule_GetSelectedDb(ctx));
    RedisModuleCallReply *reply = RedisModule_Call(detached, "AI.TENSORGET", "scc", key, "META", "BLOB");
    RedisModule_SelectDb(detached, database);
    if (reply == NULL || RedisModule_CallReplyType(reply) == REDISMODULE_REPLY_ARRAY) return reply;
    RedisModule_FreeCallReply(reply);
    return NULL;
}

/* Puts the tensor's reply into the place that was filled first. */
static void keep(RedisModuleCtx *ctx, const RedisModuleString *key, rai_tensor *tensor) {
    RedisModuleCallReply *reply = make(ctx, key);
    if (reply == NULL) return;
    pthread_mutex_lock(&lock);
    RedisModuleCallReply *former = empty(next_place);
    places[next_place].tensor = tensor;
    places[next_place].reply = reply;
    tensor->kept.place = (uint16_t)(next_place + 1);
    pthread_mutex_unlock(&lock);
    next_place = (next_place + 1) % PLACES;
    if (former) RedisModule_FreeCallReply(former);
}

int rai_kept_reply(RedisModuleCtx *ctx, const RedisModuleString *key, rai_tensor *tensor) {
    if (tensor->byte_length > LARGEST || __atomic_load_n(&tensor->kept.may_change, __ATOMIC_RELAXED)) return 0;
    if (tensor->kept.place == 0) {
        if (++tensor->kept.reads < READS_BEFORE) return 0;
        tensor->kept.reads = 0; /* for the command that makes it */
        rai_tensor_retain(tensor);
        keep(ctx, key, tensor);
        rai_tensor_release(tensor);
        return 0;
    }
    /* Clients of RESP3 get a map. */
    if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_RESP3) return 0;
    return RedisModule_ReplyWithCallReply(ctx, places[tensor->kept.place - 1].reply) == REDISMODULE_OK;
}
