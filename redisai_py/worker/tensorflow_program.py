"""Sessions of TensorFlow through its C API: programs that need no Python for a run.

TensorFlow's Python package shows neither the session nor the operations of a graph as what
the C API takes. But its extension module is made with pybind11, whose objects give away
what they hold to extension modules of the same kind: their method ``_pybind11_conduit_v1_``
takes the name of a C++ type and returns the address, or None where it is another type, or
the modules do not fit together.
"""

import builtins
import re

import cython
from cython.cimports.core import (
    RAI_DTYPES,
    rai_dtype_code,
    rai_dtype_of_code,
    rai_dtype_size,
    rai_gate,
    rai_gate_close,
    rai_gate_enter,
    rai_gate_leave,
)
from cython.cimports.cpython.pycapsule import PyCapsule_GetPointer, PyCapsule_New
from cython.cimports.libc.stdint import int32_t, int64_t, uintptr_t
from cython.cimports.posix.dlfcn import RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym
from cython.cimports.program import rai_program, rai_take, rai_view
from cython.cimports.tensorflow_api import (
    TF_API_FUNCTIONS,
    TF_API_NAMES,
    TF_Buffer,
    TF_Operation,
    TF_Output,
    TF_Session,
    TF_Status,
    TF_Tensor,
    TfApi,
)

MOST_TENSORS = cython.declare(cython.int, 64)  # inputs and outputs together
MOST_DIMS = cython.declare(cython.int, 64)

# TensorFlow's numbers of the element types, in the order of the dtypes; STRING has none here.
TF_DTYPES = cython.declare(cython.int[14], [1, 2, 6, 5, 3, 9, 4, 17, 10, -1, 19, 14, 22, 23])

tf = cython.declare(TfApi)
is_open = cython.declare(cython.bint, False)


class Unsupported(Exception):
    """The graph has to be run through TensorFlow's Python package."""


def open_library(path: str) -> None:
    """Looks the functions up in TensorFlow's library, once for the process; raises Unsupported."""
    global is_open
    i: cython.int
    address: cython.p_void
    functions: cython.pp_void = cython.cast(cython.pp_void, cython.address(tf))
    if is_open:
        return
    library: cython.p_void = dlopen(path.encode(), RTLD_NOW | RTLD_LOCAL)
    if library == cython.NULL:
        raise Unsupported(cython.cast(bytes, dlerror()).decode(errors="replace"))
    for i in range(TF_API_FUNCTIONS):
        address = dlsym(library, TF_API_NAMES[i])
        if address == cython.NULL:
            raise Unsupported(f"{path} has no {cython.cast(bytes, TF_API_NAMES[i]).decode()}")
        functions[i] = address
    is_open = True


# ---- running, without the GIL -----------------------------------------------------------


