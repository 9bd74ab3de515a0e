/* Redis, as scripts see it: calls.c. */
#ifndef RAI_CALLS_H
#define RAI_CALLS_H
#include "job.h"

/* What a script asks of Redis: done by a worker that holds Redis' lock and, since
 * the order is Redis' lock first, then the GIL, not the GIL. */

/* Runs a command with the rights of the call's user, in its database, and
 * replicates its effects. The reply is RESP2, in a buffer that the caller frees
 * with rai_call_free_reply. NULL: the command was not run, errno tells why. */
char *rai_call_redis(rai_call *call, int32_t argc, const char *const *argv, const size_t *lengths,
                     size_t *reply_length);
void rai_call_free_reply(char *reply);
/* The model, or script, at a key, with a reference for the caller; NULL with the error. */
rai_model *rai_call_find_model(rai_call *call, int32_t kind, const char *key, size_t length, const char **error);
/* NULL, or why whoever this thread acts as must not use the model, or script, at a key (with Redis' lock). */
const char *rai_call_refusal(int32_t kind, RedisModuleString *key);
/* The tensors at some keys, with references for the caller: all, and 1, or none, and the error. */
int rai_call_find_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                          rai_tensor **tensors, const char **error);
/* Stores and replicates tensors: all, and 1, or none, and the error. */
int rai_call_store_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                           rai_tensor *const *tensors, const char **error);

#endif
