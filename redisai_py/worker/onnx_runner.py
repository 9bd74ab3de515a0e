"""Sessions of onnxruntime through its C API: a runner that needs no Python for a run.

The Python package of onnxruntime brings the library ``libonnxruntime.so`` besides its
own extension module. Going through it, a run of a tiny model takes two thirds of the
time, and none of the GIL's. Models on the CPU whose inputs and outputs are all tensors
of numbers can be run this way; the backend runs the others through the package.
"""

import cython
from cython.cimports.core import (
    RAI_DTYPES,
    RAI_ONNX,
    RAI_STRING,
    rai_backend_count_accesses,
    rai_dtype_name,
    rai_run,
    rai_runner,
    rai_tensor,
    rai_tensor_new,
    rai_tensor_release,
)
from cython.cimports.libc.stdint import int64_t, uintptr_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, strdup, strlen
from cython.cimports.onnxruntime_api import (
    ORT_API_VERSION,
    ORT_DEVICE_ALLOCATOR,
    ORT_LOG_ERROR,
    ORT_LOG_FATAL,
    ORT_MEMORY_DEFAULT,
    ORT_NEWER_API_VERSION,
    ORT_PARALLEL,
    ORT_TYPE_TENSOR,
    OrtAllocator,
    OrtApi,
    OrtEnv,
    OrtGetApiBase,
    OrtMemoryInfo,
    OrtRunOptions,
    OrtSession,
    OrtSessionOptions,
    OrtStatus,
    OrtTensorTypeAndShapeInfo,
    OrtTypeInfo,
    OrtValue,
)
from cython.cimports.posix.dlfcn import RTLD_LOCAL, RTLD_NOW, dlerror, dlopen, dlsym
from cython.cimports.redis_api import RedisModule_Alloc
from cython.cimports.redisai_py.worker import runs
from cython.cimports.redisai_py.worker.run import Run

MOST_TENSORS = cython.declare(cython.int, 64)  # inputs and outputs together
MOST_DIMS = cython.declare(cython.int, 64)
TINY = 64 << 10
"""Bytes of a model whose runs only lose by planning their memory, and by a memory pool."""

ort = cython.declare(cython.pointer(OrtApi), cython.NULL)
env = cython.declare(cython.pointer(OrtEnv), cython.NULL)
memory = cython.declare(cython.pointer(OrtMemoryInfo), cython.NULL)
is_newer = cython.declare(cython.bint, False)  # the library has ORT_NEWER_API_VERSION

# onnxruntime's numbers of the element types, in the order of the dtypes; STRING has none here.
ELEMENT_TYPES = cython.declare(cython.int[14], [1, 11, 3, 5, 6, 7, 2, 4, 9, -1, 10, 16, 12, 13])


class Unsupported(Exception):
    """The model has to be run through onnxruntime's Python package."""


class OrtError(Exception):
    """What onnxruntime says."""


@cython.cfunc
def check(status: cython.pointer(OrtStatus)):
    """Raises OrtError for a status that is one."""
    if status == cython.NULL:
        return
    text: bytes = ort.GetErrorMessage(status)
    ort.ReleaseStatus(status)
    raise OrtError(text.decode(errors="replace"))


def open_library(path: str) -> None:
    """Opens libonnxruntime.so, once for the process; raises OSError if it cannot be used."""
    global ort, env, memory, is_newer
    get_base: OrtGetApiBase
    api: cython.pointer(OrtApi)
    if ort != cython.NULL:
        return
    library: cython.p_void = dlopen(path.encode(), RTLD_NOW | RTLD_LOCAL)
    if library == cython.NULL:
        raise OSError(cython.cast(bytes, dlerror()).decode(errors="replace"))
    get_base = cython.cast(OrtGetApiBase, dlsym(library, b"OrtGetApiBase"))
    if get_base == cython.NULL:
        raise OSError(f"{path} has no OrtGetApiBase")
    api = get_base().GetApi(ORT_API_VERSION)
    if api == cython.NULL:
        raise OSError(f"{path} is too old")
    ort = api
    # To ask for a version that there is not makes it complain on stderr.
    version: str = cython.cast(bytes, get_base().GetVersionString()).decode()
    is_newer = tuple(map(int, version.split(".")[:2])) >= (1, ORT_NEWER_API_VERSION)
    try:
        check(ort.CreateEnv(ORT_LOG_ERROR, b"redisai", cython.address(env)))
        check(ort.CreateCpuMemoryInfo(ORT_DEVICE_ALLOCATOR, ORT_MEMORY_DEFAULT, cython.address(memory)))
    except OrtError as error:
        ort = cython.NULL
        raise OSError(str(error)) from error


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def dtype_of_element_type(element_type: cython.int) -> cython.int:
    """-1 for a type that the runner does not know."""
    dtype: cython.int
    for dtype in range(RAI_DTYPES):
        if ELEMENT_TYPES[dtype] == element_type:
            return dtype
    return -1


