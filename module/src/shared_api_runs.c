/* The C API for other modules: runs of models and of scripts' functions. A run is
 * a job like that of AI.MODELEXECUTE; one that waits is not batched, nor counted. */
#include <assert.h>
#include <string.h>

#include "shared_api_internal.h"

typedef struct tensors {
    size_t count, room;
    rai_tensor **items;
} tensors;

/* Both kinds of contexts are this. */
typedef struct run {
    RAI_OnFinishCtx finish;
    rai_model *model;
    char *function; /* of a script */
    tensors inputs;
    tensors outputs; /* NULL until the run gave them */
} run;

struct RAI_ModelRunCtx {
    run run;
};

struct RAI_ScriptRunCtx {
    run run;
};

/* ---- contexts ------------------------------------------------------------------------ */

static run *new_run(finished_kind kind, rai_model *model) {
    run *created = RedisModule_Calloc(1, sizeof(*created));
    created->finish.kind = kind;
    created->model = rai_model_retain(model);
    return created;
}

static void add(tensors *list, rai_tensor *tensor) {
    list->items = rai_grown(list->items, list->count, &list->room, sizeof(*list->items));
    list->items[list->count++] = tensor;
}

static void release_all(tensors *list) {
    for (size_t i = 0; i < list->count; i++) rai_tensor_release(list->items[i]);
    RedisModule_Free(list->items);
}

static void free_run(run *freed) {
    if (freed == NULL) return;
    rai_model_release(freed->model);
    RedisModule_Free(freed->function);
    release_all(&freed->inputs);
    release_all(&freed->outputs);
    RAI_ClearError(&freed->finish.error);
    RedisModule_Free(freed);
}

static rai_tensor *output_of(const run *finished, size_t index) {
    assert(index < finished->outputs.count);
    return finished->outputs.items[index];
}

/* ---- jobs ------------------------------------------------------------------------------ */

static rai_job *job_of(const run *wanted) {
    rai_job *job =
        rai_job_new(RAI_JOB_EXECUTE, wanted->model, (int32_t)wanted->inputs.count, (int32_t)wanted->outputs.count);
    for (size_t i = 0; i < wanted->inputs.count; i++) job->inputs[i] = rai_tensor_retain(wanted->inputs.items[i]);
    if (wanted->function) {
        job->call = rai_call_new(rai_detached_context(), wanted->function, strlen(wanted->function));
    }
    return job;
}

static void take_outputs(run *finished, rai_job *job) {
    for (size_t i = 0; i < finished->outputs.count; i++) {
        rai_tensor_release(finished->outputs.items[i]);
        finished->outputs.items[i] = job->outputs[i];
        job->outputs[i] = NULL;
    }
}

/* On a worker. */
static void finish(rai_job *job) {
    run *finished = job->owner;
    take_outputs(finished, job);
    if (job->error) rai_error_set(&finished->finish.error, rai_run_error_code(finished->model), job->error);
    rai_job_free(job);
    finished->finish.callback(&finished->finish, finished->finish.private_data);
}

static int run_async(run *wanted, RAI_OnFinishCB callback, void *private_data) {
    wanted->finish.callback = callback;
    wanted->finish.private_data = private_data;
    RAI_ClearError(&wanted->finish.error);
    rai_job_execute(job_of(wanted), finish, wanted);
    return REDISMODULE_OK;
}

/* Runs the job, waits, and frees nothing. */
static int run_and_wait(rai_job *job, RAI_Error *error) {
    rai_job_execute_in_place(job);
    if (job->error) rai_error_set(error, rai_run_error_code(job->model), job->error);
    return job->error ? REDISMODULE_ERR : REDISMODULE_OK;
}

static run *get_as(RAI_OnFinishCtx *ctx, finished_kind kind, const char *otherwise, RAI_Error *error) {
    if (ctx->kind != kind) {
        rai_error_set(error, RedisAI_ErrorCode_EFINISHCTX, otherwise);
        return NULL;
    }
    if (ctx->error.text) rai_error_set(error, ctx->error.code, ctx->error.text);
    return (run *)ctx;
}

