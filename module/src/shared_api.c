/* The C API for other modules: its exports, and errors.
 *
 * Rules for all files of it. Other modules call from any thread, may hold Redis'
 * lock, and may wait, with it, for a callback: nothing here takes Redis' lock or the
 * GIL. What needs Python is a job like that of a command. Values are those of the
 * keyspace. Source of the rules: spec/llapi.md. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "shared_api_internal.h"

int rai_shared_api_export(RedisModuleCtx *ctx) {
#define EXPORT(name)                                                                                \
    if (RedisModule_ExportSharedAPI(ctx, "RedisAI_" #name, (void *)RAI_##name) != REDISMODULE_OK) { \
        RedisModule_Log(ctx, "warning", "Could not register RedisAI_%s", #name);                    \
        RedisModule_Log(ctx, "warning", "could not register RedisAI api");                          \
        return REDISMODULE_ERR;                                                                     \
    }
    SHARED_API(EXPORT)
    return REDISMODULE_OK;
}

int RAI_GetLLAPIVersion(void) {
    return REDISAI_LLAPI_VERSION;
}

char *rai_text_new(const char *text) {
    return rai_bytes_new(text, strlen(text)).data;
}

void *rai_grown(void *array, size_t count, size_t *room, size_t size) {
    if (count < *room) return array;
    *room = *room ? *room * 2 : 4;
    return RedisModule_Realloc(array, *room * size);
}

/* ---- errors --------------------------------------------------------------- */

void rai_error_set(RAI_Error *error, RedisAI_ErrorCode code, const char *text) {
    if (error == NULL || error->code != RedisAI_ErrorCode_OK) return;
    error->code = code;
    error->text = rai_text_new(text);
    error->one_line = rai_text_new(text);
    for (char *c = error->one_line; *c; c++) {
        if (*c == '\r' || *c == '\n') *c = ' ';
    }
}

RedisAI_ErrorCode rai_run_error_code(const rai_model *model) {
    return model->kind == RAI_SCRIPT ? RedisAI_ErrorCode_ESCRIPTRUN : RedisAI_ErrorCode_EMODELRUN;
}

int RAI_InitError(RAI_Error **result) {
    *result = RedisModule_Calloc(1, sizeof(**result));
    return REDISMODULE_OK;
}

void RAI_ClearError(RAI_Error *err) {
    if (err == NULL) return;
    RedisModule_Free(err->text);
    RedisModule_Free(err->one_line);
    memset(err, 0, sizeof(*err));
}

void RAI_FreeError(RAI_Error *err) {
    RAI_ClearError(err);
    RedisModule_Free(err);
}

const char *RAI_GetError(RAI_Error *err) {
    return err->text;
}

const char *RAI_GetErrorOneLine(RAI_Error *err) {
    return err->one_line;
}

RedisAI_ErrorCode RAI_GetErrorCode(RAI_Error *err) {
    return err->code;
}

void RAI_CloneError(RAI_Error *dest, const RAI_Error *src) {
    assert(dest->text == NULL);
    if (src->text) rai_error_set(dest, src->code, src->text);
}
