/* Checks of runs of models and scripts. */
#include "consumer.h"

static RAI_ModelRunCtx *new_run(RAI_Model *model, RAI_Tensor *first, RAI_Tensor *second) {
    RAI_ModelRunCtx *run = RedisAI_ModelRunCtxCreate(model);
    if (first) RedisAI_ModelRunCtxAddInput(run, "a", first);
    if (second) RedisAI_ModelRunCtxAddInput(run, NULL, second);
    RedisAI_ModelRunCtxAddOutput(run, "c");
    return run;
}

/* Arguments: a model of two inputs and one output that may run synchronously, its inputs; stores consumer:sync. */
void check_model_sync(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0);
    RAI_Tensor *a = tensor_at(w, 1), *b = tensor_at(w, 2);
    CHECK(model && a && b);
    RAI_ModelRunCtx *run = RedisAI_ModelRunCtxCreate(model);
    CHECK(RedisAI_ModelRunCtxAddInput(run, "a", a) == 1 && RedisAI_ModelRunCtxAddInput(run, "b", b) == 1);
    CHECK(RedisAI_ModelRunCtxNumOutputs(run) == 0 && RedisAI_ModelRunCtxAddOutput(run, "c") == 1);
    CHECK(RedisAI_ModelRunCtxNumOutputs(run) == 1 && RedisAI_ModelRunCtxOutputTensor(run, 0) == NULL);
    CHECK(RedisAI_ModelRun(&run, 1, error) == 0 && RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_OK);
    CHECK(RedisAI_ModelRunCtxOutputTensor(run, 0) != NULL);
    store_tensor(w, "consumer:sync", RedisAI_ModelRunCtxOutputTensor(run, 0));
    CHECK(RedisAI_ModelRun(&run, 1, error) == 0); /* again: the output is replaced */
    RedisAI_ModelRunCtxFree(run);
    run = new_run(model, a, NULL);
    CHECK(RedisAI_ModelRun(&run, 1, error) == 1 && RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EMODELRUN);
    CHECK_TEXT(RedisAI_GetError(error), "ERR Expected 2 inputs but got 1");
    CHECK(RedisAI_ModelRunCtxOutputTensor(run, 0) == NULL);
    RedisAI_ModelRunCtxFree(run);
    RedisAI_ModelRunCtxFree(NULL);
    RedisAI_ModelFree(model, error);
    RedisAI_TensorFree(a);
    RedisAI_TensorFree(b);
    RedisAI_FreeError(error);
}

/* Arguments: a model of two inputs, its inputs of 2 rows, others of 1 row, and a model that cannot be batched. */
void check_model_batch(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0), *sum = model_at(w, 5);
    RAI_Tensor *inputs[4];
    for (int i = 0; i < 4; i++) inputs[i] = tensor_at(w, 1 + i);
    RAI_ModelRunCtx *runs[] = {new_run(model, inputs[0], inputs[1]), new_run(model, inputs[2], inputs[3])};
    CHECK(RedisAI_ModelRun(runs, 2, error) == 0);
    store_tensor(w, "consumer:batch0", RedisAI_ModelRunCtxOutputTensor(runs[0], 0));
    store_tensor(w, "consumer:batch1", RedisAI_ModelRunCtxOutputTensor(runs[1], 0));
    RedisAI_ModelRunCtxFree(runs[1]);
    runs[1] = new_run(sum, inputs[0], inputs[1]);
    CHECK(RedisAI_ModelRun(runs, 2, error) == 1 && RedisAI_GetError(error) != NULL); /* two models */
    RedisAI_ClearError(error);
    RedisAI_ModelRunCtxFree(runs[0]);
    runs[0] = new_run(sum, inputs[0], inputs[1]);
    CHECK(RedisAI_ModelRun(runs, 2, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "ERR Model did not generate the expected batch size");
    RedisAI_ModelRunCtxFree(runs[0]);
    RedisAI_ModelRunCtxFree(runs[1]);
    for (int i = 0; i < 4; i++) RedisAI_TensorFree(inputs[i]);
    RedisAI_ModelFree(model, NULL);
    RedisAI_ModelFree(sum, NULL);
    RedisAI_FreeError(error);
}

