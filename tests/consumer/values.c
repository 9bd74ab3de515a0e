/* Checks of errors, tensors, and models and scripts as values. */
#include <stdint.h>

#include "consumer.h"

void check_errors(world *w) {
    RAI_Error *error = NULL, *copy = NULL, *clean = NULL;
    CHECK(RedisAI_InitError(&error) == 0 && RedisAI_InitError(&copy) == 0 && RedisAI_InitError(&clean) == 0);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_OK);
    CHECK(RedisAI_GetError(error) == NULL && RedisAI_GetErrorOneLine(error) == NULL);
    CHECK(RedisAI_ModelRun(NULL, 0, error) == 1);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EBACKENDNOTLOADED);
    CHECK_TEXT(RedisAI_GetError(error), "ERR Nothing to run");
    /* The first error is kept. */
    CHECK(RedisAI_ScriptCreate("CPU", NULL, "not a script", error) == NULL);
    CHECK_TEXT(RedisAI_GetErrorOneLine(error), "ERR Nothing to run");
    RedisAI_CloneError(copy, error);
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetError(error) == NULL && RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_OK);
    CHECK_TEXT(RedisAI_GetErrorOneLine(copy), "ERR Nothing to run");
    CHECK(RedisAI_GetErrorCode(copy) == RedisAI_ErrorCode_EBACKENDNOTLOADED);
    RedisAI_CloneError(clean, error);
    CHECK(RedisAI_GetError(clean) == NULL);
    RedisAI_FreeError(error);
    RedisAI_FreeError(copy);
    RedisAI_FreeError(clean);
    RedisAI_FreeError(NULL);
    RedisAI_ClearError(NULL);
}

/* ---- tensors -------------------------------------------------------------------------- */

static void check_numbers(world *w, const char *dtype, size_t size, int is_float) {
    long long dims[] = {2, 3}, whole = 0;
    double real = 0;
    RAI_Tensor *t = RedisAI_TensorCreate(dtype, dims, 2);
    CHECK(t != NULL && RedisAI_TensorLength(t) == 6 && RedisAI_TensorNumDims(t) == 2);
    CHECK(RedisAI_TensorDim(t, 0) == 2 && RedisAI_TensorDim(t, 1) == 3);
    CHECK(RedisAI_TensorDataSize(t) == size && RedisAI_TensorByteSize(t) == 6 * size);
    for (size_t i = 0; i < 6 * size; i++) CHECK(RedisAI_TensorData(t)[i] == 0);
    CHECK(RedisAI_TensorSetValueFromDouble(t, 5, 1) == is_float);
    CHECK(RedisAI_TensorSetValueFromLongLong(t, 5, 1) == !is_float);
    CHECK(RedisAI_TensorGetValueAsDouble(t, 5, &real) == is_float && real == is_float);
    CHECK(RedisAI_TensorGetValueAsLongLong(t, 5, &whole) == !is_float && whole == !is_float);
    CHECK(!RedisAI_TensorSetValueFromLongLong(t, 6, 1) && !RedisAI_TensorSetValueFromDouble(t, -1, 1));
    CHECK(!RedisAI_TensorGetValueAsLongLong(t, -1, &whole) && !RedisAI_TensorGetValueAsDouble(t, 6, &real));
    CHECK(!RedisAI_TensorSetData(t, RedisAI_TensorData(t), 6 * size + 1));
    char data[48] = {1};
    CHECK(RedisAI_TensorSetData(t, data, 6 * size) && RedisAI_TensorData(t)[0] == 1);
    RedisAI_TensorFree(t);
}

static void check_integers(world *w, const char *dtype, long long value, long long kept) {
    long long dims[] = {1}, seen = 0;
    RAI_Tensor *t = RedisAI_TensorCreate(dtype, dims, 1);
    CHECK(RedisAI_TensorSetValueFromLongLong(t, 0, value) && RedisAI_TensorGetValueAsLongLong(t, 0, &seen));
    CHECK(seen == kept);
    RedisAI_TensorFree(t);
}

static void check_rows(world *w) {
    long long dims[] = {2, 2}, seen = 0;
    RAI_Tensor *parts[] = {RedisAI_TensorCreate("INT32", dims, 2), RedisAI_TensorCreate("INT32", dims, 2)};
    for (int i = 0; i < 4; i++) {
        RedisAI_TensorSetValueFromLongLong(parts[0], i, i);
        RedisAI_TensorSetValueFromLongLong(parts[1], i, 4 + i);
    }
    RAI_Tensor *all = RedisAI_TensorCreateByConcatenatingTensors(parts, 2);
    CHECK(all != NULL && RedisAI_TensorDim(all, 0) == 4 && RedisAI_TensorDim(all, 1) == 2);
    for (int i = 0; i < 8; i++) CHECK(RedisAI_TensorGetValueAsLongLong(all, i, &seen) && seen == i);
    RAI_Tensor *middle = RedisAI_TensorCreateBySlicingTensor(all, 1, 2);
    CHECK(middle != NULL && RedisAI_TensorLength(middle) == 4);
    CHECK(RedisAI_TensorGetValueAsLongLong(middle, 0, &seen) && seen == 2);
    CHECK(RedisAI_TensorCreateBySlicingTensor(all, 3, 2) == NULL);
    RedisAI_TensorFree(parts[0]);
    RedisAI_TensorFree(parts[1]);
    RedisAI_TensorFree(all);
    RedisAI_TensorFree(middle);
}

