/* Replies of AI.TENSORGET with META and BLOB that are kept.
 *
 * Such a reply has eight parts or more, each of which costs a call of Redis' module API; of
 * a small tensor they take longer than all else that the command does. A reply that Redis
 * has made before, in its wire format, is one part. Those of a bounded number of tensors,
 * which were read often, are kept. */
#include "internal.h"

enum { PLACES = 1024, LARGEST = 1024 /* bytes */, READS_BEFORE = 64 };

/* A reply in both of Redis' protocols. Redis refuses to send that of RESP3, a map, to a
 * client of RESP2, which is the fastest way to find out what a client has. Redis 6.2
 * knows no maps of modules, and has one reply for both. */
typedef struct kept {
    RedisModuleCallReply *resp2, *resp3;
} kept;

static struct {
    rai_tensor *tensor; /* not held: whoever frees it empties its place */
    kept reply;
} places[PLACES];
static int next_place; /* event loop */

/* Guards the places against those who free tensors on other threads. The event loop alone
 * fills them, and reads those of tensors that others hold meanwhile. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Empties a place and returns its reply, to be freed. Called with the lock held. */
static kept empty(int place) {
    kept reply = places[place].reply;
    /* The last access to the tensor, which somebody may be about to free. */
    if (places[place].tensor) __atomic_store_n(&places[place].tensor->kept.place, 0, __ATOMIC_RELEASE);
    places[place].tensor = NULL;
    places[place].reply = (kept){NULL, NULL};
    return reply;
}

static void free_reply(kept reply) {
    if (reply.resp2) RedisModule_FreeCallReply(reply.resp2);
    if (reply.resp3) RedisModule_FreeCallReply(reply.resp3);
}

void rai_kept_forget(rai_tensor *tensor) {
    if (__atomic_load_n(&tensor->kept.place, __ATOMIC_ACQUIRE) == 0) return;
    pthread_mutex_lock(&lock);
    int place = tensor->kept.place;
    kept reply = {NULL, NULL};
    if (place > 0) reply = empty(place - 1);
    pthread_mutex_unlock(&lock);
    free_reply(reply);
}

void rai_kept_moved(rai_tensor *tensor) {
    if (tensor->kept.place > 0) places[tensor->kept.place - 1].tensor = tensor;
}

void rai_tensor_may_change(rai_tensor *tensor) {
    __atomic_store_n(&tensor->kept.may_change, 1, __ATOMIC_RELAXED);
}

/* The reply, made by the command itself. */
static kept make(RedisModuleCtx *ctx, const RedisModuleString *key) {
    RedisModuleCtx *detached = rai_detached_context(); /* the reply outlives ctx */
    int database = RedisModule_GetSelectedDb(detached);
    RedisModule_SelectDb(detached, RedisModule_GetSelectedDb(ctx));
    kept reply = {RedisModule_Call(detached, "AI.TENSORGET", "scc", key, "META", "BLOB"), NULL};
    if (RedisModule_ReplyWithMap) reply.resp3 = RedisModule_Call(detached, "AI.TENSORGET", "3scc", key, "META", "BLOB");
    RedisModule_SelectDb(detached, database);
    return reply;
}

static int is_of_type(RedisModuleCallReply *reply, int type) {
    return reply && RedisModule_CallReplyType(reply) == type;
}

/* Whether it is no error, say because the key has just expired. */
static int is_good(kept reply) {
    return is_of_type(reply.resp2, REDISMODULE_REPLY_ARRAY) &&
           (RedisModule_ReplyWithMap == NULL || is_of_type(reply.resp3, REDISMODULE_REPLY_MAP));
}

/* Puts the tensor's reply into the place that was filled first. */
static void keep(RedisModuleCtx *ctx, const RedisModuleString *key, rai_tensor *tensor) {
    kept reply = make(ctx, key);
    if (!is_good(reply)) {
        free_reply(reply);
        return;
    }
    pthread_mutex_lock(&lock);
    kept former = empty(next_place);
    places[next_place].tensor = tensor;
    places[next_place].reply = reply;
    tensor->kept.place = (uint16_t)(next_place + 1);
    pthread_mutex_unlock(&lock);
    next_place = (next_place + 1) % PLACES;
    free_reply(former);
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
    kept reply = places[tensor->kept.place - 1].reply;
    if (reply.resp3 && RedisModule_ReplyWithCallReply(ctx, reply.resp3) == REDISMODULE_OK) return 1;
    return RedisModule_ReplyWithCallReply(ctx, reply.resp2) == REDISMODULE_OK;
}
