/* Flows: Python functions of the operator that clients call, or events start. They
 * run on a thread of their own, and on more that it starts; everything that they are
 * to hear of reaches that thread as a message, in order. Posting one needs a C lock
 * for a few instructions and never Python. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shared_api_internal.h"

enum {
    MOST_WAITING = 100000, /* events of one flow; more are dropped */
    START_DELAY_MS = 1,    /* timers do not fire before the server is up */
    LOADING_DELAY_MS = 50,
    ALL_EVENTS = REDISMODULE_NOTIFY_GENERIC | REDISMODULE_NOTIFY_STRING | REDISMODULE_NOTIFY_LIST |
        REDISMODULE_NOTIFY_SET | REDISMODULE_NOTIFY_HASH | REDISMODULE_NOTIFY_ZSET | REDISMODULE_NOTIFY_EXPIRED |
        REDISMODULE_NOTIFY_EVICTED | REDISMODULE_NOTIFY_STREAM | REDISMODULE_NOTIFY_MODULE
};

static char *flows_path;
static rai_flow *flows;      /* only ever appended to, by the thread of the flows */
static rai_flow_file *files; /* the same */
static int triggered;        /* there are flows that events start */

static pthread_mutex_t messages_lock = PTHREAD_MUTEX_INITIALIZER;
static rai_flow_message *first_message, *last_message;
static int descriptor = -1;

const char *rai_flows_path(void) {
    return flows_path;
}

/* ---- messages ------------------------------------------------------------------ */

int rai_flows_descriptor(void) {
    return descriptor;
}

static void append(rai_flow_message *message) {
    static const uint64_t one = 1;
    int was_empty = first_message == NULL;
    if (was_empty) {
        first_message = message;
    } else {
        last_message->next = message;
    }
    last_message = message;
    if (was_empty && write(descriptor, &one, sizeof(one)) < 0) rai_log("warning", "flows cannot be woken");
}

static void post(rai_flow_message *message) {
    pthread_mutex_lock(&messages_lock);
    append(message);
    pthread_mutex_unlock(&messages_lock);
}

static rai_flow_message *message_new(rai_flow_message_kind kind) {
    rai_flow_message *message = RedisModule_Calloc(1, sizeof(*message));
    message->kind = kind;
    return message;
}

rai_flow_message *rai_flows_take(void) {
    uint64_t count;
    pthread_mutex_lock(&messages_lock);
    rai_flow_message *all = first_message;
    first_message = last_message = NULL;
    if (all && read(descriptor, &count, sizeof(count)) < 0) rai_log("warning", "flows cannot be read");
    pthread_mutex_unlock(&messages_lock);
    return all;
}

void rai_flow_message_free(rai_flow_message *message) {
    RedisModule_Free(message->event.data);
    RedisModule_Free(message->key.data);
    RedisModule_Free(message);
}

/* ---- calls ------------------------------------------------------------------------ */

void rai_flow_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply) {
    rai_job_block(ctx, job, reply);
    rai_flow_message *message = message_new(RAI_FLOW_CALLED);
    message->job = job;
    post(message);
}

void rai_flow_left(const rai_job *job) {
    rai_flow_message *message = message_new(RAI_FLOW_LEFT);
    message->id = job->id;
    post(message);
}

void rai_flow_reply(rai_job *job, const char *nodes, size_t length, rai_tensor *const *tensors, int32_t count) {
    rai_reply *reply = RedisModule_Calloc(1, sizeof(*reply));
    reply->nodes = rai_bytes_new(nodes, length);
    reply->tensor_count = count;
    reply->tensors = RedisModule_Alloc((size_t)(count + 1) * sizeof(*reply->tensors));
    for (int32_t i = 0; i < count; i++) reply->tensors[i] = rai_tensor_retain(tensors[i]);
    job->reply = reply;
}

void rai_reply_free(rai_reply *reply) {
    if (reply == NULL) return;
    for (int32_t i = 0; i < reply->tensor_count; i++) rai_tensor_release(reply->tensors[i]);
    RedisModule_Free(reply->tensors);
    RedisModule_Free(reply->nodes.data);
    RedisModule_Free(reply);
}

/* ---- runs ------------------------------------------------------------------------- */

void rai_flow_run_finished(RAI_OnFinishCtx *ctx, void *private_data) {
    rai_flow_message *message = message_new(RAI_FLOW_FINISHED);
    message->finished = ctx;
    message->id = (int64_t)(intptr_t)private_data;
    post(message);
}

void rai_flow_run_models(RAI_ModelRunCtx **contexts, const int64_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        RAI_ModelRunAsync(contexts[i], rai_flow_run_finished, (void *)(intptr_t)numbers[i]);
    }
}

