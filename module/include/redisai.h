/* The C API of redisai-py, and of RedisAI, for other modules of the same redis-server.
 *
 * Include it behind redismodule.h (Redis' own, or any header that declares RedisModule_GetSharedAPI and the types
 * RedisModuleCtx, RedisModuleString and RedisModuleType), call RedisAI_Initialize from OnLoad or later, and use the
 * functions if it returned REDISMODULE_OK. docs/c-api.md says who owns what, and what may be called from where.
 *
 * This file is made from redisai_py/codegen/shared_api.py. */
/* clang-format off */
#ifndef REDISAI_H
#define REDISAI_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REDISAI_LLAPI_VERSION 1
#define REDISAI_BACKEND_TENSORFLOW 0
#define REDISAI_BACKEND_TFLITE 1
#define REDISAI_BACKEND_TORCH 2
#define REDISAI_BACKEND_ONNXRUNTIME 3
#define REDISAI_DEVICE_CPU 0
#define REDISAI_DEVICE_GPU 1

typedef struct RAI_Error RAI_Error;
typedef struct RAI_Tensor RAI_Tensor;
typedef struct RAI_Model RAI_Model;
typedef struct RAI_Script RAI_Script;
typedef struct RAI_ModelRunCtx RAI_ModelRunCtx;
typedef struct RAI_ScriptRunCtx RAI_ScriptRunCtx;
typedef struct RAI_DAGRunCtx RAI_DAGRunCtx;
typedef struct RAI_DAGRunOp RAI_DAGRunOp;
typedef struct RAI_OnFinishCtx RAI_OnFinishCtx;

typedef enum RedisAI_ErrorCode {
    RedisAI_ErrorCode_OK = 0,
    RedisAI_ErrorCode_EMODELIMPORT = 1,
    RedisAI_ErrorCode_EMODELCONFIGURE = 2,
    RedisAI_ErrorCode_EMODELCREATE = 3,
    RedisAI_ErrorCode_EMODELRUN = 4,
    RedisAI_ErrorCode_EMODELSERIALIZE = 5,
    RedisAI_ErrorCode_EMODELFREE = 6,
    RedisAI_ErrorCode_ESCRIPTIMPORT = 7,
    RedisAI_ErrorCode_ESCRIPTCONFIGURE = 8,
    RedisAI_ErrorCode_ESCRIPTCREATE = 9,
    RedisAI_ErrorCode_ESCRIPTRUN = 10,
    RedisAI_ErrorCode_EUNSUPPORTEDBACKEND = 11,
    RedisAI_ErrorCode_EBACKENDNOTLOADED = 12,
    RedisAI_ErrorCode_ESCRIPTFREE = 13,
    RedisAI_ErrorCode_ETENSORSET = 14,
    RedisAI_ErrorCode_ETENSORGET = 15,
    RedisAI_ErrorCode_EDAGBUILDER = 16,
    RedisAI_ErrorCode_EDAGRUN = 17,
    RedisAI_ErrorCode_EFINISHCTX = 18,
    RedisAI_ErrorCode_EKEYEMPTY = 19,
} RedisAI_ErrorCode;

/* Passed by value; 0 stands for the default. */
typedef struct RAI_ModelOpts {
    size_t batchsize;       /* rows */
    size_t minbatchsize;    /* rows */
    size_t minbatchtimeout; /* milliseconds */
    long long backends_intra_op_parallelism;
    long long backends_inter_op_parallelism;
} RAI_ModelOpts;

typedef void (*RAI_OnFinishCB)(RAI_OnFinishCtx *ctx, void *private_data);

/* How the pointers are defined. Each file that includes this header defines them; the linker keeps one.
 * Hidden: modules do not share them. */
#ifndef REDISAI_API
#define REDISAI_API __attribute__((weak, visibility("hidden")))
#endif

/* ---- the version of this interface */

/* REDISAI_LLAPI_VERSION of the server. */
REDISAI_API int (*RedisAI_GetLLAPIVersion)(void);

/* ---- errors: an error keeps the first text that it gets; NULL is accepted for every err argument */

/* Allocates an error without contents; 0. */
REDISAI_API int (*RedisAI_InitError)(RAI_Error **result);

/* Makes it an error without contents again. NULL is fine. */
REDISAI_API void (*RedisAI_ClearError)(RAI_Error *err);

/* Frees an error. NULL is fine. */
REDISAI_API void (*RedisAI_FreeError)(RAI_Error *err);

