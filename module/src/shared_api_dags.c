/* The C API for other modules: DAGs. A DAG is kept as it is built, with names; when
 * it is run, names become slots, as they do in the parser of AI.DAGEXECUTE. */
#include <string.h>

#include "commands.h"
#include "shared_api_internal.h"

typedef struct names {
    size_t count, room;
    char **items;
} names;

struct RAI_DAGRunOp {
    rai_dag_op_kind kind;
    rai_model *model; /* of an execution */
    rai_job *job;     /* the same; without inputs */
    char *function;   /* of a script */
    names inputs;     /* of a TENSORGET: its tensor */
    names outputs;    /* of a TENSORSET: its tensor */
    rai_tensor *tensor;
};

struct RAI_DAGRunCtx {
    RAI_OnFinishCtx finish;
    size_t op_count, op_room;
    RAI_DAGRunOp **ops;
    names loaded;
    size_t tensor_room;
    rai_tensor **tensors; /* of these names */
    rai_job *job;         /* once it runs */
};

/* ---- building -------------------------------------------------------------------------- */

static void add_name(names *list, const char *name) {
    list->items = rai_grown(list->items, list->count, &list->room, sizeof(*list->items));
    list->items[list->count++] = rai_text_new(name);
}

static void free_names(names *list) {
    for (size_t i = 0; i < list->count; i++) RedisModule_Free(list->items[i]);
    RedisModule_Free(list->items);
}

static RAI_DAGRunOp *new_op(rai_dag_op_kind kind, rai_model *model) {
    RAI_DAGRunOp *op = RedisModule_Calloc(1, sizeof(*op));
    op->kind = kind;
    op->model = model ? rai_model_retain(model) : NULL;
    return op;
}

RAI_DAGRunCtx *RAI_DAGRunCtxCreate(void) {
    RAI_DAGRunCtx *dag = RedisModule_Calloc(1, sizeof(*dag));
    dag->finish.kind = FINISHED_DAG;
    return dag;
}

RAI_DAGRunOp *RAI_DAGCreateModelRunOp(RAI_Model *model) {
    return new_op(RAI_OP_EXECUTE, model);
}

RAI_DAGRunOp *RAI_DAGCreateScriptRunOp(RAI_Script *script, const char *fnname) {
    RAI_DAGRunOp *op = new_op(RAI_OP_EXECUTE, script);
    op->function = rai_text_new(fnname);
    return op;
}

int RAI_DAGRunOpAddInput(RAI_DAGRunOp *DAGop, const char *inputName) {
    add_name(&DAGop->inputs, inputName);
    return REDISMODULE_OK;
}

int RAI_DAGRunOpAddOutput(RAI_DAGRunOp *DAGop, const char *outputName) {
    add_name(&DAGop->outputs, outputName);
    return REDISMODULE_OK;
}

void RAI_DAGRunOpFree(RAI_DAGRunOp *dagOp) {
    if (dagOp == NULL) return;
    rai_model_release(dagOp->model);
    if (dagOp->job) rai_job_free(dagOp->job);
    RedisModule_Free(dagOp->function);
    free_names(&dagOp->inputs);
    free_names(&dagOp->outputs);
    rai_tensor_release(dagOp->tensor);
    RedisModule_Free(dagOp);
}

static void append(RAI_DAGRunCtx *dag, RAI_DAGRunOp *op) {
    dag->ops = rai_grown(dag->ops, dag->op_count, &dag->op_room, sizeof(*dag->ops));
    dag->ops[dag->op_count++] = op;
}

/* The counts of a model that is still being loaded are checked when it runs. */
int RAI_DAGAddRunOp(RAI_DAGRunCtx *run_info, RAI_DAGRunOp *DAGop, RAI_Error *err) {
    const rai_model *model = DAGop->model;
    if (model->kind == RAI_MODEL && __atomic_load_n(&model->state, __ATOMIC_ACQUIRE) == RAI_MODEL_READY) {
        const char *error = NULL;
        if ((int64_t)DAGop->inputs.count != model->inputs->count) {
            error = "Number of keys given as INPUTS does not match model definition";
        } else if ((int64_t)DAGop->outputs.count != model->outputs->count) {
            error = "Number of keys given as OUTPUTS does not match model definition";
        }
        if (error) {
            rai_error_set(err, RedisAI_ErrorCode_EDAGBUILDER, error);
            return REDISMODULE_ERR;
        }
    }
    append(run_info, DAGop);
    return REDISMODULE_OK;
}

