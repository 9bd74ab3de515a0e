/* Checks of DAGs. */
#include "consumer.h"

/* An operation with up to two inputs and one output. */
static RAI_DAGRunOp *model_op(RAI_Model *model, const char *first, const char *second, const char *output) {
    RAI_DAGRunOp *op = RedisAI_DAGCreateModelRunOp(model);
    if (first) RedisAI_DAGRunOpAddInput(op, first);
    if (second) RedisAI_DAGRunOpAddInput(op, second);
    if (output) RedisAI_DAGRunOpAddOutput(op, output);
    return op;
}

/* Arguments: a model that multiplies, a script with "double", an input. Stores consumer:dag0 = 2 * (a * a) and
 * consumer:dag1 = a. */
void check_dag(world *w) {
    ending e;
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0);
    RAI_Script *script = script_at(w, 1);
    RAI_Tensor *a = tensor_at(w, 2);
    CHECK(model && script && a);
    RAI_DAGRunCtx *dag = RedisAI_DAGRunCtxCreate();
    CHECK(RedisAI_DAGLoadTensor(dag, "a", a) == 0 && RedisAI_DAGLoadTensor(dag, "a", a) == 1);
    CHECK(RedisAI_DAGAddTensorSet(dag, "b", a) == 0);
    CHECK(RedisAI_DAGAddRunOp(dag, model_op(model, "a", "b", "product"), error) == 0);
    RAI_DAGRunOp *op = RedisAI_DAGCreateScriptRunOp(script, "double");
    CHECK(RedisAI_DAGRunOpAddInput(op, "product") == 0 && RedisAI_DAGRunOpAddOutput(op, "product") == 0);
    CHECK(RedisAI_DAGAddRunOp(dag, op, error) == 0);
    CHECK(RedisAI_DAGAddTensorGet(dag, "product") == 0 && RedisAI_DAGAddTensorGet(dag, "b") == 0);
    CHECK(RedisAI_DAGNumOps(dag) == 5);
    RedisAI_TensorFree(a);
    RedisAI_ModelFree(model, NULL);
    RedisAI_ScriptFree(script, NULL);
    ending_init(&e, w);
    CHECK(RedisAI_DAGRun(dag, on_finish, &e, error) == 0);
    CHECK(wait_for(&e, 1));
    CHECK((void *)e.finished == (void *)dag && RedisAI_DAGRunError(e.finished) == 0);
    CHECK(RedisAI_GetErrorCode((RAI_Error *)RedisAI_DAGGetError(e.finished)) == RedisAI_ErrorCode_OK);
    CHECK(RedisAI_DAGNumOutputs(e.finished) == 2 && RedisAI_DAGOutputTensor(e.finished, 2) == NULL);
    store_tensor(w, "consumer:dag0", (RAI_Tensor *)RedisAI_DAGOutputTensor(e.finished, 0));
    store_tensor(w, "consumer:dag1", (RAI_Tensor *)RedisAI_DAGOutputTensor(e.finished, 1));
    CHECK(RedisAI_GetAsModelRunCtx(e.finished, error) == NULL);
    RedisAI_DAGFree(dag);
    RedisAI_DAGFree(NULL);
    RedisAI_FreeError(error);
}

static void free_in_callback(ending *e) {
    RedisAI_DAGFree((RAI_DAGRunCtx *)e->finished);
}

/* Arguments: a DAG in words with one output, and others without executions. Stores consumer:text. */
void check_dag_text(world *w) {
    ending e;
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_DAGRunCtx *dag = RedisAI_DAGRunCtxCreate();
    lock(w);
    int failed = RedisAI_DAGAddOpsFromString(dag, word(w, 0), error);
    unlock(w);
    if (failed) CHECK_TEXT(RedisAI_GetError(error), "");
    ending_init(&e, w);
    CHECK(RedisAI_DAGRun(dag, on_finish, &e, error) == 0 && wait_for(&e, 1));
    CHECK(RedisAI_DAGRunError(e.finished) == 0 && RedisAI_DAGNumOutputs(e.finished) == 1);
    store_tensor(w, "consumer:text", (RAI_Tensor *)RedisAI_DAGOutputTensor(e.finished, 0));
    RedisAI_DAGFree(dag);
    dag = RedisAI_DAGRunCtxCreate();
    lock(w);
    CHECK(RedisAI_DAGAddOpsFromString(dag, word(w, 1), error) == 0);
    unlock(w);
    ending_init(&e, w);
    e.first = free_in_callback;
    CHECK(RedisAI_DAGRun(dag, on_finish, &e, error) == 0 && wait_for(&e, 1));
    RedisAI_FreeError(error);
}

static int add_text(world *w, RAI_DAGRunCtx *dag, const char *text, RAI_Error *error) {
    lock(w);
    int failed = RedisAI_DAGAddOpsFromString(dag, text, error);
    unlock(w);
    return failed;
}

