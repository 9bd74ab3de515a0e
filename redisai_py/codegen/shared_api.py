"""The C API that other modules call: its 75 functions, declared once.

From this table come the public header (``module/include/redisai.h``, which is
kept in the repository: ``python -m redisai_py.codegen.shared_api`` writes it
again), and the header of the implementation with the list of exports
(``shared_api.h``). Names, signatures and order are those of RedisAI's low-level API,
version 1. Source of the rules: spec/llapi.md.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

VERSION = 1
PUBLIC_HEADER = Path(__file__).resolve().parents[2] / "module" / "include" / "redisai.h"


class Function(NamedTuple):
    """One ``RedisAI_<name>``: C return type, name, C parameter list, and what it does."""

    returns: str
    name: str
    parameters: str
    text: str


ERROR_CODES = (
    "OK",
    "EMODELIMPORT",
    "EMODELCONFIGURE",
    "EMODELCREATE",
    "EMODELRUN",
    "EMODELSERIALIZE",
    "EMODELFREE",
    "ESCRIPTIMPORT",
    "ESCRIPTCONFIGURE",
    "ESCRIPTCREATE",
    "ESCRIPTRUN",
    "EUNSUPPORTEDBACKEND",
    "EBACKENDNOTLOADED",
    "ESCRIPTFREE",
    "ETENSORSET",
    "ETENSORGET",
    "EDAGBUILDER",
    "EDAGRUN",
    "EFINISHCTX",
    "EKEYEMPTY",
)

CONSTANTS = {
    "REDISAI_LLAPI_VERSION": VERSION,
    "REDISAI_BACKEND_TENSORFLOW": 0,
    "REDISAI_BACKEND_TFLITE": 1,
    "REDISAI_BACKEND_TORCH": 2,
    "REDISAI_BACKEND_ONNXRUNTIME": 3,
    "REDISAI_DEVICE_CPU": 0,
    "REDISAI_DEVICE_GPU": 1,
}

ERROR_CODE_TYPE = (
    "typedef enum RedisAI_ErrorCode {\n"
    + "".join(f"    RedisAI_ErrorCode_{name} = {number},\n" for number, name in enumerate(ERROR_CODES))
    + "} RedisAI_ErrorCode;\n"
)

# How models are batched and parallelised; passed by value. 0 stands for the default.
OPTIONS_TYPE = """\
typedef struct RAI_ModelOpts {
    size_t batchsize;       /* rows */
    size_t minbatchsize;    /* rows */
    size_t minbatchtimeout; /* milliseconds */
    long long backends_intra_op_parallelism;
    long long backends_inter_op_parallelism;
} RAI_ModelOpts;
"""

CALLBACK_TYPE = "typedef void (*RAI_OnFinishCB)(RAI_OnFinishCtx *ctx, void *private_data);\n"

VALUE_TYPES = ("RAI_Tensor", "RAI_Model", "RAI_Script")
OPAQUE_TYPES = (
    "RAI_Error",
    *VALUE_TYPES,
    "RAI_ModelRunCtx",
    "RAI_ScriptRunCtx",
    "RAI_DAGRunCtx",
    "RAI_DAGRunOp",
    "RAI_OnFinishCtx",
)

VERSIONS = (Function("int", "GetLLAPIVersion", "", "REDISAI_LLAPI_VERSION of the server."),)

ERRORS = (
    Function("int", "InitError", "RAI_Error **result", "Allocates an error without contents; 0."),
    Function("void", "ClearError", "RAI_Error *err", "Makes it an error without contents again. NULL is fine."),
    Function("void", "FreeError", "RAI_Error *err", "Frees an error. NULL is fine."),
    Function("const char *", "GetError", "RAI_Error *err", "The text, or NULL. The error owns it."),
    Function("const char *", "GetErrorOneLine", "RAI_Error *err", "The text with CR and LF as blanks, or NULL."),
    Function("RedisAI_ErrorCode", "GetErrorCode", "RAI_Error *err", "What kind of error it is."),
    Function("void", "CloneError", "RAI_Error *dest, const RAI_Error *src", "Copies src to dest, which must be clean."),
)

TENSORS = (
    Function(
        "RAI_Tensor *",
        "TensorCreate",
        "const char *dtype, long long *dims, int ndims",
        "A tensor of zeros (STRING: of empty strings); NULL for an unknown dtype, or dims that make no sense.",
    ),
    Function(
        "RAI_Tensor *",
        "TensorCreateByConcatenatingTensors",
        "RAI_Tensor **tensors, long long count",
        "A tensor that holds others, one behind the other along dimension 0; NULL when they do not fit.",
    ),
    Function(
        "RAI_Tensor *",
        "TensorCreateBySlicingTensor",
        "RAI_Tensor *t, long long offset, long long len",
        "A tensor with the rows from offset on, len of them; NULL when there are not as many.",
    ),
    Function("size_t", "TensorLength", "RAI_Tensor *t", "Elements."),
    Function("size_t", "TensorDataSize", "RAI_Tensor *t", "Bytes of an element; 1 for BOOL and STRING."),
    Function("size_t", "TensorByteSize", "RAI_Tensor *t", "Bytes of all elements."),
    Function("int", "TensorNumDims", "RAI_Tensor *t", "The rank."),
    Function("long long", "TensorDim", "RAI_Tensor *t, int dim", "One dimension; dim must be below the rank."),
    Function(
        "char *",
        "TensorData",
        "RAI_Tensor *t",
        "The elements, row major, without gaps; STRING elements end with a NUL. The tensor owns them. They may be "
        "written to while nobody else has the tensor.",
    ),
    Function(
        "int",
        "TensorSetData",
        "RAI_Tensor *t, const char *data, size_t len",
        "Copies elements into a tensor; 0 when their number or size is wrong, or a BOOL is neither 0 nor 1.",
    ),
    Function(
        "int",
        "TensorSetValueFromLongLong",
        "RAI_Tensor *t, long long i, long long val",
        "Sets element i of an integer or BOOL tensor; 0 for other dtypes, or without such an element.",
    ),
    Function(
        "int",
        "TensorSetValueFromDouble",
        "RAI_Tensor *t, long long i, double val",
        "Sets element i of a FLOAT or DOUBLE tensor; 0 for other dtypes, or without such an element.",
    ),
    Function(
        "int",
        "TensorGetValueAsDouble",
        "RAI_Tensor *t, long long i, double *val",
        "Reads element i of a FLOAT or DOUBLE tensor; 0 for other dtypes, or without such an element.",
    ),
    Function(
        "int",
        "TensorGetValueAsLongLong",
        "RAI_Tensor *t, long long i, long long *val",
        "Reads element i of an integer or BOOL tensor; 0 for other dtypes, or without such an element.",
    ),
    Function("RAI_Tensor *", "TensorGetShallowCopy", "RAI_Tensor *t", "The same tensor with one more reference."),
    Function("void", "TensorFree", "RAI_Tensor *t", "Drops a reference. NULL is fine."),
    Function("RedisModuleType *", "TensorRedisType", "", "The type of keys that hold tensors."),
)

MODELS = (
    Function(
        "RAI_Model *",
        "ModelCreate",
        "int backend, char *devicestr, char *tag, RAI_ModelOpts opts, size_t ninputs, const char **inputs, "
        "size_t noutputs, const char **outputs, const char *modeldef, size_t modellen, RAI_Error *err",
        "Loads a model whose backend is loaded; waits for that. NULL on error. Names are for TF. The tag is ignored, "
        "since it was never clear whether it is a char * or a RedisModuleString *; so are the parallelisms.",
    ),
    Function("void", "ModelFree", "RAI_Model *model, RAI_Error *err", "Drops a reference."),
    Function(
        "RAI_ModelRunCtx *",
        "ModelRunCtxCreate",
        "RAI_Model *model",
        "What a run of the model needs; takes a reference.",
    ),
    Function(
        "int",
        "GetModelFromKeyspace",
        "RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Model **model, int mode, RAI_Error *err",
        "The model at a key, borrowed: it may go with Redis' lock, which the caller holds. 0, or 1 with the error.",
    ),
    Function(
        "int",
        "ModelRunCtxAddInput",
        "RAI_ModelRunCtx *mctx, const char *inputName, RAI_Tensor *inputTensor",
        "The next input; takes a reference. Names do not matter. 1.",
    ),
    Function(
        "int", "ModelRunCtxAddOutput", "RAI_ModelRunCtx *mctx, const char *outputName", "Asks for the next output; 1."
    ),
    Function("size_t", "ModelRunCtxNumOutputs", "RAI_ModelRunCtx *mctx", "Outputs that were asked for."),
    Function(
        "RAI_Tensor *",
        "ModelRunCtxOutputTensor",
        "RAI_ModelRunCtx *mctx, size_t index",
        "An output after the run, borrowed; NULL if there is none.",
    ),
    Function("void", "ModelRunCtxFree", "RAI_ModelRunCtx *mctx", "Drops model, inputs and outputs. NULL is fine."),
    Function(
        "int",
        "ModelRun",
        "RAI_ModelRunCtx **mctxs, long long n, RAI_Error *err",
        "Runs a model, waits, and fills in the outputs; 0, or 1 with the error. Several contexts of one model run as "
        "one batch. Not for ONNX.",
    ),
    Function(
        "int",
        "ModelSerialize",
        "RAI_Model *model, char **buffer, size_t *len, RAI_Error *err",
        "A copy of the model's bytes, to be freed with RedisModule_Free; 0.",
    ),
    Function("RAI_Model *", "ModelGetShallowCopy", "RAI_Model *model", "The same model with one more reference."),
    Function("RedisModuleType *", "ModelRedisType", "", "The type of keys that hold models."),
    Function(
        "int",
        "ModelRunAsync",
        "RAI_ModelRunCtx *mctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data",
        "Queues a run, which takes over the context, and calls back when it is over, on a thread of ours; 0.",
    ),
    Function(
        "RAI_ModelRunCtx *",
        "GetAsModelRunCtx",
        "RAI_OnFinishCtx *ctx, RAI_Error *err",
        "In the callback: the context of ModelRunAsync, which belongs to the caller again, and the error of the run. "
        "NULL when it was no run of a model.",
    ),
)

SCRIPTS = (
    Function(
        "RAI_Script *",
        "ScriptCreate",
        "char *devicestr, char *tag, const char *scriptdef, RAI_Error *err",
        "Compiles a script without entry points; waits for that. NULL on error.",
    ),
    Function(
        "int",
        "GetScriptFromKeyspace",
        "RedisModuleCtx *ctx, RedisModuleString *keyName, RAI_Script **script, int mode, RAI_Error *err",
        "As GetModelFromKeyspace.",
    ),
    Function("void", "ScriptFree", "RAI_Script *script, RAI_Error *err", "Drops a reference."),
    Function(
        "RAI_ScriptRunCtx *",
        "ScriptRunCtxCreate",
        "RAI_Script *script, const char *fnname",
        "What a run of one of its functions needs; takes a reference.",
    ),
    Function(
        "int",
        "ScriptRunCtxAddInput",
        "RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor, RAI_Error *err",
        "Deprecated: ScriptRunCtxAddTensorInput.",
    ),
    Function(
        "int",
        "ScriptRunCtxAddTensorInput",
        "RAI_ScriptRunCtx *sctx, RAI_Tensor *inputTensor",
        "The next input; takes a reference. 1.",
    ),
    Function(
        "int",
        "ScriptRunCtxAddInputList",
        "RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t len, RAI_Error *err",
        "Deprecated: ScriptRunCtxAddTensorInputList.",
    ),
    Function(
        "int",
        "ScriptRunCtxAddTensorInputList",
        "RAI_ScriptRunCtx *sctx, RAI_Tensor **inputTensors, size_t count",
        "The next inputs, one after the other. 1.",
    ),
    Function("int", "ScriptRunCtxAddOutput", "RAI_ScriptRunCtx *sctx", "Asks for the next output; 1."),
    Function("size_t", "ScriptRunCtxNumOutputs", "RAI_ScriptRunCtx *sctx", "Outputs that were asked for."),
    Function(
        "RAI_Tensor *",
        "ScriptRunCtxOutputTensor",
        "RAI_ScriptRunCtx *sctx, size_t index",
        "An output after the run, borrowed; NULL if there is none.",
    ),
    Function("void", "ScriptRunCtxFree", "RAI_ScriptRunCtx *sctx", "Drops script, inputs and outputs. NULL is fine."),
    Function(
        "int",
        "ScriptRun",
        "RAI_ScriptRunCtx *sctx, RAI_Error *err",
        "Runs the function, waits, and fills in the outputs; 0, or 1 with the error.",
    ),
    Function("RAI_Script *", "ScriptGetShallowCopy", "RAI_Script *script", "The same with one more reference."),
    Function("RedisModuleType *", "ScriptRedisType", "", "The type of keys that hold scripts."),
    Function(
        "int",
        "ScriptRunAsync",
        "RAI_ScriptRunCtx *sctx, RAI_OnFinishCB DAGAsyncFinish, void *private_data",
        "As ModelRunAsync.",
    ),
    Function("RAI_ScriptRunCtx *", "GetAsScriptRunCtx", "RAI_OnFinishCtx *ctx, RAI_Error *err", "As GetAsModelRunCtx."),
)

DAGS = (
    Function("RAI_DAGRunCtx *", "DAGRunCtxCreate", "void", "A DAG without operations."),
    Function("RAI_DAGRunOp *", "DAGCreateModelRunOp", "RAI_Model *model", "Runs a model; takes a reference."),
    Function(
        "RAI_DAGRunOp *",
        "DAGCreateScriptRunOp",
        "RAI_Script *script, const char *fnname",
        "The same for a function of a script.",
    ),
    Function("int", "DAGRunOpAddInput", "RAI_DAGRunOp *DAGop, const char *inputName", "The name of its next input; 0."),
    Function(
        "int", "DAGRunOpAddOutput", "RAI_DAGRunOp *DAGop, const char *outputName", "The name of its next output; 0."
    ),
    Function(
        "int",
        "DAGAddRunOp",
        "RAI_DAGRunCtx *run_info, RAI_DAGRunOp *DAGop, RAI_Error *err",
        "0: the DAG owns the operation. 1 with the error: the caller still does.",
    ),
    Function(
        "int",
        "DAGLoadTensor",
        "RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor",
        "A tensor that all operations see; takes a reference. 0, or 1 when the name was loaded already.",
    ),
    Function(
        "int",
        "DAGAddTensorSet",
        "RAI_DAGRunCtx *run_info, const char *t_name, RAI_Tensor *tensor",
        "An operation that defines a tensor; takes a reference. 0.",
    ),
    Function(
        "int",
        "DAGAddTensorGet",
        "RAI_DAGRunCtx *run_info, const char *t_name",
        "An operation that makes a tensor an output of the DAG; 0.",
    ),
    Function(
        "int",
        "DAGAddOpsFromString",
        "RAI_DAGRunCtx *run_info, const char *dag, RAI_Error *err",
        "Operations in the syntax of AI.DAGEXECUTE, words separated by blanks, each behind |>: all of them, and 0, or "
        "none, and 1 with the error. Reads keys of database 0: the caller holds Redis' lock.",
    ),
    Function("size_t", "DAGNumOps", "RAI_DAGRunCtx *run_info", "Operations so far."),
    Function(
        "int",
        "DAGRun",
        "RAI_DAGRunCtx *run_info, RAI_OnFinishCB DAGAsyncFinish, void *private_data, RAI_Error *err",
        "Queues the DAG and calls back when it is over; 0. Or 1 with the error: then it does not run.",
    ),
    Function("size_t", "DAGNumOutputs", "RAI_OnFinishCtx *finish_ctx", "DAGAddTensorGet operations."),
    Function(
        "const RAI_Tensor *",
        "DAGOutputTensor",
        "RAI_OnFinishCtx *finish_ctx, size_t index",
        "What such an operation got, borrowed; NULL if nothing.",
    ),
    Function("int", "DAGRunError", "RAI_OnFinishCtx *finish_ctx", "Whether an operation failed."),
    Function("const RAI_Error *", "DAGGetError", "RAI_OnFinishCtx *finish_ctx", "The first error, which the DAG owns."),
    Function("void", "DAGRunOpFree", "RAI_DAGRunOp *dagOp", "For operations that no DAG owns. NULL is fine."),
    Function(
        "void",
        "DAGFree",
        "RAI_DAGRunCtx *run_info",
        "Frees a DAG, run or not, with its outputs; the finish context is the same pointer. NULL is fine.",
    ),
)

GROUPS = (
    ("the version of this interface", VERSIONS),
    ("errors: an error keeps the first text that it gets; NULL is accepted for every err argument", ERRORS),
    ("tensors: reference counted. Results that say whether something was done: 1 yes, 0 no", TENSORS),
    ("models", MODELS),
    ("scripts", SCRIPTS),
    ("DAGs", DAGS),
)

FUNCTIONS = tuple(function for _, functions in GROUPS for function in functions)


def comment(text: str, indent: str = "") -> str:
    """A C comment of at most 110 columns."""
    return f"\n{indent} * ".join([f"{indent}/* " + wrap(text, 104)[0], *wrap(text, 104)[1:]]) + " */"


INTRODUCTION = """\
The C API of redisai-py, and of RedisAI, for other modules of the same redis-server.

