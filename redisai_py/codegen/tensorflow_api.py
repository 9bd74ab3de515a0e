"""The part of TensorFlow's C API that we use, declared once: functions that its libraries export by name.

The C structure that holds their addresses, and its Cython declarations, are generated from this table
(``generate.py``).
"""

from __future__ import annotations

from typing import NamedTuple


class Function(NamedTuple):
    """An exported function: its C return type, name and C parameter list."""

    returns: str
    name: str
    parameters: str


OPAQUE_TYPES = ("TF_Session", "TF_Operation", "TF_Tensor", "TF_Buffer", "TF_Status")

STRUCTURE = "TF_Output", ("TF_Operation *oper", "int index")
"""One output of an operation, which is how tensors of a graph are named."""

FUNCTIONS = (
    Function("TF_Status *", "TF_NewStatus", "void"),
    Function("void", "TF_DeleteStatus", "TF_Status *status"),
    Function("int", "TF_GetCode", "const TF_Status *status"),
    Function("TF_Buffer *", "TF_NewBufferFromString", "const void *data, size_t length"),
    Function("void", "TF_DeleteBuffer", "TF_Buffer *buffer"),
    # It shares the memory if that is aligned to its liking, and copies it otherwise.
    Function(
        "TF_Tensor *",
        "TF_NewTensor",
        "int dtype, const int64_t *dims, int ndim, void *data, size_t length,"
        " void (*release)(void *data, size_t length, void *argument), void *argument",
    ),
    Function("void", "TF_DeleteTensor", "TF_Tensor *tensor"),
    Function("int", "TF_TensorType", "const TF_Tensor *tensor"),
    Function("int", "TF_NumDims", "const TF_Tensor *tensor"),
    Function("int64_t", "TF_Dim", "const TF_Tensor *tensor, int index"),
    Function("void *", "TF_TensorData", "const TF_Tensor *tensor"),
    Function(
        "void",
        "TF_SessionRun",
        "TF_Session *session, const TF_Buffer *options, const TF_Output *inputs, TF_Tensor *const *values,"
        " int input_count, const TF_Output *outputs, TF_Tensor **results, int output_count,"
        " const TF_Operation *const *targets, int target_count, TF_Buffer *metadata, TF_Status *status",
    ),
)
