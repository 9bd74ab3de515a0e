#include "consumer.h"

#include <errno.h>
#include <time.h>

static const struct {
    const char *name;
    void (*body)(world *w);
} checks[] = {
    {"errors", check_errors},
    {"tensors", check_tensors},
    {"stored_tensors", check_stored_tensors},
    {"changed_tensor", check_changed_tensor},
    {"model_values", check_model_values},
    {"model_errors", check_model_errors},
    {"script_values", check_script_values},
    {"model_sync", check_model_sync},
    {"model_batch", check_model_batch},
    {"model_async", check_model_async},
    {"async_error", check_async_error},
    {"sync_in_callback", check_sync_in_callback},
    {"lock_in_callback", check_lock_in_callback},
    {"many_runs", check_many_runs},
    {"script_sync", check_script_sync},
    {"script_async", check_script_async},
    {"script_redis", check_script_redis},
    {"dag", check_dag},
    {"dag_text", check_dag_text},
    {"dag_errors", check_dag_errors},
    {"dag_failure", check_dag_failure},
};

/* ---- what the checks use ------------------------------------------------------------- */

void lock(world *w) {
    if (w->in_thread) RedisModule_ThreadSafeContextLock(w->ctx);
}

void unlock(world *w) {
    if (w->in_thread) RedisModule_ThreadSafeContextUnlock(w->ctx);
}

const char *word(world *w, int i) {
    return RedisModule_StringPtrLen(w->argv[i], NULL);
}

static void *value_at(world *w, int i, RedisModuleType *type) {
    void *value = NULL;
    RedisModuleKey *key = RedisModule_OpenKey(w->ctx, w->argv[i], REDISMODULE_READ);
    if (key && RedisModule_ModuleTypeGetType(key) == type) value = RedisModule_ModuleTypeGetValue(key);
    RedisModule_CloseKey(key);
    return value;
}

RAI_Tensor *tensor_at(world *w, int i) {
    lock(w);
    RAI_Tensor *tensor = value_at(w, i, RedisAI_TensorRedisType());
    if (tensor) tensor = RedisAI_TensorGetShallowCopy(tensor);
    unlock(w);
    return tensor;
}

RAI_Model *model_at(world *w, int i) {
    RAI_Model *model = NULL;
    lock(w);
    RAI_Model *found = value_at(w, i, RedisAI_ModelRedisType());
    /* The key's value is what GetModelFromKeyspace gives. */
    if (RedisAI_GetModelFromKeyspace(w->ctx, w->argv[i], &model, REDISMODULE_READ, NULL) != 0 || model != found) {
        model = NULL;
    }
    if (model) model = RedisAI_ModelGetShallowCopy(model);
    unlock(w);
    return model;
}

RAI_Script *script_at(world *w, int i) {
    RAI_Script *script = NULL;
    lock(w);
    RAI_Script *found = value_at(w, i, RedisAI_ScriptRedisType());
    if (RedisAI_GetScriptFromKeyspace(w->ctx, w->argv[i], &script, REDISMODULE_READ, NULL) != 0 || script != found) {
        script = NULL;
    }
    if (script) script = RedisAI_ScriptGetShallowCopy(script);
    unlock(w);
    return script;
}

void store_tensor(world *w, const char *name, RAI_Tensor *tensor) {
    lock(w);
    RedisModuleString *string = RedisModule_CreateString(w->ctx, name, strlen(name));
    RedisModuleKey *key = RedisModule_OpenKey(w->ctx, string, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, RedisAI_TensorRedisType(), RedisAI_TensorGetShallowCopy(tensor));
    RedisModule_CloseKey(key);
    RedisModule_FreeString(w->ctx, string);
    unlock(w);
}

/* ---- callbacks -------------------------------------------------------------------------- */

void ending_init(ending *e, world *w) {
    memset(e, 0, sizeof(*e));
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    e->caller = pthread_self();
    e->w = w;
}

void on_finish(RAI_OnFinishCtx *ctx, void *private_data) {
    ending *e = private_data;
    e->finished = ctx;
    if (pthread_equal(pthread_self(), e->caller)) e->on_caller = 1;
    if (e->first) e->first(e);
    pthread_mutex_lock(&e->lock);
    e->calls++;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

int wait_for(ending *e, int calls) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&e->lock);
    int error = 0;
    while (e->calls < calls && error != ETIMEDOUT) error = pthread_cond_timedwait(&e->changed, &e->lock, &until);
    int done = e->calls >= calls;
    pthread_mutex_unlock(&e->lock);
    return done && !e->on_caller;
}

/* ---- the commands --------------------------------------------------------------------------- */

typedef struct task {
    world w;
    void (*body)(world *w);
    RedisModuleBlockedClient *client;
} task;

