/* What scripts do with Redis, on worker threads, and on whose behalf. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "commands.h"
#include "internal.h"

/* Commands that take over the connection or the process, or wait for replicas; a
 * script has no connection. */
static const char *const forbidden[] = {"SHUTDOWN", "DEBUG",  "MONITOR", "SYNC",   "PSYNC",
                                        "REPLCONF", "MODULE", "WAIT",    "WAITAOF"};

static _Thread_local rai_call *acting_as;

void rai_call_act_as(rai_call *call) {
    acting_as = call;
}

/* Nobody's rights, or those that this thread acts with. */
static void take_rights(rai_call *call) {
    if (acting_as == NULL) {
        call->trusted = 1;
        return;
    }
    call->trusted = acting_as->trusted;
    call->database = acting_as->database;
    call->client_id = acting_as->client_id;
    call->full_rights = acting_as->full_rights;
    if (acting_as->user.data) call->user = rai_bytes_new(acting_as->user.data, acting_as->user.length);
}

rai_call *rai_call_new(RedisModuleCtx *ctx, const char *function, size_t length) {
    rai_call *call = RedisModule_Calloc(1, sizeof(*call));
    call->function = rai_bytes_new(function, length);
    if (ctx == rai_detached_context()) {
        take_rights(call);
        return call;
    }
    call->database = RedisModule_GetSelectedDb(ctx);
    call->client_id = RedisModule_GetClientId(ctx);
    if (RedisModule_GetCurrentUserName) {
        RedisModuleString *user = RedisModule_GetCurrentUserName(ctx);
        if (user) {
            size_t user_length;
            const char *name = RedisModule_StringPtrLen(user, &user_length);
            call->user = rai_bytes_new(name, user_length);
            RedisModule_FreeString(ctx, user);
        }
    }
    return call;
}

void rai_call_free(rai_call *call) {
    if (call == NULL) return;
    rai_names_free(call->keys);
    rai_names_free(call->args);
    RedisModule_Free(call->list_lengths);
    RedisModule_Free(call->user.data);
    RedisModule_Free(call->function.data);
    RedisModule_Free(call);
}

/* ---- rights ------------------------------------------------------------- */

/* The user of a connected client, from CLIENT LIST; empty when it is gone. */
static RedisModuleString *user_of_client(RedisModuleCtx *ctx, uint64_t client_id) {
    static const char field[] = " user=";
    RedisModuleString *user = NULL;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "CLIENT", "ccl", "LIST", "ID", (long long)client_id);
    size_t length = 0;
    const char *line = reply ? RedisModule_CallReplyStringPtr(reply, &length) : NULL;
    const char *name = line ? memmem(line, length, field, sizeof(field) - 1) : NULL;
    if (name) {
        name += sizeof(field) - 1;
        const char *end = name;
        while (end < line + length && *end != ' ' && *end != '\n') end++;
        user = RedisModule_CreateString(ctx, name, (size_t)(end - name));
    }
    if (reply) RedisModule_FreeCallReply(reply);
    return user;
}

/* Whether ACL GETUSER's flags, the second element of its reply, hold this one. */
static int has_flag(RedisModuleCallReply *flags, const char *wanted) {
    for (size_t i = 0; i < RedisModule_CallReplyLength(flags); i++) {
        size_t length;
        const char *flag = RedisModule_CallReplyStringPtr(RedisModule_CallReplyArrayElement(flags, i), &length);
        if (flag && length == strlen(wanted) && memcmp(flag, wanted, length) == 0) return 1;
    }
    return 0;
}

/* Before 7.0.6 no command can be run as a certain user, so there the user must be
 * allowed everything. Asked once a call: the client may leave while its script runs. */
static int may_do_everything(RedisModuleCtx *ctx, rai_call *call) {
    if (call->full_rights) return call->full_rights > 0;
    RedisModuleString *user = user_of_client(ctx, call->client_id);
    RedisModuleCallReply *reply = user ? RedisModule_Call(ctx, "ACL", "cs", "GETUSER", user) : NULL;
    RedisModuleCallReply *flags = reply ? RedisModule_CallReplyArrayElement(reply, 1) : NULL;
    call->full_rights = flags && has_flag(flags, "allcommands") && has_flag(flags, "allkeys") ? 1 : -1;
    if (reply) RedisModule_FreeCallReply(reply);
    if (user) RedisModule_FreeString(ctx, user);
    return call->full_rights > 0;
}

/* The user as Redis 7 knows it; NULL when it was deleted meanwhile. */
static RedisModuleUser *user_of(RedisModuleCtx *ctx, rai_call *call) {
    RedisModuleString *name = RedisModule_CreateString(ctx, call->user.data ? call->user.data : "", call->user.length);
    RedisModuleUser *user = RedisModule_GetModuleUserFromUserName(name);
    RedisModule_FreeString(ctx, name);
    return user;
}

static int may(RedisModuleCtx *ctx, rai_call *call, RedisModuleString *key, int access) {
    if (call->trusted) return 1;
    if (RedisModule_ACLCheckKeyPermissions == NULL) return may_do_everything(ctx, call);
    RedisModuleUser *user = user_of(ctx, call);
    if (user == NULL) return 0;
    int allowed = RedisModule_ACLCheckKeyPermissions(user, key, access) == REDISMODULE_OK;
    RedisModule_FreeModuleUser(user);
    return allowed;
}