# ---- running, without the GIL -----------------------------------------------------------


# What a runner needs of its session. The runs only read it.
State = cython.struct(
    session=cython.pointer(OrtSession),
    options=cython.pointer(OrtRunOptions),
    names=cython.pointer(cython.p_char),  # of the inputs, then of the outputs
)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_of(text: cython.p_const_char) -> cython.p_char:
    length: cython.size_t = strlen(text) + 1
    copy: cython.p_char = cython.cast(cython.p_char, RedisModule_Alloc(length))
    memcpy(copy, text, length)
    return copy


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy_shape(
    value: cython.pointer(OrtValue),
    element_type: cython.p_int,
    dims: cython.pointer(int64_t),
    rank: cython.pointer(cython.size_t),
) -> cython.pointer(OrtStatus):
    """The type and, unless there are more than MOST_DIMS, the dims of a result. Allocates, which costs time."""
    info: cython.pointer(OrtTensorTypeAndShapeInfo) = cython.NULL
    status: cython.pointer(OrtStatus) = ort.GetTensorTypeAndShape(value, cython.address(info))
    if status == cython.NULL:
        status = ort.GetTensorElementType(info, element_type)
    if status == cython.NULL:
        status = ort.GetDimensionsCount(info, rank)
    if status == cython.NULL and rank[0] <= MOST_DIMS:
        status = ort.GetDimensions(info, dims, rank[0])
    if info != cython.NULL:
        ort.ReleaseTensorTypeAndShapeInfo(info)
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def take_output(
    value: cython.pointer(OrtValue), output: cython.pointer(cython.pointer(rai_tensor))
) -> cython.p_const_char:
    """Copies a result into a new tensor; NULL, or what is wrong with it."""
    data: cython.p_void = cython.NULL
    rank: cython.size_t = 0
    element_type: cython.int = 0
    dtype: cython.int
    room: int64_t[64]
    dims: cython.pointer(int64_t) = room
    status: cython.pointer(OrtStatus)
    if is_newer:
        status = ort.GetTensorElementTypeAndShapeDataReference(
            value, cython.address(element_type), cython.address(dims), cython.address(rank)
        )
    else:
        status = copy_shape(value, cython.address(element_type), dims, cython.address(rank))
    if status == cython.NULL:
        status = ort.GetTensorMutableData(value, cython.address(data))
    dtype = dtype_of_element_type(element_type)
    if status != cython.NULL or dtype < 0 or rank > MOST_DIMS:
        if status != cython.NULL:
            ort.ReleaseStatus(status)
        return b"ERR unsupported dtype"
    output[0] = rai_tensor_new(dtype, cython.cast(cython.int, rank), dims, 0, False)
    if output[0] == cython.NULL:
        return b"ERR no memory for an output tensor"
    memcpy(output[0].data, data, output[0].byte_length)
    return cython.NULL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def wrap_inputs(
    inputs: cython.pointer(cython.pointer(rai_tensor)),
    count: cython.int,
    values: cython.pointer(cython.pointer(OrtValue)),
) -> cython.pointer(OrtStatus):
    """Values that share the tensors' memory."""
    i: cython.int
    tensor: cython.pointer(rai_tensor)
    status: cython.pointer(OrtStatus) = cython.NULL
    for i in range(count):
        tensor = inputs[i]
        status = ort.CreateTensorWithDataAsOrtValue(
            memory,
            tensor.data,
            tensor.byte_length,
            tensor.dims,
            tensor.ndim,
            ELEMENT_TYPES[tensor.dtype],
            cython.address(values[i]),
        )
        if status != cython.NULL:
            break
    return status


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def run(runner: cython.pointer(rai_runner), stop: cython.p_void, one: cython.pointer(rai_run)) -> cython.int:
    """``rai_runner.run``."""
    state: cython.pointer(State) = cython.cast(cython.pointer(State), runner.state)
    options: cython.pointer(OrtRunOptions) = state.options
    inputs: cython.pointer(cython.pointer(rai_tensor)) = one.inputs
    outputs: cython.pointer(cython.pointer(rai_tensor)) = one.outputs
    values: cython.pointer(OrtValue)[64]
    status: cython.pointer(OrtStatus)
    wrong: cython.p_const_char = cython.NULL
    count: cython.int = runner.input_count + runner.output_count
    i: cython.int
    if stop != cython.NULL:
        options = cython.cast(cython.pointer(OrtRunOptions), stop)
    for i in range(runner.input_count):
        if inputs[i].dtype == RAI_STRING:
            one.error = copy_of(b"Unexpected input data type. Actual: (tensor(string)), expected: a tensor of numbers")
            return 1
    for i in range(count):
        values[i] = cython.NULL
    status = wrap_inputs(inputs, runner.input_count, values)
    if status == cython.NULL:
        status = ort.Run(
            state.session,
            options,
            state.names,
            values,
            runner.input_count,
            state.names + runner.input_count,
            runner.output_count,
            values + runner.input_count,
        )
    rai_backend_count_accesses(RAI_ONNX, 2 * runner.output_count)
    i = 0
    while status == cython.NULL and wrong == cython.NULL and i < runner.output_count:
        wrong = take_output(values[runner.input_count + i], outputs + i)
        i += 1
    for i in range(count):
        if values[i] != cython.NULL:
            ort.ReleaseValue(values[i])
    if status != cython.NULL:
        one.error = copy_of(ort.GetErrorMessage(status))
        ort.ReleaseStatus(status)
        if stop != cython.NULL:
            # It may have been ended; the flag would end the next run, too.
            status = ort.RunOptionsUnsetTerminate(options)
    elif wrong != cython.NULL:
        one.error = copy_of(wrong)
    if one.error != cython.NULL:
        for i in range(runner.output_count):
            rai_tensor_release(outputs[i])
            outputs[i] = cython.NULL
    return 1