/* Argument: a model of two inputs and one output, whose key is m; t is a tensor. */
void check_dag_errors(world *w) {
    static const struct {
        const char *text, *error;
        RedisAI_ErrorCode code;
    } texts[] = {
        {"", "DAG op should start with: '|>' ", RedisAI_ErrorCode_EDAGBUILDER},
        {"AI.TENSORGET a", "DAG op should start with: '|>' ", RedisAI_ErrorCode_EDAGBUILDER},
        {"|>", "Unsupported command within DAG", RedisAI_ErrorCode_EDAGBUILDER},
        {"|> AI.TENSORSET a FLOAT 1 |> GET a", "Unsupported command within DAG", RedisAI_ErrorCode_EDAGBUILDER},
        {"|> AI.TENSORSET a FLOAT 1 |>", "Unsupported command within DAG", RedisAI_ErrorCode_EDAGBUILDER},
        {"|> AI.TENSORGET", "wrong number of arguments for 'AI.TENSORGET' command", RedisAI_ErrorCode_ETENSORGET},
        {"|> AI.TENSORSET a FLOAT", "wrong number of arguments for 'AI.TENSORSET' command",
         RedisAI_ErrorCode_ETENSORSET},
        {"|> AI.MODELEXECUTE absent INPUTS 1 a OUTPUTS 1 b", "ERR model key is empty", RedisAI_ErrorCode_EKEYEMPTY},
        {"|> AI.SCRIPTEXECUTE absent f INPUTS 1 a", "ERR script key is empty", RedisAI_ErrorCode_EKEYEMPTY},
        {"|> AI.MODELEXECUTE t INPUTS 1 a OUTPUTS 1 b",
         "WRONGTYPE Operation against a key holding the wrong kind of value", RedisAI_ErrorCode_EMODELRUN},
        {"|> AI.SCRIPTEXECUTE t f INPUTS 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value",
         RedisAI_ErrorCode_ESCRIPTRUN},
        {"|> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b",
         "Number of keys given as INPUTS here does not match model definition", RedisAI_ErrorCode_EMODELRUN},
    };
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0);
    RAI_DAGRunCtx *dag = RedisAI_DAGRunCtxCreate();
    CHECK(RedisAI_DAGRun(dag, on_finish, NULL, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "ERR DAG is empty");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EDAGRUN);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        RedisAI_ClearError(error);
        CHECK(add_text(w, dag, texts[i].text, error) == 1);
        CHECK_TEXT(RedisAI_GetError(error), texts[i].error);
        CHECK(RedisAI_GetErrorCode(error) == texts[i].code);
        CHECK(RedisAI_DAGNumOps(dag) == 0); /* all or nothing */
    }
    RedisAI_ClearError(error);
    RAI_DAGRunOp *op = model_op(model, "a", NULL, "b");
    CHECK(RedisAI_DAGAddRunOp(dag, op, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "Number of keys given as INPUTS does not match model definition");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EDAGBUILDER && RedisAI_DAGNumOps(dag) == 0);
    RedisAI_ClearError(error);
    RedisAI_DAGRunOpAddInput(op, "a");
    RedisAI_DAGRunOpAddOutput(op, "c");
    CHECK(RedisAI_DAGAddRunOp(dag, op, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "Number of keys given as OUTPUTS does not match model definition");
    RedisAI_DAGRunOpFree(op);
    RedisAI_DAGRunOpFree(NULL);
    RedisAI_ClearError(error);
    CHECK(add_text(w, dag, "|> AI.TENSORGET later |> AI.TENSORSET later FLOAT 1 VALUES 1", error) == 0);
    CHECK(RedisAI_DAGRun(dag, on_finish, NULL, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "ERR INPUT key cannot be found in DAG");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EDAGRUN);
    RedisAI_DAGFree(dag);
    RedisAI_ModelFree(model, NULL);
    RedisAI_FreeError(error);
}

/* Arguments: a model of two inputs, a script with "fail", an input. */
void check_dag_failure(world *w) {
    ending e;
    RAI_Model *model = model_at(w, 0);
    RAI_Script *script = script_at(w, 1);
    RAI_Tensor *a = tensor_at(w, 2);
    RAI_DAGRunCtx *dag = RedisAI_DAGRunCtxCreate();
    RAI_DAGRunOp *op = RedisAI_DAGCreateScriptRunOp(script, "fail");
    RedisAI_DAGLoadTensor(dag, "a", a);
    RedisAI_DAGAddRunOp(dag, model_op(model, "a", "a", "good"), NULL);
    RedisAI_DAGRunOpAddInput(op, "good");
    RedisAI_DAGRunOpAddOutput(op, "bad");
    RedisAI_DAGAddRunOp(dag, op, NULL);
    RedisAI_DAGAddRunOp(dag, model_op(model, "bad", "bad", "never"), NULL);
    RedisAI_DAGAddTensorGet(dag, "good");
    RedisAI_DAGAddTensorGet(dag, "never");
    RedisAI_TensorFree(a);
    RedisAI_ModelFree(model, NULL);
    RedisAI_ScriptFree(script, NULL);
    ending_init(&e, w);
    CHECK(RedisAI_DAGRun(dag, on_finish, &e, NULL) == 0 && wait_for(&e, 1));
    CHECK(RedisAI_DAGRunError(e.finished) != 0);
    RAI_Error *error = (RAI_Error *)RedisAI_DAGGetError(e.finished);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_ESCRIPTRUN);
    CHECK(strstr(RedisAI_GetErrorOneLine(error), "on purpose") != NULL);
    CHECK(RedisAI_DAGOutputTensor(e.finished, 0) != NULL && RedisAI_DAGOutputTensor(e.finished, 1) == NULL);
    RedisAI_DAGFree(dag);
}