/* The text, or NULL. The error owns it. */
REDISAI_API const char *(*RedisAI_GetError)(RAI_Error *err);

/* The text with CR and LF as blanks, or NULL. */
REDISAI_API const char *(*RedisAI_GetErrorOneLine)(RAI_Error *err);

/* What kind of error it is. */
REDISAI_API RedisAI_ErrorCode (*RedisAI_GetErrorCode)(RAI_Error *err);

/* Copies src to dest, which must be clean. */
REDISAI_API void (*RedisAI_CloneError)(RAI_Error *dest, const RAI_Error *src);

/* ---- tensors: reference counted. Results that say whether something was done: 1 yes, 0 no */

/* A tensor of zeros (STRING: of empty strings); NULL for an unknown dtype, or dims that make no sense. */
REDISAI_API RAI_Tensor *(*RedisAI_TensorCreate)(const char *dtype, long long *dims, int ndims);

/* A tensor that holds others, one behind the other along dimension 0; NULL when they do not fit. */
REDISAI_API RAI_Tensor *(*RedisAI_TensorCreateByConcatenatingTensors)(RAI_Tensor **tensors, long long count);

/* A tensor with the rows from offset on, len of them; NULL when there are not as many. */
REDISAI_API RAI_Tensor *(*RedisAI_TensorCreateBySlicingTensor)(RAI_Tensor *t, long long offset, long long len);

/* Elements. */
REDISAI_API size_t (*RedisAI_TensorLength)(RAI_Tensor *t);

/* Bytes of an element; 1 for BOOL and STRING. */
REDISAI_API size_t (*RedisAI_TensorDataSize)(RAI_Tensor *t);

/* Bytes of all elements. */
REDISAI_API size_t (*RedisAI_TensorByteSize)(RAI_Tensor *t);

/* The rank. */
REDISAI_API int (*RedisAI_TensorNumDims)(RAI_Tensor *t);

/* One dimension; dim must be below the rank. */
REDISAI_API long long (*RedisAI_TensorDim)(RAI_Tensor *t, int dim);

/* The elements, row major, without gaps; STRING elements end with a NUL. The tensor owns them. They may be
 * written to while nobody else has the tensor. */
REDISAI_API char *(*RedisAI_TensorData)(RAI_Tensor *t);

/* Copies elements into a tensor; 0 when their number or size is wrong, or a BOOL is neither 0 nor 1. */
REDISAI_API int (*RedisAI_TensorSetData)(RAI_Tensor *t, const char *data, size_t len);

/* Sets element i of an integer or BOOL tensor; 0 for other dtypes, or without such an element. */
REDISAI_API int (*RedisAI_TensorSetValueFromLongLong)(RAI_Tensor *t, long long i, long long val);

/* Sets element i of a FLOAT or DOUBLE tensor; 0 for other dtypes, or without such an element. */
REDISAI_API int (*RedisAI_TensorSetValueFromDouble)(RAI_Tensor *t, long long i, double val);

/* Reads element i of a FLOAT or DOUBLE tensor; 0 for other dtypes, or without such an element. */
REDISAI_API int (*RedisAI_TensorGetValueAsDouble)(RAI_Tensor *t, long long i, double *val);

/* Reads element i of an integer or BOOL tensor; 0 for other dtypes, or without such an element. */
REDISAI_API int (*RedisAI_TensorGetValueAsLongLong)(RAI_Tensor *t, long long i, long long *val);

/* The same tensor with one more reference. */
REDISAI_API RAI_Tensor *(*RedisAI_TensorGetShallowCopy)(RAI_Tensor *t);

/* Drops a reference. NULL is fine. */
REDISAI_API void (*RedisAI_TensorFree)(RAI_Tensor *t);

/* The type of keys that hold tensors. */
REDISAI_API RedisModuleType *(*RedisAI_TensorRedisType)(void);

/* ---- models */

/* Loads a model whose backend is loaded; waits for that. NULL on error. Names are for TF. The tag is
 * ignored, since it was never clear whether it is a char * or a RedisModuleString *; so are the
 * parallelisms. */
REDISAI_API RAI_Model *(*RedisAI_ModelCreate)(int backend, char *devicestr, char *tag, RAI_ModelOpts opts, size_t ninputs, const char **inputs, size_t noutputs, const char **outputs, const char *modeldef, size_t modellen, RAI_Error *err);

/* Drops a reference. */
REDISAI_API void (*RedisAI_ModelFree)(RAI_Model *model, RAI_Error *err);