# The program comes first: its address is the state's. Runs only read the rest.
State = cython.struct(
    program=rai_program,
    gate=rai_gate,
    session=cython.pointer(TF_Session),
    options=cython.pointer(TF_Buffer),
    input_count=int32_t,
    output_count=int32_t,
    tensors=TF_Output[64],  # the inputs, then the outputs
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def keep(data: cython.p_void, length: cython.size_t, argument: cython.p_void) -> cython.void:
    """What TensorFlow calls instead of freeing an input."""


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wrap_input(view: cython.pointer(cython.const[rai_view])) -> cython.pointer(TF_Tensor):
    """A tensor of TensorFlow's that may share the memory; NULL: it has none like that."""
    dtype: cython.int = rai_dtype_of_code(view.code, view.bits)
    length: cython.size_t
    i: int32_t
    if dtype < 0 or TF_DTYPES[dtype] < 0:
        return cython.NULL
    length = rai_dtype_size(dtype)
    for i in range(view.ndim):
        length *= view.dims[i]
    return tf.TF_NewTensor(
        TF_DTYPES[dtype], view.dims, view.ndim, cython.cast(cython.p_void, view.data), length, keep, cython.NULL
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def give_output(
    result: cython.pointer(TF_Tensor), index: int32_t, take: rai_take, receiver: cython.p_void
) -> cython.bint:
    """False: tensors have no such dtype or number of dims, or there is no memory."""
    number: cython.int = tf.TF_TensorType(result)
    dims: int64_t[64]
    view: rai_view
    dtype: cython.int
    i: int32_t
    view.ndim = tf.TF_NumDims(result)
    if view.ndim > MOST_DIMS:
        return False
    for dtype in range(RAI_DTYPES):
        if TF_DTYPES[dtype] == number:
            break
    else:
        return False
    for i in range(view.ndim):
        dims[i] = tf.TF_Dim(result, i)
    view.code = rai_dtype_code(dtype)
    view.bits = 8 * rai_dtype_size(dtype)
    view.dims = dims
    view.data = tf.TF_TensorData(result)
    return take(receiver, index, cython.address(view)) != 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run_session(
    state: cython.pointer(State),
    inputs: cython.pointer(cython.const[rai_view]),
    take: rai_take,
    receiver: cython.p_void,
) -> cython.bint:
    """False: it did not work, for whatever reason."""
    values: cython.pointer(TF_Tensor)[64]
    count: cython.int = state.input_count + state.output_count
    done: cython.bint = True
    i: cython.int
    status: cython.pointer(TF_Status)
    for i in range(count):
        values[i] = cython.NULL
    for i in range(state.input_count):
        values[i] = wrap_input(inputs + i)
        done = done and values[i] != cython.NULL
    if done:
        status = tf.TF_NewStatus()
        tf.TF_SessionRun(
            state.session,
            state.options,
            state.tensors,
            values,
            state.input_count,
            state.tensors + state.input_count,
            values + state.input_count,
            state.output_count,
            cython.NULL,
            0,
            cython.NULL,
            status,
        )
        done = tf.TF_GetCode(status) == 0
        tf.TF_DeleteStatus(status)
    for i in range(state.output_count):
        done = done and give_output(values[state.input_count + i], i, take, receiver)
    for i in range(count):
        if values[i] != cython.NULL:
            tf.TF_DeleteTensor(values[i])
    return done


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run(
    program: cython.pointer(rai_program),
    inputs: cython.pointer(cython.const[rai_view]),
    input_count: int32_t,
    take: rai_take,
    receiver: cython.p_void,
    output_count: int32_t,
) -> cython.int:
    """``rai_program.run``."""
    state: cython.pointer(State) = cython.cast(cython.pointer(State), program)
    done: cython.bint
    if not rai_gate_enter(cython.address(state.gate)):
        return 0
    done = (
        input_count == state.input_count
        and output_count == state.output_count
        and run_session(state, inputs, take, receiver)
    )
    rai_gate_leave(cython.address(state.gate))
    return done


# ---- what the backend uses ----------------------------------------------------------------


# The start of a std::type_info. pybind11 compares the names and calls nothing.
TypeInfo = cython.struct(functions=cython.p_void, name=cython.p_const_char)


@cython.cfunc
def kinds() -> list:
    """What modules made with pybind11 may call their kind: it is in the names of what they share."""
    found: set = set()
    for name in vars(builtins):
        match = re.fullmatch(r"__pybind11_internals_v\d+_?(\w+?)__", name)
        if match:
            found.update((match[1].encode(), b"_" + match[1].encode()))
    return sorted(found)


@cython.cfunc
def address_in(holder: object, type_name: bytes):
    """The address of the C++ object of this type, as mangled, that an object holds; raises Unsupported."""
    info: TypeInfo
    info.functions = cython.NULL
    info.name = type_name
    conduit = getattr(holder, "_pybind11_conduit_v1_", None)
    for kind in kinds() if conduit else ():
        capsule = PyCapsule_New(cython.address(info), b"St9type_info", cython.NULL)
        found = conduit(kind, capsule, b"raw_pointer_ephemeral")
        if found is not None:
            return cython.cast(uintptr_t, PyCapsule_GetPointer(found, type_name))
    raise Unsupported(f"{type(holder).__name__} does not tell its address")


@cython.final
@cython.cclass
class GraphProgram:
    """The program of a graph, in a tf.compat.v1.Session.

    ``inputs`` and ``outputs`` are pairs of a tf.Operation of the graph and the index of one of its outputs;
    ``run_options`` is a RunOptions, serialised. Raises Unsupported.
    """

    state: State
    session: object

    def __init__(self, session: object, inputs: list, outputs: list, run_options: bytes) -> None:
        data: cython.p_const_char = run_options
        address: uintptr_t
        operation: uintptr_t
        i: cython.int = 0
        if not is_open or len(inputs) + len(outputs) > MOST_TENSORS:
            raise Unsupported
        address = address_in(session._session, b"10TF_Session")
        for node, index in inputs + outputs:
            operation = address_in(node._c_op, b"12TF_Operation")
            self.state.tensors[i].oper = cython.cast(cython.pointer(TF_Operation), operation)
            self.state.tensors[i].index = index
            i += 1
        self.session = session
        self.state.session = cython.cast(cython.pointer(TF_Session), address)
        self.state.input_count = len(inputs)
        self.state.output_count = len(outputs)
        self.state.options = tf.TF_NewBufferFromString(data, len(run_options))
        self.state.program.run = run

    def __dealloc__(self):
        if self.state.options != cython.NULL:
            tf.TF_DeleteBuffer(self.state.options)

    @property
    def address(self) -> int:
        """Of the ``rai_program``."""
        return cython.cast(uintptr_t, cython.address(self.state))

    def retire(self) -> bool:
        """Declines all runs from now on; the session is let go as soon as no run is under way, which True tells."""
        if not rai_gate_close(cython.address(self.state.gate)):
            return False
        self.session = None
        return True