int RAI_DAGLoadTensor(RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor) {
    for (size_t i = 0; i < run_info->loaded.count; i++) {
        if (strcmp(run_info->loaded.items[i], t_name) == 0) return REDISMODULE_ERR;
    }
    size_t count = run_info->loaded.count;
    run_info->tensors = rai_grown(run_info->tensors, count, &run_info->tensor_room, sizeof(*run_info->tensors));
    run_info->tensors[count] = rai_tensor_retain(tensor);
    add_name(&run_info->loaded, t_name);
    return REDISMODULE_OK;
}

int RAI_DAGAddTensorSet(RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor) {
    RAI_DAGRunOp *op = new_op(RAI_OP_TENSORSET, NULL);
    add_name(&op->outputs, t_name);
    op->tensor = rai_tensor_retain(tensor);
    append(run_info, op);
    return REDISMODULE_OK;
}

int RAI_DAGAddTensorGet(RAI_DAGRunCtx *run_info, const char *t_name) {
    RAI_DAGRunOp *op = new_op(RAI_OP_TENSORGET, NULL);
    add_name(&op->inputs, t_name);
    append(run_info, op);
    return REDISMODULE_OK;
}

size_t RAI_DAGNumOps(RAI_DAGRunCtx *run_info) {
    return run_info->op_count;
}

void RAI_DAGFree(RAI_DAGRunCtx *run_info) {
    if (run_info == NULL) return;
    for (size_t i = 0; i < run_info->op_count; i++) RAI_DAGRunOpFree(run_info->ops[i]);
    RedisModule_Free(run_info->ops);
    for (size_t i = 0; i < run_info->loaded.count; i++) rai_tensor_release(run_info->tensors[i]);
    RedisModule_Free(run_info->tensors);
    free_names(&run_info->loaded);
    RAI_ClearError(&run_info->finish.error);
    if (run_info->job) rai_job_free(run_info->job);
    RedisModule_Free(run_info);
}

/* ---- operations in the words of AI.DAGEXECUTE --------------------------------------------- */

/* Cuts a text at its blanks; an array for the caller to free with free_words. */
static RedisModuleString **split(const char *text, int *count) {
    size_t room = 0;
    RedisModuleString **words = NULL;
    *count = 0;
    for (;;) {
        text += strspn(text, " ");
        size_t length = strcspn(text, " ");
        if (length == 0) return words;
        words = rai_grown(words, (size_t)*count, &room, sizeof(*words));
        words[(*count)++] = RedisModule_CreateString(NULL, text, length);
        text += length;
    }
}

static void free_words(RedisModuleString **words, int count) {
    for (int i = 0; i < count; i++) RedisModule_FreeString(NULL, words[i]);
    RedisModule_Free(words);
}

static int is_separator(const RedisModuleString *word) {
    return strcmp(RedisModule_StringPtrLen(word, NULL), "|>") == 0;
}

static RedisAI_ErrorCode code_of(const rai_parsed_op *parsed) {
    if (strcmp(parsed->error, "ERR model key is empty") == 0 || strcmp(parsed->error, "ERR script key is empty") == 0) {
        return RedisAI_ErrorCode_EKEYEMPTY;
    }
    if (parsed->kind == RAI_OP_TENSORSET) return RedisAI_ErrorCode_ETENSORSET;
    if (parsed->kind == RAI_OP_TENSORGET) return RedisAI_ErrorCode_ETENSORGET;
    if (parsed->kind != RAI_OP_EXECUTE) return RedisAI_ErrorCode_EDAGBUILDER;
    return parsed->is_script ? RedisAI_ErrorCode_ESCRIPTRUN : RedisAI_ErrorCode_EMODELRUN;
}

static void add_words(names *list, RedisModuleString **words, int32_t count) {
    for (int32_t i = 0; i < count; i++) add_name(list, RedisModule_StringPtrLen(words[i], NULL));
}