/* ---- calls -------------------------------------------------------------- */

static _Thread_local int holds_redis_lock;

int rai_holds_redis_lock(void) {
    return holds_redis_lock;
}

/* Takes Redis' lock. */
static RedisModuleCtx *enter(rai_call *call) {
    RedisModule_ThreadSafeContextLock(rai_detached_context());
    holds_redis_lock = 1;
    RedisModuleCtx *ctx = RedisModule_GetThreadSafeContext(NULL);
    RedisModule_SelectDb(ctx, call->database);
    return ctx;
}

/* Redis 6.2 replicates what was called when the context goes: before the lock does. */
static void leave(RedisModuleCtx *ctx) {
    RedisModule_FreeThreadSafeContext(ctx);
    holds_redis_lock = 0;
    RedisModule_ThreadSafeContextUnlock(rai_detached_context());
}

static int is_forbidden(const char *command) {
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(*forbidden); i++) {
        if (strcasecmp(command, forbidden[i]) == 0) return 1;
    }
    return 0;
}

static int is_write(RedisModuleCtx *ctx, RedisModuleString *command) {
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "COMMAND", "cs", "INFO", command);
    RedisModuleCallReply *row = reply ? RedisModule_CallReplyArrayElement(reply, 0) : NULL;
    int found = row && RedisModule_CallReplyType(row) == REDISMODULE_REPLY_ARRAY &&
                has_flag(RedisModule_CallReplyArrayElement(row, 2), "write");
    if (reply) RedisModule_FreeCallReply(reply);
    return found;
}

/* Waits, without Redis' lock, for the end of a pause: nothing may be replicated in it. */
static RedisModuleCtx *wait_for_pause(rai_call *call, RedisModuleCtx *ctx) {
    static const struct timespec moment = {0, 2000000};
    while (RedisModule_AvoidReplicaTraffic()) {
        leave(ctx);
        nanosleep(&moment, NULL);
        ctx = enter(call);
    }
    return ctx;
}

/* Runs a command as the call's user; NULL with errno. */
static RedisModuleCallReply *run_as_user(RedisModuleCtx *ctx, rai_call *call, RedisModuleString **words, size_t count) {
    const char *command = RedisModule_StringPtrLen(words[0], NULL);
    errno = EACCES;
    if (is_forbidden(command)) return NULL;
    /* The server may have become a replica since the script began. */
    errno = EROFS;
    if ((RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_READONLY) && is_write(ctx, words[0])) return NULL;
    errno = EACCES;
    if (call->trusted || RedisModule_SetContextUser == NULL) {
        if (!call->trusted && !may_do_everything(ctx, call)) return NULL;
        errno = 0;
        return RedisModule_Call(ctx, command, "!v", words + 1, count - 1);
    }
    RedisModuleUser *user = user_of(ctx, call);
    if (user == NULL) return NULL;
    errno = 0;
    RedisModule_SetContextUser(ctx, user);
    RedisModuleCallReply *reply = RedisModule_Call(ctx, command, "!Cv", words + 1, count - 1);
    int error = errno;
    RedisModule_FreeModuleUser(user);
    errno = error;
    return reply;
}

char *rai_call_redis(rai_call *call, int32_t argc, const char *const *argv, const size_t *lengths,
                     size_t *reply_length) {
    char *copy = NULL;
    RedisModuleCtx *ctx = wait_for_pause(call, enter(call));
    RedisModuleString **words = RedisModule_Alloc((size_t)argc * sizeof(*words));
    for (int32_t i = 0; i < argc; i++) words[i] = RedisModule_CreateString(ctx, argv[i], lengths[i]);
    RedisModuleCallReply *reply = run_as_user(ctx, call, words, (size_t)argc);
    int error = errno;
    if (reply) {
        const char *protocol = RedisModule_CallReplyProto(reply, reply_length);
        copy = RedisModule_Alloc(*reply_length + 1);
        memcpy(copy, protocol, *reply_length);
        RedisModule_FreeCallReply(reply);
    }
    for (int32_t i = 0; i < argc; i++) RedisModule_FreeString(ctx, words[i]);
    RedisModule_Free(words);
    leave(ctx);
    errno = error;
    return copy;
}

void rai_call_free_reply(char *reply) {
    RedisModule_Free(reply);
}

static const char no_permission[] = "NOPERM this user has no permissions to access the key";

/* NULL: the model, or script, at a key may be used. */
static const char *refuse_model(RedisModuleCtx *ctx, rai_call *call, int32_t kind, RedisModuleString *key) {
    if (may(ctx, call, key, REDISMODULE_CMD_KEY_ACCESS)) return NULL;
    return kind == RAI_SCRIPT ? no_permission : "NOPERM this user has no permissions to access the model's key";
}