/* What a run of the model needs; takes a reference. */
REDISAI_API RAI_ModelRunCtx *(*RedisAI_ModelRunCtxCreate)(RAI_Model *model);

/* The model at a key, borrowed: it may go with Redis' lock, which the caller holds. 0, or 1 with the
 * error. */
REDISAI_API int (*RedisAI_GetModelFromKeyspace)(RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Model **model, int mode, RAI_Error *err);

/* The next input; takes a reference. Names do not matter. 1. */
REDISAI_API int (*RedisAI_ModelRunCtxAddInput)(RAI_ModelRunCtx *mctx, const char *inputName, RAI_Tensor *inputTensor);

/* Asks for the next output; 1. */
REDISAI_API int (*RedisAI_ModelRunCtxAddOutput)(RAI_ModelRunCtx *mctx, const char *outputName);

/* Outputs that were asked for. */
REDISAI_API size_t (*RedisAI_ModelRunCtxNumOutputs)(RAI_ModelRunCtx *mctx);

/* An output after the run, borrowed; NULL if there is none. */
REDISAI_API RAI_Tensor *(*RedisAI_ModelRunCtxOutputTensor)(RAI_ModelRunCtx *mctx, size_t index);

/* Drops model, inputs and outputs. NULL is fine. */
REDISAI_API void (*RedisAI_ModelRunCtxFree)(RAI_ModelRunCtx *mctx);

/* Runs a model, waits, and fills in the outputs; 0, or 1 with the error. Several contexts of one model run
 * as one batch. Not for ONNX. */
REDISAI_API int (*RedisAI_ModelRun)(RAI_ModelRunCtx **mctxs, long long n, RAI_Error *err);

/* A copy of the model's bytes, to be freed with RedisModule_Free; 0. */
REDISAI_API int (*RedisAI_ModelSerialize)(RAI_Model *model, char **buffer, size_t *len, RAI_Error *err);

/* The same model with one more reference. */
REDISAI_API RAI_Model *(*RedisAI_ModelGetShallowCopy)(RAI_Model *model);

/* The type of keys that hold models. */
REDISAI_API RedisModuleType *(*RedisAI_ModelRedisType)(void);

/* Queues a run, which takes over the context, and calls back when it is over, on a thread of ours; 0. */
REDISAI_API int (*RedisAI_ModelRunAsync)(RAI_ModelRunCtx *mctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data);

/* In the callback: the context of ModelRunAsync, which belongs to the caller again, and the error of the
 * run. NULL when it was no run of a model. */
REDISAI_API RAI_ModelRunCtx *(*RedisAI_GetAsModelRunCtx)(RAI_OnFinishCtx *ctx, RAI_Error *err);

/* ---- scripts */

/* Compiles a script without entry points; waits for that. NULL on error. */
REDISAI_API RAI_Script *(*RedisAI_ScriptCreate)(char *devicestr, char *tag, const char *scriptdef, RAI_Error *err);

/* As GetModelFromKeyspace. */
REDISAI_API int (*RedisAI_GetScriptFromKeyspace)(RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Script **script, int mode, RAI_Error *err);

/* Drops a reference. */
REDISAI_API void (*RedisAI_ScriptFree)(RAI_Script *script, RAI_Error *err);

/* What a run of one of its functions needs; takes a reference. */
REDISAI_API RAI_ScriptRunCtx *(*RedisAI_ScriptRunCtxCreate)(RAI_Script *script, const char *fnname);

/* Deprecated: ScriptRunCtxAddTensorInput. */
REDISAI_API int (*RedisAI_ScriptRunCtxAddInput)(RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor, RAI_Error *err);

/* The next input; takes a reference. 1. */
REDISAI_API int (*RedisAI_ScriptRunCtxAddTensorInput)(RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor);

/* Deprecated: ScriptRunCtxAddTensorInputList. */
REDISAI_API int (*RedisAI_ScriptRunCtxAddInputList)(RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t len, RAI_Error *err);

/* The next inputs, one after the other. 1. */
REDISAI_API int (*RedisAI_ScriptRunCtxAddTensorInputList)(RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t count);

/* Asks for the next output; 1. */
REDISAI_API int (*RedisAI_ScriptRunCtxAddOutput)(RAI_ScriptRunCtx *sctx);

/* Outputs that were asked for. */
REDISAI_API size_t (*RedisAI_ScriptRunCtxNumOutputs)(RAI_ScriptRunCtx *sctx);