static RAI_DAGRunOp *op_of(const rai_parsed_op *parsed) {
    RAI_DAGRunOp *op = new_op(parsed->kind, parsed->job ? parsed->job->model : NULL);
    op->job = parsed->job;
    op->tensor = parsed->tensor;
    int32_t inputs = parsed->job ? parsed->job->input_count : parsed->kind == RAI_OP_TENSORGET;
    int32_t outputs = parsed->job ? parsed->job->output_count : parsed->kind == RAI_OP_TENSORSET;
    add_words(&op->inputs, parsed->names, inputs);
    add_words(&op->outputs, parsed->names + inputs, outputs);
    return op;
}

/* Appends the operations that the words describe, up to the first error. */
static int append_words(RAI_DAGRunCtx *dag, RedisModuleString **words, int count, RAI_Error *error) {
    RedisModuleString **found = RedisModule_Alloc((size_t)(count + 1) * sizeof(*found));
    int failed = 0;
    for (int at = 1; at <= count && !failed; at++) {
        int start = at;
        while (at < count && !is_separator(words[at])) at++;
        rai_parsed_op parsed = {.kind = -1, .names = found};
        rai_hooks.parse_dag_op(rai_detached_context(), words + start, at - start, &parsed);
        if (parsed.error) {
            failed = 1;
            rai_error_set(error, code_of(&parsed), parsed.error);
        } else {
            append(dag, op_of(&parsed));
        }
    }
    RedisModule_Free(found);
    return failed;
}

int RAI_DAGAddOpsFromString(RAI_DAGRunCtx *run_info, const char *dag, RAI_Error *err) {
    int count;
    size_t before = run_info->op_count;
    RedisModuleString **words = split(dag, &count);
    int failed = count == 0 || !is_separator(words[0]);
    if (failed) {
        rai_error_set(err, RedisAI_ErrorCode_EDAGBUILDER, "DAG op should start with: '|>' ");
    } else {
        failed = append_words(run_info, words, count, err);
    }
    while (failed && run_info->op_count > before) RAI_DAGRunOpFree(run_info->ops[--run_info->op_count]);
    free_words(words, count);
    return failed ? REDISMODULE_ERR : REDISMODULE_OK;
}

/* ---- names become slots ---------------------------------------------------------------------- */

typedef struct entry {
    const char *name;
    int32_t slot;
} entry;

/* The latest definition of each name: an open hash table. */
typedef struct table {
    size_t size; /* a power of two */
    entry *entries;
} table;

static table new_table(const RAI_DAGRunCtx *dag) {
    size_t most = dag->loaded.count, size = 16;
    for (size_t i = 0; i < dag->op_count; i++) most += dag->ops[i]->outputs.count;
    while (size < 2 * most) size *= 2;
    return (table){size, RedisModule_Calloc(size, sizeof(entry))};
}

/* The entry of a name, or the free one where it belongs. */
static entry *place_of(const table *known, const char *name) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    for (;; hash++) {
        entry *place = &known->entries[hash & (known->size - 1)];
        if (place->name == NULL || strcmp(place->name, name) == 0) return place;
    }
}

static void define(table *known, const char *name, int32_t slot) {
    *place_of(known, name) = (entry){name, slot};
}

static const char *check(const RAI_DAGRunCtx *dag) {
    if (dag->op_count == 0) return "ERR DAG is empty";
    const char *error = NULL;
    table known = new_table(dag);
    for (size_t i = 0; i < dag->loaded.count; i++) define(&known, dag->loaded.items[i], 0);
    for (size_t i = 0; i < dag->op_count; i++) {
        const RAI_DAGRunOp *op = dag->ops[i];
        for (size_t n = 0; n < op->inputs.count; n++) {
            if (place_of(&known, op->inputs.items[n])->name == NULL) error = "ERR INPUT key cannot be found in DAG";
        }
        for (size_t n = 0; n < op->outputs.count; n++) define(&known, op->outputs.items[n], 0);
    }
    RedisModule_Free(known.entries);
    return error;
}

/* The job of an execution, which the DAG that runs takes over. */
static rai_job *job_of(RAI_DAGRunOp *op) {
    rai_job *job = op->job;
    op->job = NULL;
    if (job == NULL) {
        job = rai_job_new(RAI_JOB_EXECUTE, op->model, (int32_t)op->inputs.count, (int32_t)op->outputs.count);
        if (op->function) job->call = rai_call_new(rai_detached_context(), op->function, strlen(op->function));
    }
    return job;
}

