/* What the files of the shared C API share. */
#ifndef RAI_SHARED_API_INTERNAL_H
#define RAI_SHARED_API_INTERNAL_H
#include "internal.h"
#include "shared_api.h"

struct RAI_Error {
    RedisAI_ErrorCode code;
    char *text; /* NULL: no error */
    char *one_line;
};

/* What every context of a run begins with, so that a callback finds out what it got. */
typedef enum finished_kind { FINISHED_MODEL = 1, FINISHED_SCRIPT, FINISHED_DAG } finished_kind;

struct RAI_OnFinishCtx {
    finished_kind kind;
    RAI_Error error;
    RAI_OnFinishCB callback;
    void *private_data;
};

/* Keeps the first error only; a NULL error is fine. */
void rai_error_set(RAI_Error *error, RedisAI_ErrorCode code, const char *text);
/* The code of errors of a model's, or a script's, runs. */
RedisAI_ErrorCode rai_run_error_code(const rai_model *model);
/* An array that has room for one more element of this size. */
void *rai_grown(void *array, size_t count, size_t *room, size_t size);
char *rai_text_new(const char *text);

#endif