int rai_flow_add_operations(RAI_DAGRunCtx *dag, const char *text, rai_call *call, RAI_Error *err) {
    RedisModuleCtx *ctx = rai_detached_context();
    RedisModule_ThreadSafeContextLock(ctx);
    RedisModule_SelectDb(ctx, call->database);
    rai_call_act_as(call);
    int failed = RAI_DAGAddOpsFromString(dag, text, err);
    rai_call_act_as(NULL);
    RedisModule_SelectDb(ctx, 0);
    RedisModule_ThreadSafeContextUnlock(ctx);
    return failed;
}

/* ---- what is registered -------------------------------------------------------------- */

rai_flow *rai_flow_register(int32_t trigger, const char *name, const char *pattern, const char *event) {
    rai_flow *flow = RedisModule_Calloc(1, sizeof(*flow)), **last = &flows;
    flow->name = rai_text_new(name);
    flow->trigger = trigger;
    flow->pattern = pattern ? rai_text_new(pattern) : NULL;
    flow->event = event ? rai_text_new(event) : NULL;
    while (*last) last = &(*last)->next;
    __atomic_store_n(last, flow, __ATOMIC_RELEASE);
    if (pattern) __atomic_store_n(&triggered, 1, __ATOMIC_RELEASE);
    return flow;
}

void rai_flow_begin(rai_flow *flow, int waited) {
    if (waited) __atomic_sub_fetch(&flow->waiting, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&flow->calls, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&flow->running, 1, __ATOMIC_RELAXED);
}

void rai_flow_end(rai_flow *flow, int failed) {
    if (failed) __atomic_add_fetch(&flow->errors, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&flow->running, 1, __ATOMIC_RELAXED);
}

void rai_flow_heard(rai_flow *flow) {
    __atomic_sub_fetch(&flow->waiting, 1, __ATOMIC_RELAXED);
}

rai_flow_file *rai_flow_file_new(const char *name) {
    rai_flow_file *file = RedisModule_Calloc(1, sizeof(*file)), **last = &files;
    file->name = rai_text_new(name);
    while (*last) last = &(*last)->next;
    __atomic_store_n(last, file, __ATOMIC_RELEASE);
    return file;
}

void rai_flow_file_done(rai_flow_file *file, const char *error) {
    if (error) {
        file->error = rai_text_new(error);
        for (char *c = file->error; *c; c++) {
            if (*c == '\r' || *c == '\n') *c = ' ';
        }
    }
    __atomic_store_n(&file->state, error ? RAI_FLOW_FAILED : RAI_FLOW_LOADED, __ATOMIC_RELEASE);
}

/* ---- events ------------------------------------------------------------------------- */

/* Whether a character is in the class behind [; *pattern moves to what follows ]. */
static int in_class(const char **pattern, char c) {
    const char *p = *pattern;
    int negated = *p == '^', found = 0;
    p += negated;
    while (*p && *p != ']') {
        if (*p == '\\' && p[1]) p++;
        char from = *p++, to = from;
        if (*p == '-' && p[1] && p[1] != ']') {
            to = p[1];
            p += 2;
        }
        if ((from <= c && c <= to) || (to <= c && c <= from)) found = 1;
    }
    *pattern = *p ? p + 1 : p;
    return found != negated;
}

/* Glob patterns as Redis has them: * ? [a-z] [^a] and \ before what is meant as it stands. */
static int matches(const char *pattern, const char *text, size_t length) {
    const char *end = text + length, *star = NULL, *retry = NULL;
    while (text < end || *pattern == '*') {
        const char *next = pattern + 1;
        int one = 0;
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
            continue;
        }
        if (*pattern == '?') {
            one = 1;
        } else if (*pattern == '[') {
            one = in_class(&next, *text);
        } else if (*pattern == '\\' && pattern[1]) {
            one = pattern[1] == *text;
            next = pattern + 2;
        } else {
            one = *pattern && *pattern == *text;
        }
        if (one) {
            pattern = next;
            text++;
        } else if (star && retry < end) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return 0;
        }
    }
    return *pattern == 0;
}

/* A stream's flow is told once that there is something new. Called with the lock held. */
static int is_told_already(const rai_flow *flow, int32_t database, const char *key, size_t length) {
    const rai_flow_message *last = last_message;
    return flow->trigger == RAI_FLOW_STREAM && last && last->flow == flow && last->database == database &&
           last->key.length == length && memcmp(last->key.data, key, length) == 0;
}