static int reply_with(RedisModuleCtx *ctx, const world *w) {
    if (w->failure[0]) return RedisModule_ReplyWithError(ctx, w->failure);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static int reply(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv, (void)argc;
    return reply_with(ctx, &((task *)RedisModule_GetBlockedClientPrivateData(ctx))->w);
}

static void free_task(RedisModuleCtx *ctx, void *private_data) {
    task *done = private_data;
    for (int i = 0; i < done->w.argc; i++) RedisModule_FreeString(ctx, done->w.argv[i]);
    RedisModule_Free(done->w.argv);
    RedisModule_Free(done);
}

static void *run_task(void *argument) {
    task *running = argument;
    running->w.ctx = RedisModule_GetThreadSafeContext(NULL);
    running->body(&running->w);
    RedisModule_FreeThreadSafeContext(running->w.ctx);
    RedisModule_UnblockClient(running->client, running);
    return NULL;
}

static int start_task(RedisModuleCtx *ctx, void (*body)(world *w), RedisModuleString **argv, int argc) {
    pthread_t thread;
    task *started = RedisModule_Calloc(1, sizeof(*started));
    started->body = body;
    started->w.in_thread = 1;
    started->w.argc = argc;
    started->w.argv = RedisModule_Alloc((size_t)(argc + 1) * sizeof(*argv));
    for (int i = 0; i < argc; i++) {
        size_t length;
        const char *text = RedisModule_StringPtrLen(argv[i], &length);
        started->w.argv[i] = RedisModule_CreateString(NULL, text, length);
    }
    started->client = RedisModule_BlockClient(ctx, reply, NULL, free_task, 0);
    pthread_create(&thread, NULL, run_task, started);
    return pthread_detach(thread);
}

static int check_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc < 3) return RedisModule_WrongArity(ctx);
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (strcmp(checks[i].name, RedisModule_StringPtrLen(argv[2], NULL)) != 0) continue;
        if (strcmp(RedisModule_StringPtrLen(argv[1], NULL), "THREAD") == 0) {
            return start_task(ctx, checks[i].body, argv + 3, argc - 3);
        }
        world w = {.ctx = ctx, .argv = argv + 3, .argc = argc - 3};
        checks[i].body(&w);
        return reply_with(ctx, &w);
    }
    return RedisModule_ReplyWithError(ctx, "ERR no such check");
}

/* CONSUMER.RUN model input output: an asynchronous run, as a command of another
 * module would have it; what the benchmark compares with AI.MODELEXECUTE. */
static void answer_run(RAI_OnFinishCtx *ctx, void *private_data) {
    RedisModule_UnblockClient(private_data, RedisAI_GetAsModelRunCtx(ctx, NULL));
}

static int reply_to_run(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argc;
    RAI_ModelRunCtx *ran = RedisModule_GetBlockedClientPrivateData(ctx);
    RAI_Tensor *output = RedisAI_ModelRunCtxOutputTensor(ran, 0);
    if (output == NULL) return RedisModule_ReplyWithError(ctx, "ERR the run failed");
    RedisModuleKey *key = RedisModule_OpenKey(ctx, argv[3], REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, RedisAI_TensorRedisType(), RedisAI_TensorGetShallowCopy(output));
    RedisModule_CloseKey(key);
    return RedisModule_ReplyWithSimpleString(ctx, "OK");
}

static void free_run(RedisModuleCtx *ctx, void *private_data) {
    (void)ctx;
    RedisAI_ModelRunCtxFree(private_data);
}

static int run_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 4) return RedisModule_WrongArity(ctx);
    RAI_Model *model = NULL;
    world w = {.ctx = ctx, .argv = argv, .argc = argc};
    RAI_Tensor *input = tensor_at(&w, 2);
    RedisAI_GetModelFromKeyspace(ctx, argv[1], &model, REDISMODULE_READ, NULL);
    if (model == NULL || input == NULL) return RedisModule_ReplyWithError(ctx, "ERR no such key");
    RAI_ModelRunCtx *run = RedisAI_ModelRunCtxCreate(model);
    RedisAI_ModelRunCtxAddInput(run, "input", input);
    RedisAI_ModelRunCtxAddOutput(run, "output");
    RedisAI_TensorFree(input);
    return RedisAI_ModelRunAsync(run, answer_run, RedisModule_BlockClient(ctx, reply_to_run, NULL, free_run, 0));
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv, (void)argc;
    if (redis_api_resolve(ctx)) return REDISMODULE_ERR;
    RedisModule_SetModuleAttribs(ctx, "consumer", 1, REDISMODULE_APIVER_1);
    if (RedisAI_Initialize(ctx) != REDISMODULE_OK) {
        RedisModule_Log(ctx, "warning", "RedisAI is not loaded");
        return REDISMODULE_ERR;
    }
    if (RedisAI_GetLLAPIVersion() != REDISAI_LLAPI_VERSION) return REDISMODULE_ERR;
    if (RedisModule_CreateCommand(ctx, "consumer.check", check_command, "write", 0, 0, 0) != REDISMODULE_OK ||
        RedisModule_CreateCommand(ctx, "consumer.run", run_command, "write", 1, 3, 1) != REDISMODULE_OK) {
        return REDISMODULE_ERR;
    }
    return REDISMODULE_OK;
}