/* ---- several contexts as one batch --------------------------------------------------- */

/* A job on the inputs of all contexts; NULL when they do not fit together. */
static rai_job *merge(RAI_ModelRunCtx **contexts, size_t count) {
    const run *first = &contexts[0]->run;
    rai_job *job =
        rai_job_new(RAI_JOB_EXECUTE, first->model, (int32_t)first->inputs.count, (int32_t)first->outputs.count);
    rai_tensor **column = RedisModule_Alloc(count * sizeof(*column));
    int fit = 1;
    for (size_t input = 0; fit && input < first->inputs.count; input++) {
        for (size_t i = 0; i < count; i++) {
            const run *each = &contexts[i]->run;
            fit = fit && each->model == first->model && each->inputs.count == first->inputs.count &&
                  each->outputs.count == first->outputs.count && each->inputs.items[input]->ndim > 0 &&
                  each->inputs.items[input]->dims[0] == each->inputs.items[0]->dims[0];
            if (fit) column[i] = each->inputs.items[input];
        }
        if (fit) job->inputs[input] = RAI_TensorCreateByConcatenatingTensors(column, (long long)count);
        fit = fit && job->inputs[input] != NULL;
    }
    RedisModule_Free(column);
    if (fit && first->inputs.count > 0) return job;
    rai_job_free(job);
    return NULL;
}

/* Gives each context its rows of the outputs. 0: there is another number of rows. */
static int divide(RAI_ModelRunCtx **contexts, size_t count, const rai_job *job) {
    int64_t rows = job->inputs[0]->dims[0];
    for (int32_t i = 0; i < job->output_count; i++) {
        const rai_tensor *output = job->outputs[i];
        if (output == NULL || output->ndim == 0 || output->dims[0] != rows) return 0;
    }
    int64_t start = 0;
    for (size_t i = 0; i < count; i++) {
        run *each = &contexts[i]->run;
        int64_t length = each->inputs.items[0]->dims[0];
        for (int32_t output = 0; output < job->output_count; output++) {
            rai_tensor_release(each->outputs.items[output]);
            each->outputs.items[output] = RAI_TensorCreateBySlicingTensor(job->outputs[output], start, length);
        }
        start += length;
    }
    return 1;
}

static int run_batch(RAI_ModelRunCtx **contexts, size_t count, RAI_Error *error) {
    rai_job *job = merge(contexts, count);
    if (job == NULL) {
        rai_error_set(error, RedisAI_ErrorCode_EMODELRUN,
                      "ERR a batch must be of one model, and of inputs that differ in their first dimension only");
        return REDISMODULE_ERR;
    }
    int result = run_and_wait(job, error);
    if (result == REDISMODULE_OK && !divide(contexts, count, job)) {
        rai_error_set(error, RedisAI_ErrorCode_EMODELRUN, "ERR Model did not generate the expected batch size");
        result = REDISMODULE_ERR;
    }
    rai_job_free(job);
    return result;
}

static int run_alone(run *wanted, RAI_Error *error) {
    rai_job *job = job_of(wanted);
    int result = run_and_wait(job, error);
    take_outputs(wanted, job);
    rai_job_free(job);
    return result;
}

/* ---- models ------------------------------------------------------------------------------ */

RAI_ModelRunCtx *RAI_ModelRunCtxCreate(RAI_Model *model) {
    return (RAI_ModelRunCtx *)new_run(FINISHED_MODEL, model);
}

int RAI_ModelRunCtxAddInput(RAI_ModelRunCtx *mctx, const char *inputName, RAI_Tensor *inputTensor) {
    (void)inputName;
    add(&mctx->run.inputs, rai_tensor_retain(inputTensor));
    return 1;
}

int RAI_ModelRunCtxAddOutput(RAI_ModelRunCtx *mctx, const char *outputName) {
    (void)outputName;
    add(&mctx->run.outputs, NULL);
    return 1;
}