static void happen(rai_flow *flow, int32_t database, const char *event, const char *key, size_t length) {
    if (__atomic_load_n(&flow->waiting, __ATOMIC_RELAXED) >= MOST_WAITING) {
        __atomic_add_fetch(&flow->dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    pthread_mutex_lock(&messages_lock);
    if (!is_told_already(flow, database, key, length)) {
        rai_flow_message *message = message_new(RAI_FLOW_HAPPENED);
        message->flow = flow;
        message->database = database;
        message->event = rai_bytes_new(event, strlen(event));
        message->key = rai_bytes_new(key, length);
        __atomic_add_fetch(&flow->waiting, 1, __ATOMIC_RELAXED);
        append(message);
    }
    pthread_mutex_unlock(&messages_lock);
}

/* Called for every change of a key, with Redis' lock. A replica leaves flows to its master. */
static int on_event(RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key) {
    (void)type;
    if (!__atomic_load_n(&triggered, __ATOMIC_ACQUIRE)) return REDISMODULE_OK;
    size_t length;
    const char *name = RedisModule_StringPtrLen(key, &length);
    for (rai_flow *flow = __atomic_load_n(&flows, __ATOMIC_ACQUIRE); flow;
         flow = __atomic_load_n(&flow->next, __ATOMIC_ACQUIRE)) {
        if (flow->pattern == NULL || (flow->event && strcmp(flow->event, event) != 0)) continue;
        if (!matches(flow->pattern, name, length)) continue;
        int flags = RedisModule_GetContextFlags(ctx);
        if (flags & (REDISMODULE_CTX_FLAGS_SLAVE | REDISMODULE_CTX_FLAGS_LOADING)) break;
        happen(flow, RedisModule_GetSelectedDb(ctx), event, name, length);
    }
    return REDISMODULE_OK;
}

/* ---- start ---------------------------------------------------------------------------- */

static void *serve(void *unused) {
    (void)unused;
    rai_serve_flows();
    return NULL;
}

/* Files may run commands while they are loaded, so they have to wait for the data. */
static void start(RedisModuleCtx *ctx, void *unused) {
    pthread_t thread;
    if (RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_LOADING) {
        RedisModule_CreateTimer(ctx, LOADING_DELAY_MS, start, unused);
    } else if (rai_thread_start(&thread, serve, NULL, "ai-FLOWS") != 0) {
        rai_log("warning", "flows have no thread");
    }
}

int rai_flows_set_path(const char *path) {
    if (access(path, R_OK) != 0) return REDISMODULE_ERR;
    if (descriptor < 0) descriptor = eventfd(0, EFD_CLOEXEC);
    if (descriptor < 0) return REDISMODULE_ERR;
    RedisModule_Free(flows_path);
    flows_path = rai_text_new(path);
    return REDISMODULE_OK;
}

void rai_flows_subscribe(RedisModuleCtx *ctx) {
    if (flows_path == NULL) return;
    RedisModule_SubscribeToKeyspaceEvents(ctx, ALL_EVENTS, on_event);
    RedisModule_CreateTimer(ctx, START_DELAY_MS, start, NULL);
}

/* ---- INFO: without locks, without memory --------------------------------------------- */

static void add_file(RedisModuleInfoCtx *ctx, int number, const rai_flow_file *file) {
    static const char *const states[] = {"loading", "loaded", "failed"};
    char field[32], value[512];
    int state = __atomic_load_n(&file->state, __ATOMIC_ACQUIRE);
    snprintf(field, sizeof(field), "flow_file_%d", number);
    snprintf(value, sizeof(value), "name=%s,state=%s", file->name, states[state]);
    RedisModule_InfoAddFieldCString(ctx, field, value);
    if (state != RAI_FLOW_FAILED) return;
    snprintf(field, sizeof(field), "flow_file_%d_error", number);
    RedisModule_InfoAddFieldCString(ctx, field, file->error);
}

static void add_flow(RedisModuleInfoCtx *ctx, int number, const rai_flow *flow) {
    static const char *const triggers[] = {"command", "event", "stream"};
    char field[32], value[768];
    snprintf(field, sizeof(field), "flow_%d", number);
    snprintf(value, sizeof(value),
             "name=%.512s,trigger=%s,calls=%lld,errors=%lld,running=%lld,waiting=%lld,dropped=%lld", flow->name,
             triggers[flow->trigger], (long long)flow->calls, (long long)flow->errors, (long long)flow->running,
             (long long)flow->waiting, (long long)flow->dropped);
    RedisModule_InfoAddFieldCString(ctx, field, value);
}

void rai_flows_add_info(RedisModuleInfoCtx *ctx) {
    int number = 0;
    if (flows_path == NULL) return;
    RedisModule_InfoAddSection(ctx, "flows");
    for (const rai_flow_file *file = __atomic_load_n(&files, __ATOMIC_ACQUIRE); file; file = file->next) {
        add_file(ctx, number++, file);
    }
    number = 0;
    for (const rai_flow *flow = __atomic_load_n(&flows, __ATOMIC_ACQUIRE); flow; flow = flow->next) {
        add_flow(ctx, number++, flow);
    }
}