# ---- what the backend uses ----------------------------------------------------------------


@cython.cfunc
def new_run_options() -> cython.pointer(OrtRunOptions):
    options: cython.pointer(OrtRunOptions) = cython.NULL
    check(ort.CreateRunOptions(cython.address(options)))
    # A failed run is the client's business, not the log's.
    check(ort.RunOptionsSetRunLogSeverityLevel(options, ORT_LOG_FATAL))
    return options


@cython.final
@cython.cclass
class Stop:
    """A worker's way to end its run, from another thread: by calling this object."""

    options: cython.pointer(OrtRunOptions)

    def __cinit__(self):
        self.options = new_run_options()

    def __dealloc__(self):
        if self.options != cython.NULL:
            ort.ReleaseRunOptions(self.options)

    def __call__(self):
        check(ort.RunOptionsSetTerminate(self.options))

    @property
    def address(self) -> int:
        """``stop`` of ``rai_runner.run``."""
        return cython.cast(uintptr_t, self.options)


@cython.ccall
def stop_of(run: Run) -> Stop:
    """The worker's means to end its run (``redisai_py.backend.Run``)."""
    stop: Stop = run.state.get(Stop)
    if stop is None:
        stop = run.state[Stop] = Stop()
    # The end of the last run may have come when it was over.
    check(ort.RunOptionsUnsetTerminate(stop.options))
    run.terminate = stop
    return stop


@cython.cfunc
def new_session_options(threads: cython.int, inter_op_threads: cython.int, entries: dict, tiny: cython.bint):
    """The address of an OrtSessionOptions, which the caller releases."""
    options: cython.pointer(OrtSessionOptions) = cython.NULL
    check(ort.CreateSessionOptions(cython.address(options)))
    try:
        check(ort.SetSessionLogSeverityLevel(options, ORT_LOG_ERROR))
        check(ort.SetIntraOpNumThreads(options, threads))
        if tiny:
            check(ort.DisableMemPattern(options))
            check(ort.DisableCpuMemArena(options))
        if inter_op_threads > 0:
            check(ort.SetInterOpNumThreads(options, inter_op_threads))
            check(ort.SetSessionExecutionMode(options, ORT_PARALLEL))
        for key, value in entries.items():
            check(ort.AddSessionConfigEntry(options, key.encode(), value.encode()))
    except BaseException:
        ort.ReleaseSessionOptions(options)
        raise
    return cython.cast(uintptr_t, options)


@cython.cfunc
def take_description(info: cython.pointer(OrtTypeInfo)) -> tuple:
    """Releases the description of an input or output: its dtype's name and dims, of which -1 is not known.

    Raises Unsupported unless it is of a tensor of known dtype.
    """
    rank: cython.size_t = 0
    dims: int64_t[64]
    dtype: cython.int
    kind: cython.int = 0
    element_type: cython.int = 0
    tensor_info: cython.pointer(OrtTensorTypeAndShapeInfo) = cython.NULL
    try:
        check(ort.GetOnnxTypeFromTypeInfo(info, cython.address(kind)))
        if kind == ORT_TYPE_TENSOR:
            check(ort.CastTypeInfoToTensorInfo(info, cython.address(tensor_info)))
            check(ort.GetTensorElementType(tensor_info, cython.address(element_type)))
            check(ort.GetDimensionsCount(tensor_info, cython.address(rank)))
            if rank <= MOST_DIMS:
                check(ort.GetDimensions(tensor_info, dims, rank))
    finally:
        ort.ReleaseTypeInfo(info)
    dtype = dtype_of_element_type(element_type)
    if kind != ORT_TYPE_TENSOR or dtype < 0 or rank > MOST_DIMS:
        raise Unsupported
    return cython.cast(bytes, rai_dtype_name(dtype)).decode(), tuple([dims[i] for i in range(rank)])