size_t RAI_ModelRunCtxNumOutputs(RAI_ModelRunCtx *mctx) {
    return mctx->run.outputs.count;
}

RAI_Tensor *RAI_ModelRunCtxOutputTensor(RAI_ModelRunCtx *mctx, size_t index) {
    return output_of(&mctx->run, index);
}

void RAI_ModelRunCtxFree(RAI_ModelRunCtx *mctx) {
    free_run((run *)mctx);
}

int RAI_ModelRun(RAI_ModelRunCtx **mctxs, long long n, RAI_Error *err) {
    if (n <= 0) {
        rai_error_set(err, RedisAI_ErrorCode_EBACKENDNOTLOADED, "ERR Nothing to run");
        return REDISMODULE_ERR;
    }
    if (mctxs[0]->run.model->backend == RAI_ONNX) {
        rai_error_set(err, RedisAI_ErrorCode_EMODELRUN,
                      "Cannot execute onnxruntime model synchronously, use async execution instead");
        return REDISMODULE_ERR;
    }
    return n == 1 ? run_alone(&mctxs[0]->run, err) : run_batch(mctxs, (size_t)n, err);
}

int RAI_ModelRunAsync(RAI_ModelRunCtx *mctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data) {
    return run_async(&mctx->run, DAGAsyncFinish, private_data);
}

RAI_ModelRunCtx *RAI_GetAsModelRunCtx(RAI_OnFinishCtx *ctx, RAI_Error *err) {
    return (RAI_ModelRunCtx *)get_as(ctx, FINISHED_MODEL, "Finish ctx is not a model run ctx", err);
}

/* ---- scripts ----------------------------------------------------------------------------- */

RAI_ScriptRunCtx *RAI_ScriptRunCtxCreate(RAI_Script *script, const char *fnname) {
    run *created = new_run(FINISHED_SCRIPT, script);
    created->function = rai_text_new(fnname);
    return (RAI_ScriptRunCtx *)created;
}

int RAI_ScriptRunCtxAddTensorInput(RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor) {
    add(&sctx->run.inputs, rai_tensor_retain(inputTensor));
    return 1;
}

int RAI_ScriptRunCtxAddInput(RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor, RAI_Error *err) {
    (void)err;
    return RAI_ScriptRunCtxAddTensorInput(sctx, inputTensor);
}

int RAI_ScriptRunCtxAddTensorInputList(RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t count) {
    for (size_t i = 0; i < count; i++) RAI_ScriptRunCtxAddTensorInput(sctx, inputTensors[i]);
    return 1;
}

int RAI_ScriptRunCtxAddInputList(RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t len, RAI_Error *err) {
    (void)err;
    return RAI_ScriptRunCtxAddTensorInputList(sctx, inputTensors, len);
}

int RAI_ScriptRunCtxAddOutput(RAI_ScriptRunCtx *sctx) {
    add(&sctx->run.outputs, NULL);
    return 1;
}

size_t RAI_ScriptRunCtxNumOutputs(RAI_ScriptRunCtx *sctx) {
    return sctx->run.outputs.count;
}

RAI_Tensor *RAI_ScriptRunCtxOutputTensor(RAI_ScriptRunCtx *sctx, size_t index) {
    return output_of(&sctx->run, index);
}

void RAI_ScriptRunCtxFree(RAI_ScriptRunCtx *sctx) {
    free_run((run *)sctx);
}

int RAI_ScriptRun(RAI_ScriptRunCtx *sctx, RAI_Error *err) {
    return run_alone(&sctx->run, err);
}

int RAI_ScriptRunAsync(RAI_ScriptRunCtx *sctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data) {
    return run_async(&sctx->run, DAGAsyncFinish, private_data);
}

RAI_ScriptRunCtx *RAI_GetAsScriptRunCtx(RAI_OnFinishCtx *ctx, RAI_Error *err) {
    return (RAI_ScriptRunCtx *)get_as(ctx, FINISHED_SCRIPT, "Finish ctx is not a script run ctx", err);
}