/* An output after the run, borrowed; NULL if there is none. */
REDISAI_API RAI_Tensor *(*RedisAI_ScriptRunCtxOutputTensor)(RAI_ScriptRunCtx *sctx, size_t index);

/* Drops script, inputs and outputs. NULL is fine. */
REDISAI_API void (*RedisAI_ScriptRunCtxFree)(RAI_ScriptRunCtx *sctx);

/* Runs the function, waits, and fills in the outputs; 0, or 1 with the error. */
REDISAI_API int (*RedisAI_ScriptRun)(RAI_ScriptRunCtx *sctx, RAI_Error *err);

/* The same with one more reference. */
REDISAI_API RAI_Script *(*RedisAI_ScriptGetShallowCopy)(RAI_Script *script);

/* The type of keys that hold scripts. */
REDISAI_API RedisModuleType *(*RedisAI_ScriptRedisType)(void);

/* As ModelRunAsync. */
REDISAI_API int (*RedisAI_ScriptRunAsync)(RAI_ScriptRunCtx *sctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data);

/* As GetAsModelRunCtx. */
REDISAI_API RAI_ScriptRunCtx *(*RedisAI_GetAsScriptRunCtx)(RAI_OnFinishCtx *ctx, RAI_Error *err);

/* ---- DAGs */

/* A DAG without operations. */
REDISAI_API RAI_DAGRunCtx *(*RedisAI_DAGRunCtxCreate)(void);

/* Runs a model; takes a reference. */
REDISAI_API RAI_DAGRunOp *(*RedisAI_DAGCreateModelRunOp)(RAI_Model *model);

/* The same for a function of a script. */
REDISAI_API RAI_DAGRunOp *(*RedisAI_DAGCreateScriptRunOp)(RAI_Script *script, const char *fnname);

/* The name of its next input; 0. */
REDISAI_API int (*RedisAI_DAGRunOpAddInput)(RAI_DAGRunOp *DAGop, const char *inputName);

/* The name of its next output; 0. */
REDISAI_API int (*RedisAI_DAGRunOpAddOutput)(RAI_DAGRunOp *DAGop, const char *outputName);

/* 0: the DAG owns the operation. 1 with the error: the caller still does. */
REDISAI_API int (*RedisAI_DAGAddRunOp)(RAI_DAGRunCtx *run_info, RAI_DAGRunOp *DAGop, RAI_Error *err);

/* A tensor that all operations see; takes a reference. 0, or 1 when the name was loaded already. */
REDISAI_API int (*RedisAI_DAGLoadTensor)(RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor);

/* An operation that defines a tensor; takes a reference. 0. */
REDISAI_API int (*RedisAI_DAGAddTensorSet)(RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor);

/* An operation that makes a tensor an output of the DAG; 0. */
REDISAI_API int (*RedisAI_DAGAddTensorGet)(RAI_DAGRunCtx *run_info, const char *t_name);

/* Operations in the syntax of AI.DAGEXECUTE, words separated by blanks, each behind |>: all of them, and
 * 0, or none, and 1 with the error. Reads keys of database 0: the caller holds Redis' lock. */
REDISAI_API int (*RedisAI_DAGAddOpsFromString)(RAI_DAGRunCtx *run_info, const char *dag, RAI_Error *err);

/* Operations so far. */
REDISAI_API size_t (*RedisAI_DAGNumOps)(RAI_DAGRunCtx *run_info);

/* Queues the DAG and calls back when it is over; 0. Or 1 with the error: then it does not run. */
REDISAI_API int (*RedisAI_DAGRun)(RAI_DAGRunCtx *run_info, RAI_OnFinishCB DAGAsyncFinish, void *private_data, RAI_Error *err);

/* DAGAddTensorGet operations. */
REDISAI_API size_t (*RedisAI_DAGNumOutputs)(RAI_OnFinishCtx *finish_ctx);

/* What such an operation got, borrowed; NULL if nothing. */
REDISAI_API const RAI_Tensor *(*RedisAI_DAGOutputTensor)(RAI_OnFinishCtx *finish_ctx, size_t index);

/* Whether an operation failed. */
REDISAI_API int (*RedisAI_DAGRunError)(RAI_OnFinishCtx *finish_ctx);

/* The first error, which the DAG owns. */
REDISAI_API const RAI_Error *(*RedisAI_DAGGetError)(RAI_OnFinishCtx *finish_ctx);

/* For operations that no DAG owns. NULL is fine. */
REDISAI_API void (*RedisAI_DAGRunOpFree)(RAI_DAGRunOp *dagOp);