@cython.final
@cython.cclass
class Inference:
    """A session and its runner.

    ``threads`` is for each run, ``inter_op_threads`` for nodes that run at once (0: one
    after the other), ``entries`` are onnxruntime's session configuration entries.
    ``predictable``: the run time follows from the shapes of the inputs.
    Raises Unsupported, or OrtError with onnxruntime's text.
    """

    runner: rai_runner
    state: State
    declared_inputs = cython.declare(list, visibility="readonly")
    inputs = cython.declare(list, visibility="readonly")
    outputs = cython.declare(list, visibility="readonly")

    def __init__(
        self, blob: bytes, threads: cython.int, inter_op_threads: cython.int, entries: dict, predictable: cython.bint
    ) -> None:
        tiny: cython.bint = predictable and len(blob) <= TINY
        address: uintptr_t = new_session_options(threads, inter_op_threads, entries, tiny)
        options: cython.pointer(OrtSessionOptions) = cython.cast(cython.pointer(OrtSessionOptions), address)
        status: cython.pointer(OrtStatus)
        data: cython.p_const_char = blob
        length: cython.size_t = len(blob)
        with cython.nogil:
            status = ort.CreateSessionFromArray(env, data, length, options, cython.address(self.state.session))
        ort.ReleaseSessionOptions(options)
        check(status)
        self.state.options = new_run_options()
        self._read_signature()
        self.runner.run = run
        self.runner.predictable = predictable
        self.runner.state = cython.address(self.state)

    def __dealloc__(self):
        i: cython.int
        if self.state.names != cython.NULL:
            for i in range(self.runner.input_count + self.runner.output_count):
                free(self.state.names[i])
            free(self.state.names)
        if self.state.options != cython.NULL:
            ort.ReleaseRunOptions(self.state.options)
        if self.state.session != cython.NULL:
            with cython.nogil:
                ort.ReleaseSession(self.state.session)

    @property
    def address(self) -> int:
        """Of the ``rai_runner``."""
        return cython.cast(uintptr_t, cython.address(self.runner))

    @cython.cfunc
    def _read_signature(self):
        """Fills in the names, after a look at the types."""
        allocator: cython.pointer(OrtAllocator) = cython.NULL
        input_count: cython.size_t = 0
        output_count: cython.size_t = 0
        info: cython.pointer(OrtTypeInfo) = cython.NULL
        name: cython.p_char = cython.NULL
        i: cython.int
        session: cython.pointer(OrtSession) = self.state.session
        check(ort.GetAllocatorWithDefaultOptions(cython.address(allocator)))
        check(ort.SessionGetInputCount(session, cython.address(input_count)))
        check(ort.SessionGetOutputCount(session, cython.address(output_count)))
        if input_count + output_count > MOST_TENSORS:
            raise Unsupported
        names: list = []
        self.declared_inputs = []
        for i in range(input_count):
            check(ort.SessionGetInputTypeInfo(session, i, cython.address(info)))
            self.declared_inputs.append(take_description(info))
            check(ort.SessionGetInputName(session, i, allocator, cython.address(name)))
            names.append(cython.cast(bytes, name))
            check(ort.AllocatorFree(allocator, name))
        for i in range(output_count):
            check(ort.SessionGetOutputTypeInfo(session, i, cython.address(info)))
            take_description(info)
            check(ort.SessionGetOutputName(session, i, allocator, cython.address(name)))
            names.append(cython.cast(bytes, name))
            check(ort.AllocatorFree(allocator, name))
        self.state.names = cython.cast(
            cython.pointer(cython.p_char), calloc(len(names) + 1, cython.sizeof(cython.p_char))
        )
        self.runner.input_count = input_count
        self.runner.output_count = output_count
        for i in range(len(names)):
            self.state.names[i] = strdup(names[i])
        decoded: list = [encoded.decode(errors="surrogateescape") for encoded in names]
        self.inputs = decoded[:input_count]
        self.outputs = decoded[input_count:]


def run_requests(inference: Inference, requests: list, merged: cython.bint, run: Run) -> bool:
    """``redisai_py.worker.runs.run_requests`` for an inference, which is held for as long as it runs."""
    stop: Stop = stop_of(run)
    return runs.run_requests(
        requests,
        merged,
        cython.cast(uintptr_t, cython.address(inference.runner)),
        cython.cast(uintptr_t, stop.options),
    )