Include it behind redismodule.h (Redis' own, or any header that declares RedisModule_GetSharedAPI and the types
RedisModuleCtx, RedisModuleString and RedisModuleType), call RedisAI_Initialize from OnLoad or later, and use the
functions if it returned REDISMODULE_OK. docs/c-api.md says who owns what, and what may be called from where.

This file is made from redisai_py/codegen/shared_api.py."""


def public_header() -> str:
    lines = ["/* " + INTRODUCTION.replace("\n", "\n * ").replace(" \n", "\n") + " */"]
    lines += ["/* clang-format off */", "#ifndef REDISAI_H", "#define REDISAI_H", "", "#include <stddef.h>", ""]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    lines += [f"#define {name} {value}" for name, value in CONSTANTS.items()]
    lines += ["", *(f"typedef struct {name} {name};" for name in OPAQUE_TYPES)]
    lines += ["", ERROR_CODE_TYPE, comment("Passed by value; 0 stands for the default."), OPTIONS_TYPE, CALLBACK_TYPE]
    lines += [
        comment(
            "How the pointers are defined. Each file that includes this header defines them; the linker keeps one. "
            "Hidden: modules do not share them."
        ),
        "#ifndef REDISAI_API",
        '#define REDISAI_API __attribute__((weak, visibility("hidden")))',
        "#endif",
    ]
    for title, functions in GROUPS:
        lines += ["", comment("---- " + title)]
        for f in functions:
            lines += ["", comment(f.text)]
            lines += [f"REDISAI_API {spaced(f.returns)}(*RedisAI_{f.name})({f.parameters or 'void'});"]
    lines += ["", INITIALIZER, "", "#ifdef __cplusplus", "}", "#endif", "", "#endif"]
    return "\n".join(lines) + "\n"


def spaced(returns: str) -> str:
    return returns if returns.endswith("*") else returns + " "


INITIALIZER = (
    comment(
        "Binds all functions. REDISMODULE_OK (0), or REDISMODULE_ERR (1) if the server has no RedisAI loaded yet, or "
        "an older one that lacks a function: then all of them are NULL."
    )
    + """
