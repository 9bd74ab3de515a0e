/* The C API for other modules: models and scripts as values. */
#include <stdio.h>
#include <string.h>

#include "shared_api_internal.h"

/* ---- creating ----------------------------------------------------------------- */

static int backend_is_there(int backend, RAI_Error *error) {
    char text[64];
    if (rai_backend_name(backend) == NULL) {
        rai_error_set(error, RedisAI_ErrorCode_EUNSUPPORTEDBACKEND, "ERR unsupported backend");
        return 0;
    }
    if (rai_backend(backend)->loaded) return 1;
    snprintf(text, sizeof(text), "ERR Backend not loaded: %s", rai_backend_name(backend));
    rai_error_set(error, RedisAI_ErrorCode_EBACKENDNOTLOADED, text);
    return 0;
}

static rai_model *new_value(int32_t kind, int32_t backend, const char *device, const char *data, size_t length) {
    rai_model *model = rai_model_new(kind, backend, device ? device : "", device ? strlen(device) : 0);
    model->blob = rai_blob_new(1);
    rai_blob_own(model->blob, rai_bytes_new(data, length).data, length);
    return model;
}

static rai_names *new_names(const char **names, size_t count) {
    rai_names *copy = rai_names_new((int64_t)count);
    for (size_t i = 0; i < count; i++) rai_names_set(copy, (int64_t)i, names[i], strlen(names[i]));
    return copy;
}

/* Has the control worker create the session, and waits; NULL with the error. */
static rai_model *load(rai_model *model, RedisAI_ErrorCode code, RAI_Error *error) {
    rai_job *job = rai_job_new(RAI_JOB_LOAD, model, 0, 0);
    rai_job_run_in_place(job, rai_control_queue());
    if (job->error) {
        rai_error_set(error, code, job->error);
        rai_model_release(model);
        model = NULL;
    } else {
        model->queue = rai_queue_of_device(model->device);
    }
    rai_job_free(job);
    return model;
}

RAI_Model *RAI_ModelCreate(int backend, char *devicestr, char *tag, RAI_ModelOpts opts, size_t ninputs,
                           const char **inputs, size_t noutputs, const char **outputs, const char *modeldef,
                           size_t modellen, RAI_Error *err) {
    (void)tag; /* a char * by RedisAI's header, a RedisModuleString * in its implementation */
    if (!backend_is_there(backend, err)) return NULL;
    rai_model *model = new_value(RAI_MODEL, backend, devicestr, modeldef, modellen);
    model->batch_size = (int64_t)opts.batchsize;
    model->min_batch_size = (int64_t)opts.minbatchsize;
    model->min_batch_timeout_ms = (int64_t)opts.minbatchtimeout;
    if (backend == RAI_TF) rai_model_set_names(model, new_names(inputs, ninputs), new_names(outputs, noutputs));
    return load(model, RedisAI_ErrorCode_EMODELCREATE, err);
}

RAI_Script *RAI_ScriptCreate(char *devicestr, char *tag, const char *scriptdef, RAI_Error *err) {
    (void)tag;
    if (!backend_is_there(RAI_TORCH, err)) return NULL;
    rai_model *script = new_value(RAI_SCRIPT, RAI_TORCH, devicestr, scriptdef, strlen(scriptdef));
    return load(script, RedisAI_ErrorCode_ESCRIPTCREATE, err);
}

/* ---- references ------------------------------------------------------------------ */

void RAI_ModelFree(RAI_Model *model, RAI_Error *err) {
    (void)err;
    rai_model_release(model);
}

void RAI_ScriptFree(RAI_Script *script, RAI_Error *err) {
    (void)err;
    rai_model_release(script);
}

RAI_Model *RAI_ModelGetShallowCopy(RAI_Model *model) {
    return rai_model_retain(model);
}

RAI_Script *RAI_ScriptGetShallowCopy(RAI_Script *script) {
    return rai_model_retain(script);
}

int RAI_ModelSerialize(RAI_Model *model, char **buffer, size_t *len, RAI_Error *err) {
    (void)err;
    char *owned;
    *len = model->blob->length;
    const char *data = rai_blob_slice(model->blob, 0, *len, &owned);
    *buffer = owned ? owned : rai_bytes_new(data, *len).data;
    return REDISMODULE_OK;
}

/* ---- the keyspace ----------------------------------------------------------------- */

RedisModuleType *RAI_ModelRedisType(void) {
    return rai_types.model;
}

RedisModuleType *RAI_ScriptRedisType(void) {
    return rai_types.script;
}

/* The value at a key, borrowed; NULL with the error. The caller holds Redis' lock. */
static rai_model *find(RedisModuleCtx *ctx, RedisModuleString *name, int mode, int32_t kind, RAI_Error *error) {
    int is_script = kind == RAI_SCRIPT;
    RedisModuleType *type = is_script ? rai_types.script : rai_types.model;
    const char *missing = is_script ? "ERR script key is empty" : "ERR model key is empty";
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, mode);
    rai_model *found = NULL;
    if (key == NULL || RedisModule_KeyType(key) == REDISMODULE_KEYTYPE_EMPTY) {
        rai_error_set(error, RedisAI_ErrorCode_EKEYEMPTY, missing);
    } else if (RedisModule_ModuleTypeGetType(key) == type) {
        found = RedisModule_ModuleTypeGetValue(key);
    } else if (!is_script && RedisModule_ModuleTypeGetType(key) == rai_types.alias) {
        found = rai_alias_target(ctx, RedisModule_ModuleTypeGetValue(key));
        if (found == NULL) rai_error_set(error, RedisAI_ErrorCode_EKEYEMPTY, missing);
    } else {
        rai_error_set(error, is_script ? RedisAI_ErrorCode_ESCRIPTRUN : RedisAI_ErrorCode_EMODELRUN,
                      "WRONGTYPE Operation against a key holding the wrong kind of value");
    }
    RedisModule_CloseKey(key);
    return found;
}

int RAI_GetModelFromKeyspace(RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Model **model, int mode,
                             RAI_Error *err) {
    *model = find(ctx, keyName, mode, RAI_MODEL, err);
    return *model ? REDISMODULE_OK : REDISMODULE_ERR;
}

int RAI_GetScriptFromKeyspace(RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Script **script, int mode,
                              RAI_Error *err) {
    *script = find(ctx, keyName, mode, RAI_SCRIPT, err);
    return *script ? REDISMODULE_OK : REDISMODULE_ERR;
}