static void check_strings(world *w) {
    long long dims[] = {3};
    static const char words[] = "first\0\0third"; /* three elements, the second one empty */
    RAI_Tensor *t = RedisAI_TensorCreate("STRING", dims, 1);
    CHECK(t != NULL && RedisAI_TensorByteSize(t) == 3 && RedisAI_TensorDataSize(t) == 1);
    CHECK(!RedisAI_TensorSetData(t, words, 7) && !RedisAI_TensorSetData(t, words, 12));
    CHECK(RedisAI_TensorSetData(t, words, 13) && RedisAI_TensorByteSize(t) == 13);
    CHECK(RedisAI_TensorSetData(t, words, 13)); /* once more, from the outside */
    CHECK(memcmp(RedisAI_TensorData(t), words, 13) == 0);
    CHECK(!RedisAI_TensorSetValueFromDouble(t, 0, 1) && !RedisAI_TensorSetValueFromLongLong(t, 0, 1));
    RAI_Tensor *twice[] = {t, t};
    RAI_Tensor *all = RedisAI_TensorCreateByConcatenatingTensors(twice, 2);
    RAI_Tensor *slice = RedisAI_TensorCreateBySlicingTensor(all, 2, 2);
    CHECK(RedisAI_TensorLength(all) == 6 && RedisAI_TensorByteSize(all) == 26);
    CHECK(RedisAI_TensorByteSize(slice) == 12 && memcmp(RedisAI_TensorData(slice), "third\0first", 12) == 0);
    store_tensor(w, "consumer:strings", slice);
    RedisAI_TensorFree(t);
    RedisAI_TensorFree(all);
    RedisAI_TensorFree(slice);
}

void check_tensors(world *w) {
    static const struct {
        const char *dtype;
        size_t size;
    } whole[] = {{"INT8", 1},   {"INT16", 2},  {"INT32", 4},  {"INT64", 8}, {"UINT8", 1},
                 {"UINT16", 2}, {"UINT32", 4}, {"UINT64", 8}, {"BOOL", 1}};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]) && !w->failure[0]; i++)
        check_numbers(w, whole[i].dtype, whole[i].size, 0);
    if (!w->failure[0]) check_numbers(w, "FLOAT", 4, 1);
    if (!w->failure[0]) check_numbers(w, "double", 8, 1);
    if (!w->failure[0]) check_numbers(w, "FLOAT16", 2, 1);
    if (!w->failure[0]) check_numbers(w, "BFLOAT16", 2, 1);
    if (!w->failure[0]) check_integers(w, "UINT32", -1, 4294967295);
    if (!w->failure[0]) check_integers(w, "INT8", -129, 127);
    if (!w->failure[0]) check_integers(w, "UINT16", -1, 65535);
    if (!w->failure[0]) check_integers(w, "INT64", INT64_MIN, INT64_MIN);
    if (!w->failure[0]) check_integers(w, "BOOL", 7, 1);
    if (!w->failure[0]) check_rows(w);
    if (!w->failure[0]) check_strings(w);
    if (w->failure[0]) return;
    long long dims[] = {2, -1};
    char two[] = {1, 2};
    CHECK(RedisAI_TensorCreate("FLOAT32", dims, 1) == NULL && RedisAI_TensorCreate("FLOAT", dims, 2) == NULL);
    RAI_Tensor *scalar = RedisAI_TensorCreate("FLOAT", NULL, 0), *booleans = RedisAI_TensorCreate("BOOL", dims, 1);
    CHECK(RedisAI_TensorLength(scalar) == 1 && RedisAI_TensorNumDims(scalar) == 0);
    CHECK(!RedisAI_TensorSetData(booleans, two, 2));
    CHECK(RedisAI_TensorGetShallowCopy(scalar) == scalar);
    RedisAI_TensorFree(scalar);
    RedisAI_TensorFree(scalar);
    RedisAI_TensorFree(booleans);
    RedisAI_TensorFree(NULL);
}

/* Argument 0: a key with FLOAT 1 2 3. What is stored under another key is the same tensor. */
void check_stored_tensors(world *w) {
    double value = 0;
    RAI_Tensor *t = tensor_at(w, 0);
    CHECK(t != NULL && RedisAI_TensorLength(t) == 3 && RedisAI_TensorGetValueAsDouble(t, 2, &value) && value == 3);
    store_tensor(w, "consumer:tensor", t);
    RedisAI_TensorFree(t);
}