/* Arguments: a model of two inputs on onnxruntime, its inputs; stores consumer:async. */
void check_model_async(world *w) {
    ending e;
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0);
    RAI_Tensor *a = tensor_at(w, 1), *b = tensor_at(w, 2);
    CHECK(model && a && b);
    RAI_ModelRunCtx *run = new_run(model, a, b);
    CHECK(RedisAI_ModelRun(&run, 1, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "Cannot execute onnxruntime model synchronously, use async execution instead");
    RedisAI_ClearError(error);
    /* The run has references of its own. */
    RedisAI_TensorFree(a);
    RedisAI_TensorFree(b);
    RedisAI_ModelFree(model, NULL);
    ending_init(&e, w);
    CHECK(RedisAI_ModelRunAsync(run, on_finish, &e) == 0);
    CHECK(wait_for(&e, 1));
    CHECK(RedisAI_GetAsScriptRunCtx(e.finished, error) == NULL);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EFINISHCTX);
    CHECK_TEXT(RedisAI_GetError(error), "Finish ctx is not a script run ctx");
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetAsModelRunCtx(e.finished, error) == run);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_OK && RedisAI_GetError(error) == NULL);
    store_tensor(w, "consumer:async", RedisAI_ModelRunCtxOutputTensor(run, 0));
    RedisAI_ModelRunCtxFree(run);
    RedisAI_FreeError(error);
}

/* Arguments: a model of two inputs, an input, one that does not fit to it, and a model that failed to load. */
void check_async_error(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0), *broken = model_at(w, 3);
    RAI_Tensor *a = tensor_at(w, 1), *b = tensor_at(w, 2);
    CHECK(model && a && b && broken);
    RAI_ModelRunCtx *runs[] = {new_run(model, a, b), new_run(model, a, NULL), new_run(broken, a, b)};
    for (int i = 0; i < 3; i++) {
        ending e;
        ending_init(&e, w);
        CHECK(RedisAI_ModelRunAsync(runs[i], on_finish, &e) == 0);
        CHECK(wait_for(&e, 1));
        CHECK(RedisAI_GetAsModelRunCtx(e.finished, error) == runs[i]);
        CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EMODELRUN && RedisAI_GetError(error) != NULL);
        if (i == 1) CHECK_TEXT(RedisAI_GetError(error), "ERR Expected 2 inputs but got 1");
        CHECK(RedisAI_ModelRunCtxOutputTensor(runs[i], 0) == NULL);
        RedisAI_ClearError(error);
        RedisAI_ModelRunCtxFree(runs[i]);
    }
    RedisAI_TensorFree(a);
    RedisAI_TensorFree(b);
    RedisAI_ModelFree(model, NULL);
    RedisAI_ModelFree(broken, NULL);
    RedisAI_FreeError(error);
}

/* ---- callbacks that do more than to tell ------------------------------------------------------ */

/* In the callback: the outcome is put back as the first input of a synchronous run. */
static void run_in_callback(ending *e) {
    world *w = e->w;
    RAI_ScriptRunCtx *first = RedisAI_GetAsScriptRunCtx(e->finished, NULL);
    RAI_Script *script = script_at(w, 0);
    RAI_ScriptRunCtx *second = RedisAI_ScriptRunCtxCreate(script, "double");
    RedisAI_ScriptRunCtxAddTensorInput(second, RedisAI_ScriptRunCtxOutputTensor(first, 0));
    RedisAI_ScriptRunCtxAddOutput(second);
    RedisAI_ScriptFree(script, NULL);
    CHECK(RedisAI_ScriptRun(second, NULL) == 0);
    store_tensor(w, "consumer:twice", RedisAI_ScriptRunCtxOutputTensor(second, 0));
    RedisAI_ScriptRunCtxFree(first);
    RedisAI_ScriptRunCtxFree(second);
}