const char *rai_call_refusal(int32_t kind, RedisModuleString *key) {
    if (acting_as == NULL) return NULL;
    RedisModuleCtx *ctx = RedisModule_GetThreadSafeContext(NULL);
    const char *error = refuse_model(ctx, acting_as, kind, key);
    RedisModule_FreeThreadSafeContext(ctx);
    return error;
}

/* Whether a key is served by this node; only a cluster has others. */
static int is_here(RedisModuleCtx *ctx, RedisModuleString *key) {
    if (!(RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_CLUSTER)) return 1;
    errno = 0;
    RedisModuleCallReply *reply = RedisModule_Call(ctx, "TYPE", "s", key);
    int here = reply != NULL || errno != EPERM;
    if (reply) RedisModule_FreeCallReply(reply);
    return here;
}

rai_model *rai_call_find_model(rai_call *call, int32_t kind, const char *key, size_t length, const char **error) {
    RedisModuleCtx *ctx = enter(call);
    RedisModuleString *name = RedisModule_CreateString(ctx, key, length);
    RedisModuleKey *opened = NULL;
    rai_model *model = NULL;
    const char *refusal = refuse_model(ctx, call, kind, name);
    *error = refusal ? refusal : kind == RAI_SCRIPT ? "ERR script key is empty" : "ERR model key is empty";
    if (refusal == NULL && (opened = RedisModule_OpenKey(ctx, name, REDISMODULE_READ)) != NULL) {
        if (RedisModule_ModuleTypeGetType(opened) == (kind == RAI_SCRIPT ? rai_types.script : rai_types.model)) {
            model = rai_model_retain(RedisModule_ModuleTypeGetValue(opened));
        } else if (kind == RAI_MODEL && RedisModule_ModuleTypeGetType(opened) == rai_types.alias) {
            model = rai_alias_target(ctx, RedisModule_ModuleTypeGetValue(opened));
            if (model) rai_model_retain(model);
        } else if (RedisModule_KeyType(opened) != REDISMODULE_KEYTYPE_EMPTY) {
            *error = "WRONGTYPE Operation against a key holding the wrong kind of value";
        }
    }
    RedisModule_CloseKey(opened);
    RedisModule_FreeString(ctx, name);
    leave(ctx);
    return model;
}

/* ---- tensors of flows ------------------------------------------------------ */

static const char not_here[] = "Given key is not in the current shard";

static rai_tensor *find_tensor(RedisModuleCtx *ctx, rai_call *call, RedisModuleString *name, const char **error) {
    rai_tensor *tensor = NULL;
    if (!is_here(ctx, name)) {
        *error = not_here;
    } else if (!may(ctx, call, name, REDISMODULE_CMD_KEY_ACCESS)) {
        *error = no_permission;
    } else {
        RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
        int is_empty = key == NULL || RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY;
        if (!is_empty && RedisModule_ModuleTypeGetType(key) == rai_types.tensor) {
            tensor = rai_tensor_retain(RedisModule_ModuleTypeGetValue(key));
        } else {
            *error = is_empty ? "ERR tensor key is empty" : "ERR key is not a tensor";
        }
        RedisModule_CloseKey(key);
    }
    return tensor;
}

int rai_call_find_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                          rai_tensor **tensors, const char **error) {
    int64_t found = 0;
    RedisModuleCtx *ctx = enter(call);
    for (; found < count; found++) {
        RedisModuleString *name = RedisModule_CreateString(ctx, keys[found], lengths[found]);
        tensors[found] = find_tensor(ctx, call, name, error);
        RedisModule_FreeString(ctx, name);
        if (tensors[found] == NULL) break;
    }
    for (int64_t i = 0; found < count && i < found; i++) rai_tensor_release(tensors[i]);
    leave(ctx);
    return found == count;
}

static const char *refuse_to_store(RedisModuleCtx *ctx, rai_call *call, RedisModuleString *name) {
    if (!is_here(ctx, name)) return not_here;
    if (!may(ctx, call, name, REDISMODULE_CMD_KEY_UPDATE)) return no_permission;
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
    int free = key == NULL || RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY ||
               RedisModule_ModuleTypeGetType(key) == rai_types.tensor;
    RedisModule_CloseKey(key);
    return free ? NULL : "ERR Key is already set with non tensor values.";
}

int rai_call_store_tensors(rai_call *call, int64_t count, const char *const *keys, const size_t *lengths,
                           rai_tensor *const *tensors, const char **error) {
    RedisModuleCtx *ctx = wait_for_pause(call, enter(call));
    RedisModuleString **names = RedisModule_Alloc((size_t)(count + 1) * sizeof(*names));
    /* The server may have become a replica since the flow began. */
    int read_only = RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_READONLY;
    *error = read_only ? "READONLY You can't write against a read only replica." : NULL;
    for (int64_t i = 0; i < count; i++) {
        names[i] = RedisModule_CreateString(ctx, keys[i], lengths[i]);
        if (*error == NULL) *error = refuse_to_store(ctx, call, names[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        if (*error == NULL) rai_hooks.store_tensor(ctx, names[i], tensors[i]);
        RedisModule_FreeString(ctx, names[i]);
    }
    RedisModule_Free(names);
    leave(ctx);
    return *error == NULL;
}