static void build_op(rai_job *owner, RAI_DAGRunOp *op, table *known) {
    rai_dag *dag = owner->dag;
    int32_t position = rai_dag_add(dag, op->kind);
    rai_dag_op *built = &dag->ops[position];
    for (size_t i = 0; i < op->inputs.count; i++) {
        rai_dag_need(dag, position, place_of(known, op->inputs.items[i])->slot);
    }
    if (op->kind == RAI_OP_EXECUTE) {
        built->job = job_of(op);
        built->job->dag = dag;
        built->job->op = position;
    }
    built->output = dag->slot_count;
    for (size_t i = 0; i < op->outputs.count; i++) {
        int is_set = op->kind == RAI_OP_TENSORSET;
        rai_tensor *tensor = is_set ? rai_tensor_retain(op->tensor) : NULL;
        define(known, op->outputs.items[i], rai_dag_define(dag, is_set ? -1 : position, tensor));
    }
}

static rai_job *build(RAI_DAGRunCtx *dag) {
    rai_job *owner = rai_dag_new();
    table known = new_table(dag);
    for (size_t i = 0; i < dag->loaded.count; i++) {
        define(&known, dag->loaded.items[i], rai_dag_define(owner->dag, -1, rai_tensor_retain(dag->tensors[i])));
    }
    for (size_t i = 0; i < dag->op_count; i++) build_op(owner, dag->ops[i], &known);
    RedisModule_Free(known.entries);
    return owner;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* On a worker. */
static void finish(rai_job *job) {
    RAI_DAGRunCtx *dag = job->owner;
    if (job->dag->failed < job->dag->op_count) {
        const rai_job *failed = job->dag->ops[job->dag->failed].job;
        rai_error_set(&dag->finish.error, rai_run_error_code(failed->model), failed->error);
    }
    dag->finish.callback(&dag->finish, dag->finish.private_data);
}

int RAI_DAGRun(RAI_DAGRunCtx *run_info, RAI_OnFinishCB DAGAsyncFinish, void *private_data, RAI_Error *err) {
    const char *error = check(run_info);
    if (error) {
        rai_error_set(err, RedisAI_ErrorCode_EDAGRUN, error);
        return REDISMODULE_ERR;
    }
    run_info->finish.callback = DAGAsyncFinish;
    run_info->finish.private_data = private_data;
    run_info->job = build(run_info);
    rai_dag_execute(run_info->job, finish, run_info);
    return REDISMODULE_OK;
}

static const RAI_DAGRunCtx *dag_of(const RAI_OnFinishCtx *finish_ctx) {
    return finish_ctx->kind == FINISHED_DAG ? (const RAI_DAGRunCtx *)finish_ctx : NULL;
}

size_t RAI_DAGNumOutputs(RAI_OnFinishCtx *finish_ctx) {
    const RAI_DAGRunCtx *dag = dag_of(finish_ctx);
    size_t count = 0;
    for (size_t i = 0; dag && i < dag->op_count; i++) count += dag->ops[i]->kind == RAI_OP_TENSORGET;
    return count;
}

const RAI_Tensor *RAI_DAGOutputTensor(RAI_OnFinishCtx *finish_ctx, size_t index) {
    const RAI_DAGRunCtx *dag = dag_of(finish_ctx);
    for (size_t i = 0; dag && dag->job && i < dag->op_count; i++) {
        if (dag->ops[i]->kind != RAI_OP_TENSORGET || index-- > 0) continue;
        const rai_dag *ran = dag->job->dag;
        int32_t slot = ran->inputs[ran->ops[i].input_at];
        return rai_dag_has(ran, slot) ? ran->slots[slot] : NULL;
    }
    return NULL;
}

int RAI_DAGRunError(RAI_OnFinishCtx *finish_ctx) {
    return finish_ctx->error.code != RedisAI_ErrorCode_OK;
}

const RAI_Error *RAI_DAGGetError(RAI_OnFinishCtx *finish_ctx) {
    return &finish_ctx->error;
}