/* Arguments: a script with "double", its input. The queue may have one worker. On a thread only: the callback
 * takes Redis' lock. */
void check_sync_in_callback(world *w) {
    ending e;
    RAI_Script *script = script_at(w, 0);
    RAI_Tensor *input = tensor_at(w, 1);
    RAI_ScriptRunCtx *run = RedisAI_ScriptRunCtxCreate(script, "double");
    RedisAI_ScriptRunCtxAddTensorInput(run, input);
    RedisAI_ScriptRunCtxAddOutput(run);
    RedisAI_TensorFree(input);
    RedisAI_ScriptFree(script, NULL);
    ending_init(&e, w);
    e.first = run_in_callback;
    CHECK(RedisAI_ScriptRunAsync(run, on_finish, &e) == 0);
    CHECK(wait_for(&e, 1));
}

static void take_lock(ending *e) {
    RedisModuleCtx *ctx = RedisModule_GetThreadSafeContext(NULL);
    RedisModule_ThreadSafeContextLock(ctx);
    RedisModule_ThreadSafeContextUnlock(ctx);
    RedisModule_FreeThreadSafeContext(ctx);
    RedisAI_ModelRunCtxFree(RedisAI_GetAsModelRunCtx(e->finished, NULL));
}

/* Arguments: a model, its inputs. The callback of the first run waits for Redis' lock, which whoever runs this
 * holds until the second run is over; the queue may have one worker. */
void check_lock_in_callback(world *w) {
    static ending first;
    ending second;
    RAI_Model *model = model_at(w, 0);
    RAI_Tensor *a = tensor_at(w, 1), *b = tensor_at(w, 2);
    ending_init(&first, w);
    ending_init(&second, w);
    first.first = take_lock;
    lock(w);
    CHECK(RedisAI_ModelRunAsync(new_run(model, a, b), on_finish, &first) == 0);
    CHECK(RedisAI_ModelRunAsync(new_run(model, a, b), on_finish, &second) == 0);
    CHECK(wait_for(&second, 1));
    CHECK(first.calls == 0);
    unlock(w);
    RedisAI_ModelRunCtxFree(RedisAI_GetAsModelRunCtx(second.finished, NULL));
    RedisAI_TensorFree(a);
    RedisAI_TensorFree(b);
    RedisAI_ModelFree(model, NULL);
    if (w->in_thread) CHECK(wait_for(&first, 1));
}

/* ---- many at once ---------------------------------------------------------------------------------- */

enum { THREADS = 4, RUNS = 250 };

typedef struct crowd {
    RAI_Model *model;
    RAI_Tensor *a, *b;
    ending ending;
    int failed;
} crowd;

static void count_run(RAI_OnFinishCtx *ctx, void *private_data) {
    crowd *c = private_data;
    RAI_ModelRunCtx *run = RedisAI_GetAsModelRunCtx(ctx, NULL);
    if (RedisAI_ModelRunCtxOutputTensor(run, 0) == NULL) __atomic_add_fetch(&c->failed, 1, __ATOMIC_RELAXED);
    RedisAI_ModelRunCtxFree(run);
    on_finish(ctx, &c->ending);
}

static void *start_runs(void *argument) {
    crowd *c = argument;
    for (int i = 0; i < RUNS; i++) {
        if (RedisAI_ModelRunAsync(new_run(c->model, c->a, c->b), count_run, c) != 0) c->failed = 1;
    }
    return NULL;
}

/* Arguments: a model, its inputs. */
void check_many_runs(world *w) {
    static crowd c;
    pthread_t threads[THREADS];
    memset(&c, 0, sizeof(c));
    c.model = model_at(w, 0);
    c.a = tensor_at(w, 1);
    c.b = tensor_at(w, 2);
    ending_init(&c.ending, w);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, start_runs, &c);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(wait_for(&c.ending, THREADS * RUNS));
    CHECK(c.ending.calls == THREADS * RUNS && c.failed == 0);
    RedisAI_ModelFree(c.model, NULL);
    RedisAI_TensorFree(c.a);
    RedisAI_TensorFree(c.b);
}

