"""The part of onnxruntime's C API that we use, declared once.

The library hands out one structure of function pointers, to which releases only
append: a position means the same function in every release that has it. The C
structure and the Cython declarations are generated from this table (``generate.py``).
Positions were found out, and are checked by every run of the ONNX tests.
"""

from __future__ import annotations

from typing import NamedTuple

API_VERSION = 8
"""The structure that is asked for: the oldest one with all functions but the newer ones."""

NEWER_API_VERSION = 24
"""The oldest one with the functions that are marked so; they are not called without it."""


class Function(NamedTuple):
    """A member: its position, C return type, name and C parameter list."""

    position: int
    returns: str
    name: str
    parameters: str


OPAQUE_TYPES = (
    "OrtStatus",
    "OrtEnv",
    "OrtSession",
    "OrtSessionOptions",
    "OrtRunOptions",
    "OrtMemoryInfo",
    "OrtValue",
    "OrtTypeInfo",
    "OrtTensorTypeAndShapeInfo",
    "OrtAllocator",
)

CONSTANTS = {
    "ORT_LOG_ERROR": 3,
    "ORT_LOG_FATAL": 4,
    "ORT_PARALLEL": 1,
    "ORT_TYPE_TENSOR": 1,
    "ORT_DEVICE_ALLOCATOR": 0,
    "ORT_MEMORY_DEFAULT": 0,
}

# All functions that return a status return NULL for success.
FUNCTIONS = (
    Function(2, "const char *", "GetErrorMessage", "OrtStatus *status"),
    Function(3, "OrtStatus *", "CreateEnv", "int log_level, const char *log_name, OrtEnv **env"),
    Function(
        8,
        "OrtStatus *",
        "CreateSessionFromArray",
        "OrtEnv *env, const void *model, size_t length, OrtSessionOptions *options, OrtSession **session",
    ),
    Function(
        9,
        "OrtStatus *",
        "Run",
        "OrtSession *session, OrtRunOptions *options, char **input_names, OrtValue **inputs, size_t input_count,"
        " char **output_names, size_t output_count, OrtValue **outputs",
    ),
    Function(10, "OrtStatus *", "CreateSessionOptions", "OrtSessionOptions **options"),
    Function(13, "OrtStatus *", "SetSessionExecutionMode", "OrtSessionOptions *options, int mode"),
    Function(17, "OrtStatus *", "DisableMemPattern", "OrtSessionOptions *options"),
    Function(19, "OrtStatus *", "DisableCpuMemArena", "OrtSessionOptions *options"),
    Function(22, "OrtStatus *", "SetSessionLogSeverityLevel", "OrtSessionOptions *options, int level"),
    Function(24, "OrtStatus *", "SetIntraOpNumThreads", "OrtSessionOptions *options, int threads"),
    Function(25, "OrtStatus *", "SetInterOpNumThreads", "OrtSessionOptions *options, int threads"),
    Function(30, "OrtStatus *", "SessionGetInputCount", "OrtSession *session, size_t *count"),
    Function(31, "OrtStatus *", "SessionGetOutputCount", "OrtSession *session, size_t *count"),
    Function(33, "OrtStatus *", "SessionGetInputTypeInfo", "OrtSession *session, size_t index, OrtTypeInfo **info"),
    Function(34, "OrtStatus *", "SessionGetOutputTypeInfo", "OrtSession *session, size_t index, OrtTypeInfo **info"),
    Function(
        36,
        "OrtStatus *",
        "SessionGetInputName",
        "OrtSession *session, size_t index, OrtAllocator *allocator, char **name",
    ),
    Function(
        37,
        "OrtStatus *",
        "SessionGetOutputName",
        "OrtSession *session, size_t index, OrtAllocator *allocator, char **name",
    ),
    Function(39, "OrtStatus *", "CreateRunOptions", "OrtRunOptions **options"),
    Function(41, "OrtStatus *", "RunOptionsSetRunLogSeverityLevel", "OrtRunOptions *options, int level"),
    Function(46, "OrtStatus *", "RunOptionsSetTerminate", "OrtRunOptions *options"),
    Function(47, "OrtStatus *", "RunOptionsUnsetTerminate", "OrtRunOptions *options"),
    Function(
        49,
        "OrtStatus *",
        "CreateTensorWithDataAsOrtValue",
        "OrtMemoryInfo *memory, void *data, size_t length, int64_t *shape, size_t rank, int type, OrtValue **value",
    ),
    Function(51, "OrtStatus *", "GetTensorMutableData", "OrtValue *value, void **data"),
    Function(
        55, "OrtStatus *", "CastTypeInfoToTensorInfo", "OrtTypeInfo *info, OrtTensorTypeAndShapeInfo **tensor_info"
    ),
    Function(56, "OrtStatus *", "GetOnnxTypeFromTypeInfo", "OrtTypeInfo *info, int *type"),
    Function(60, "OrtStatus *", "GetTensorElementType", "OrtTensorTypeAndShapeInfo *info, int *type"),
    Function(61, "OrtStatus *", "GetDimensionsCount", "OrtTensorTypeAndShapeInfo *info, size_t *rank"),
    Function(62, "OrtStatus *", "GetDimensions", "OrtTensorTypeAndShapeInfo *info, int64_t *shape, size_t rank"),
    Function(65, "OrtStatus *", "GetTensorTypeAndShape", "OrtValue *value, OrtTensorTypeAndShapeInfo **info"),
    Function(69, "OrtStatus *", "CreateCpuMemoryInfo", "int allocator, int memory, OrtMemoryInfo **info"),
    Function(76, "OrtStatus *", "AllocatorFree", "OrtAllocator *allocator, void *memory"),
    Function(78, "OrtStatus *", "GetAllocatorWithDefaultOptions", "OrtAllocator **allocator"),
    Function(93, "void", "ReleaseStatus", "OrtStatus *status"),
    Function(95, "void", "ReleaseSession", "OrtSession *session"),
    Function(96, "void", "ReleaseValue", "OrtValue *value"),
    Function(97, "void", "ReleaseRunOptions", "OrtRunOptions *options"),
    Function(98, "void", "ReleaseTypeInfo", "OrtTypeInfo *info"),
    Function(99, "void", "ReleaseTensorTypeAndShapeInfo", "OrtTensorTypeAndShapeInfo *info"),
    Function(100, "void", "ReleaseSessionOptions", "OrtSessionOptions *options"),
    Function(
        130, "OrtStatus *", "AddSessionConfigEntry", "OrtSessionOptions *options, const char *key, const char *value"
    ),
    Function(
        414,
        "OrtStatus *",
        "GetTensorElementTypeAndShapeDataReference",
        "OrtValue *value, int *type, int64_t **shape, size_t *rank",
    ),  # of NEWER_API_VERSION
)