static inline int RedisAI_Initialize(RedisModuleCtx *ctx) {
    static const struct {
        const char *name;
        void **pointer;
    } functions[] = {
"""
    + "".join(f'        {{"RedisAI_{f.name}", (void **)&RedisAI_{f.name}}},\n' for f in FUNCTIONS)
    + """\
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
}"""
)


# Flows use the functions through cffi; this comes in addition: a callback that puts
# the finished run, with its number as private_data, among the messages of the flows;
# starting several runs with that callback at once, so that their worker is woken once;
# and DAGAddOpsFromString with Redis' lock, in a database, with a call's rights for keys and for scripts.
FOR_FLOWS = """\
void rai_flow_run_finished(RAI_OnFinishCtx *ctx, void *private_data);
void rai_flow_run_models(RAI_ModelRunCtx **contexts, const int64_t *numbers, size_t count);
int rai_flow_add_operations(RAI_DAGRunCtx *dag, const char *text, rai_call *call, RAI_Error *err);"""


def implementation_declarations() -> str:
    """C declarations of the implementation, ``RAI_<name>``, for C, Cython and cffi. Values are those of core.h."""
    lines = ["typedef rai_tensor RAI_Tensor;", "typedef rai_model RAI_Model;", "typedef rai_model RAI_Script;"]
    lines += [f"typedef struct {name} {name};" for name in OPAQUE_TYPES if name not in VALUE_TYPES]
    lines += [ERROR_CODE_TYPE, OPTIONS_TYPE, CALLBACK_TYPE]
    lines += [f"{spaced(f.returns)}RAI_{f.name}({f.parameters or 'void'});" for f in FUNCTIONS]
    lines += [FOR_FLOWS]
    return "\n".join(lines) + "\n"


def implementation_header(notice: str) -> str:
    """shared_api.h: the declarations, and SHARED_API(EXPORT), the list of exports in their order."""
    lines = [f"/* {notice} */", "#ifndef SHARED_API_H", "#define SHARED_API_H", "", '#include "core.h"', ""]
    lines += [f"#define REDISAI_LLAPI_VERSION {VERSION}", "", implementation_declarations()]
    lines += ["/* EXPORT(name), for each function */", "#define SHARED_API(EXPORT) \\"]
    lines += [f"    EXPORT({f.name}) \\" for f in FUNCTIONS]
    return "\n".join([*lines, "", "", "#endif"]) + "\n"


if __name__ == "__main__":
    PUBLIC_HEADER.write_text(public_header())