/* ---- scripts ----------------------------------------------------------------------------------------- */

/* Arguments: a script with "double", "add_all" (a list) and "fail", and its input; stores consumer:double and
 * consumer:sum. */
void check_script_sync(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Script *script = script_at(w, 0);
    RAI_Tensor *input = tensor_at(w, 1), *list[] = {input, input};
    CHECK(script && input);
    RAI_ScriptRunCtx *run = RedisAI_ScriptRunCtxCreate(script, "double");
    CHECK(RedisAI_ScriptRunCtxAddInput(run, input, error) == 1 && RedisAI_ScriptRunCtxAddOutput(run) == 1);
    CHECK(RedisAI_ScriptRunCtxNumOutputs(run) == 1 && RedisAI_ScriptRunCtxOutputTensor(run, 0) == NULL);
    CHECK(RedisAI_ScriptRun(run, error) == 0);
    store_tensor(w, "consumer:double", RedisAI_ScriptRunCtxOutputTensor(run, 0));
    RedisAI_ScriptRunCtxFree(run);
    run = RedisAI_ScriptRunCtxCreate(script, "add_all");
    CHECK(RedisAI_ScriptRunCtxAddTensorInput(run, input) == 1);
    CHECK(RedisAI_ScriptRunCtxAddTensorInputList(run, list, 2) == 1);
    CHECK(RedisAI_ScriptRunCtxAddInputList(run, list, 1, error) == 1);
    RedisAI_ScriptRunCtxAddOutput(run);
    CHECK(RedisAI_ScriptRun(run, error) == 0);
    store_tensor(w, "consumer:sum", RedisAI_ScriptRunCtxOutputTensor(run, 0));
    RedisAI_ScriptRunCtxFree(run);
    run = RedisAI_ScriptRunCtxCreate(script, "absent");
    CHECK(RedisAI_ScriptRun(run, error) == 1 && RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_ESCRIPTRUN);
    CHECK_TEXT(RedisAI_GetError(error), "Function does not exist: absent");
    RedisAI_ScriptRunCtxFree(run);
    RedisAI_ScriptFree(script, error);
    RedisAI_TensorFree(input);
    RedisAI_FreeError(error);
}

/* Arguments: the same. */
void check_script_async(world *w) {
    ending e;
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Script *script = script_at(w, 0);
    RAI_Tensor *input = tensor_at(w, 1);
    RAI_ScriptRunCtx *run = RedisAI_ScriptRunCtxCreate(script, "fail");
    RedisAI_ScriptRunCtxAddTensorInput(run, input);
    RedisAI_ScriptRunCtxAddOutput(run);
    RedisAI_ScriptFree(script, NULL);
    RedisAI_TensorFree(input);
    ending_init(&e, w);
    CHECK(RedisAI_ScriptRunAsync(run, on_finish, &e) == 0);
    CHECK(wait_for(&e, 1));
    CHECK(RedisAI_GetAsModelRunCtx(e.finished, error) == NULL);
    CHECK_TEXT(RedisAI_GetError(error), "Finish ctx is not a model run ctx");
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetAsScriptRunCtx(e.finished, error) == run);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_ESCRIPTRUN);
    CHECK(strstr(RedisAI_GetError(error), "on purpose") != NULL);
    RedisAI_ScriptRunCtxFree(run);
    RedisAI_FreeError(error);
}

/* Argument: a script whose "note" writes the key consumer:note. On a thread only: it needs Redis' lock. */
void check_script_redis(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Script *script = script_at(w, 0);
    RAI_ScriptRunCtx *run = RedisAI_ScriptRunCtxCreate(script, "note");
    RedisAI_ScriptFree(script, NULL);
    CHECK(RedisAI_ScriptRun(run, error) == 0);
    RedisAI_ScriptRunCtxFree(run);
    RedisAI_FreeError(error);
}