/* Argument 0: a key with FLOAT 1 2 3, which become 1 2 4. */
void check_changed_tensor(world *w) {
    RAI_Tensor *t = tensor_at(w, 0);
    CHECK(t != NULL && RedisAI_TensorSetValueFromDouble(t, 2, 4));
    RedisAI_TensorFree(t);
}

/* ---- models and scripts ------------------------------------------------------------------ */

/* Argument 0: a model that is stored, 1: its backend's number. Another one is made of its bytes, and stored. */
void check_model_values(world *w) {
    char *bytes = NULL;
    size_t length = 0;
    RAI_ModelOpts options = {.batchsize = 8, .minbatchsize = 2, .minbatchtimeout = 5};
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Model *model = model_at(w, 0);
    CHECK(model != NULL && RedisAI_ModelSerialize(model, &bytes, &length, error) == 0 && length > 0);
    int backend = word(w, 1)[0] - '0';
    RAI_Model *made = RedisAI_ModelCreate(backend, "CPU", NULL, options, 0, NULL, 0, NULL, bytes, length, error);
    CHECK(made != NULL && RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_OK);
    lock(w);
    RedisModuleString *name = RedisModule_CreateString(w->ctx, "consumer:model", 14);
    RedisModuleKey *key = RedisModule_OpenKey(w->ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, RedisAI_ModelRedisType(), RedisAI_ModelGetShallowCopy(made));
    RedisModule_CloseKey(key);
    RedisModule_FreeString(w->ctx, name);
    unlock(w);
    RedisAI_ModelFree(made, error);
    /* One that never gets into a key. */
    made = RedisAI_ModelCreate(backend, "CPU:7", NULL, options, 0, NULL, 0, NULL, bytes, length, error);
    CHECK(made != NULL);
    RedisAI_ModelFree(made, error);
    RedisAI_ModelFree(model, error);
    RedisModule_Free(bytes);
    RedisAI_FreeError(error);
}

/* Argument 0: a key that does not exist, 1: one that holds a tensor. ONNX is loaded, TFLITE is not. */
void check_model_errors(world *w) {
    RAI_ModelOpts options = {0};
    RAI_Model *model = NULL;
    RAI_Script *script = NULL;
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    CHECK(RedisAI_ModelCreate(REDISAI_BACKEND_ONNXRUNTIME, "CPU", NULL, options, 0, NULL, 0, NULL, "x", 1, error) ==
          NULL);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EMODELCREATE && RedisAI_GetError(error)[0] != 0);
    RedisAI_ClearError(error);
    CHECK(RedisAI_ModelCreate(REDISAI_BACKEND_TFLITE, "CPU", NULL, options, 0, NULL, 0, NULL, "x", 1, error) == NULL);
    CHECK_TEXT(RedisAI_GetError(error), "ERR Backend not loaded: TFLITE");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EBACKENDNOTLOADED);
    RedisAI_ClearError(error);
    CHECK(RedisAI_ModelCreate(9, "CPU", NULL, options, 0, NULL, 0, NULL, "x", 1, error) == NULL);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EUNSUPPORTEDBACKEND);
    RedisAI_ClearError(error);
    lock(w);
    CHECK(RedisAI_GetModelFromKeyspace(w->ctx, w->argv[0], &model, REDISMODULE_READ, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "ERR model key is empty");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EKEYEMPTY);
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetModelFromKeyspace(w->ctx, w->argv[1], &model, REDISMODULE_READ, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "WRONGTYPE Operation against a key holding the wrong kind of value");
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_EMODELRUN);
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetScriptFromKeyspace(w->ctx, w->argv[0], &script, REDISMODULE_READ, error) == 1);
    CHECK_TEXT(RedisAI_GetError(error), "ERR script key is empty");
    RedisAI_ClearError(error);
    CHECK(RedisAI_GetScriptFromKeyspace(w->ctx, w->argv[1], &script, REDISMODULE_READ, error) == 1);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_ESCRIPTRUN);
    unlock(w);
    RedisAI_FreeError(error);
}

/* TORCH is loaded. */
void check_script_values(world *w) {
    RAI_Error *error = NULL;
    RedisAI_InitError(&error);
    RAI_Script *script = RedisAI_ScriptCreate("CPU", NULL, "def double(x):\n    return 2 * x\n", error);
    CHECK(script != NULL);
    lock(w);
    RedisModuleString *name = RedisModule_CreateString(w->ctx, "consumer:script", 15);
    RedisModuleKey *key = RedisModule_OpenKey(w->ctx, name, REDISMODULE_READ | REDISMODULE_WRITE);
    RedisModule_ModuleTypeSetValue(key, RedisAI_ScriptRedisType(), RedisAI_ScriptGetShallowCopy(script));
    RedisModule_CloseKey(key);
    RedisModule_FreeString(w->ctx, name);
    unlock(w);
    RedisAI_ScriptFree(script, error);
    CHECK(RedisAI_ScriptCreate("CPU", NULL, "def broken(", error) == NULL);
    CHECK(RedisAI_GetErrorCode(error) == RedisAI_ErrorCode_ESCRIPTCREATE);
    RedisAI_FreeError(error);
}