/* Frees a DAG, run or not, with its outputs; the finish context is the same pointer. NULL is fine. */
REDISAI_API void (*RedisAI_DAGFree)(RAI_DAGRunCtx *run_info);

/* Binds all functions. REDISMODULE_OK (0), or REDISMODULE_ERR (1) if the server has no RedisAI loaded yet,
 * or an older one that lacks a function: then all of them are NULL. */
static inline int RedisAI_Initialize(RedisModuleCtx *ctx) {
    static const struct {
        const char *name;
        void **pointer;
    } functions[] = {
        {"RedisAI_GetLLAPIVersion", (void **)&RedisAI_GetLLAPIVersion},
        {"RedisAI_InitError", (void **)&RedisAI_InitError},
        {"RedisAI_ClearError", (void **)&RedisAI_ClearError},
        {"RedisAI_FreeError", (void **)&RedisAI_FreeError},
        {"RedisAI_GetError", (void **)&RedisAI_GetError},
        {"RedisAI_GetErrorOneLine", (void **)&RedisAI_GetErrorOneLine},
        {"RedisAI_GetErrorCode", (void **)&RedisAI_GetErrorCode},
        {"RedisAI_CloneError", (void **)&RedisAI_CloneError},
        {"RedisAI_TensorCreate", (void **)&RedisAI_TensorCreate},
        {"RedisAI_TensorCreateByConcatenatingTensors", (void **)&RedisAI_TensorCreateByConcatenatingTensors},
        {"RedisAI_TensorCreateBySlicingTensor", (void **)&RedisAI_TensorCreateBySlicingTensor},
        {"RedisAI_TensorLength", (void **)&RedisAI_TensorLength},
        {"RedisAI_TensorDataSize", (void **)&RedisAI_TensorDataSize},
        {"RedisAI_TensorByteSize", (void **)&RedisAI_TensorByteSize},
        {"RedisAI_TensorNumDims", (void **)&RedisAI_TensorNumDims},
        {"RedisAI_TensorDim", (void **)&RedisAI_TensorDim},
        {"RedisAI_TensorData", (void **)&RedisAI_TensorData},
        {"RedisAI_TensorSetData", (void **)&RedisAI_TensorSetData},
        {"RedisAI_TensorSetValueFromLongLong", (void **)&RedisAI_TensorSetValueFromLongLong},
        {"RedisAI_TensorSetValueFromDouble", (void **)&RedisAI_TensorSetValueFromDouble},
        {"RedisAI_TensorGetValueAsDouble", (void **)&RedisAI_TensorGetValueAsDouble},
        {"RedisAI_TensorGetValueAsLongLong", (void **)&RedisAI_TensorGetValueAsLongLong},
        {"RedisAI_TensorGetShallowCopy", (void **)&RedisAI_TensorGetShallowCopy},
        {"RedisAI_TensorFree", (void **)&RedisAI_TensorFree},
        {"RedisAI_TensorRedisType", (void **)&RedisAI_TensorRedisType},
        {"RedisAI_ModelCreate", (void **)&RedisAI_ModelCreate},
        {"RedisAI_ModelFree", (void **)&RedisAI_ModelFree},
        {"RedisAI_ModelRunCtxCreate", (void **)&RedisAI_ModelRunCtxCreate},
        {"RedisAI_GetModelFromKeyspace", (void **)&RedisAI_GetModelFromKeyspace},
        {"RedisAI_ModelRunCtxAddInput", (void **)&RedisAI_ModelRunCtxAddInput},
        {"RedisAI_ModelRunCtxAddOutput", (void **)&RedisAI_ModelRunCtxAddOutput},
        {"RedisAI_ModelRunCtxNumOutputs", (void **)&RedisAI_ModelRunCtxNumOutputs},
        {"RedisAI_ModelRunCtxOutputTensor", (void **)&RedisAI_ModelRunCtxOutputTensor},
        {"RedisAI_ModelRunCtxFree", (void **)&RedisAI_ModelRunCtxFree},
        {"RedisAI_ModelRun", (void **)&RedisAI_ModelRun},
        {"RedisAI_ModelSerialize", (void **)&RedisAI_ModelSerialize},
        {"RedisAI_ModelGetShallowCopy", (void **)&RedisAI_ModelGetShallowCopy},
        {"RedisAI_ModelRedisType", (void **)&RedisAI_ModelRedisType},
        {"RedisAI_ModelRunAsync", (void **)&RedisAI_ModelRunAsync},
        {"RedisAI_GetAsModelRunCtx", (void **)&RedisAI_GetAsModelRunCtx},
        {"RedisAI_ScriptCreate", (void **)&RedisAI_ScriptCreate},
        {"RedisAI_GetScriptFromKeyspace", (void **)&RedisAI_GetScriptFromKeyspace},
        {"RedisAI_ScriptFree", (void **)&RedisAI_ScriptFree},
        {"RedisAI_ScriptRunCtxCreate", (void **)&RedisAI_ScriptRunCtxCreate},
        {"RedisAI_ScriptRunCtxAddInput", (void **)&RedisAI_ScriptRunCtxAddInput},
        {"RedisAI_ScriptRunCtxAddTensorInput", (void **)&RedisAI_ScriptRunCtxAddTensorInput},
        {"RedisAI_ScriptRunCtxAddInputList", (void **)&RedisAI_ScriptRunCtxAddInputList},
        {"RedisAI_ScriptRunCtxAddTensorInputList", (void **)&RedisAI_ScriptRunCtxAddTensorInputList},
        {"RedisAI_ScriptRunCtxAddOutput", (void **)&RedisAI_ScriptRunCtxAddOutput},
        {"RedisAI_ScriptRunCtxNumOutputs", (void **)&RedisAI_ScriptRunCtxNumOutputs},
        {"RedisAI_ScriptRunCtxOutputTensor", (void **)&RedisAI_ScriptRunCtxOutputTensor},
        {"RedisAI_ScriptRunCtxFree", (void **)&RedisAI_ScriptRunCtxFree},
        {"RedisAI_ScriptRun", (void **)&RedisAI_ScriptRun},
        {"RedisAI_ScriptGetShallowCopy", (void **)&RedisAI_ScriptGetShallowCopy},
        {"RedisAI_ScriptRedisType", (void **)&RedisAI_ScriptRedisType},
        {"RedisAI_ScriptRunAsync", (void **)&RedisAI_ScriptRunAsync},
        {"RedisAI_GetAsScriptRunCtx", (void **)&RedisAI_GetAsScriptRunCtx},
        {"RedisAI_DAGRunCtxCreate", (void **)&RedisAI_DAGRunCtxCreate},
        {"RedisAI_DAGCreateModelRunOp", (void **)&RedisAI_DAGCreateModelRunOp},
        {"RedisAI_DAGCreateScriptRunOp", (void **)&RedisAI_DAGCreateScriptRunOp},
        {"RedisAI_DAGRunOpAddInput", (void **)&RedisAI_DAGRunOpAddInput},
        {"RedisAI_DAGRunOpAddOutput", (void **)&RedisAI_DAGRunOpAddOutput},
        {"RedisAI_DAGAddRunOp", (void **)&RedisAI_DAGAddRunOp},
        {"RedisAI_DAGLoadTensor", (void **)&RedisAI_DAGLoadTensor},
        {"RedisAI_DAGAddTensorSet", (void **)&RedisAI_DAGAddTensorSet},
        {"RedisAI_DAGAddTensorGet", (void **)&RedisAI_DAGAddTensorGet},
        {"RedisAI_DAGAddOpsFromString", (void **)&RedisAI_DAGAddOpsFromString},
        {"RedisAI_DAGNumOps", (void **)&RedisAI_DAGNumOps},
        {"RedisAI_DAGRun", (void **)&RedisAI_DAGRun},
        {"RedisAI_DAGNumOutputs", (void **)&RedisAI_DAGNumOutputs},
        {"RedisAI_DAGOutputTensor", (void **)&RedisAI_DAGOutputTensor},
        {"RedisAI_DAGRunError", (void **)&RedisAI_DAGRunError},
        {"RedisAI_DAGGetError", (void **)&RedisAI_DAGGetError},
        {"RedisAI_DAGRunOpFree", (void **)&RedisAI_DAGRunOpFree},
        {"RedisAI_DAGFree", (void **)&RedisAI_DAGFree},
    };
    const size_t count = sizeof(functions) / sizeof(functions[0]);
    size_t bound = 0;
    while (bound < count) {
        *functions[bound].pointer = RedisModule_GetSharedAPI(ctx, functions[bound].name);
        if (*functions[bound].pointer == NULL) break;
        bound++;
    }
    if (bound == count) return 0;
    for (size_t i = 0; i < bound; i++) *functions[i].pointer = NULL;
    return 1;
}

#ifdef __cplusplus
}
#endif

#endif
