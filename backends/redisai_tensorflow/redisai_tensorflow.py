"""The TF backend: TensorFlow. Source of the rules: spec/backends.md, section 5."""

from __future__ import annotations

import os
from contextlib import nullcontext
from threading import Event, Thread
from time import monotonic
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors reach the client; the rest is noise in a server's output

import numpy as np

from .without_keras import without_keras

with without_keras():
    import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from redisai_py.backend import (
    BFLOAT16,
    BackendError,
    Options,
    Outputs,
    Run,
    Source,
    as_array,
    no_such_gpu,
    parse_device,
)
from redisai_py.cores import Pool
from redisai_py.worker import runs

from . import native
from .programs import Program, program_of

LONGEST_WAIT = 30.0  # seconds that a run waits for the session that replaces one which was ended
CALLING_THREAD, SHARED_POOL = -1, 0  # where TensorFlow runs operations

tf.get_logger().setLevel("ERROR")


class Backend:
    """Creates sessions; one for the process."""

    def __init__(self, options: Options) -> None:
        self.version = tf.__version__
        self.options = options
        self.threads = Pool()  # that operations are divided among; all sessions have the same

    def load(self, source: Source) -> Session:
        return Session(self, source)

    def config(self, device: str) -> Any:
        """The ConfigProto of a session on a device as typed; raises BackendError."""
        kind, index = parse_device(device)
        config = config_pb2.ConfigProto(
            allow_soft_placement=True,  # a graph may name the devices that it was trained on
            intra_op_parallelism_threads=self.options.intra_op_parallelism,
            inter_op_parallelism_threads=self.options.inter_op_parallelism,
        )
        if kind == "CPU":
            config.device_count["GPU"] = 0
            return config
        found = len(tf.config.list_physical_devices("GPU"))
        if found == 0:
            raise BackendError("ERR GPU requested but TF couldn't find CUDA")
        if index is not None and index >= found:
            raise no_such_gpu(device, "TensorFlow", found)
        config.gpu_options.allow_growth = True
        return config

    def pool(self) -> int:
        """Which threads run operations.

        A call that stays in its worker's thread takes 4 us, one that goes through
        the pool 24. Independent operations of one graph then run one after
        another, each on all cores, unless the user asks for more at once.
        """
        return SHARED_POOL if self.options.inter_op_parallelism > 1 else CALLING_THREAD


def run_without_outputs(*_inputs: Any) -> Outputs:
    """The call of a graph without outputs: files of RedisAI's first releases may hold such a one."""
    raise BackendError("Must specify at least one target to fetch or execute.")


class Engine:
    """A TensorFlow session and its prepared call.

    TensorFlow can end a run only together with its session, so an engine is used
    up by that, and ``replaced`` is set when there is another one. It ends loops; what
    has none goes on to the end, and only others get the new engine.
    """

    def __init__(self, program: Program, inputs: list[str], outputs: list[str], config: Any, pool: int) -> None:
        """``inputs`` and ``outputs`` are names of the program's, in the order of the call's."""
        self.feeds = [program.inputs[name] for name in inputs]
        self.fetches = [program.outputs[name] for name in outputs]
        self.run_options = config_pb2.RunOptions(inter_op_thread_pool=pool)
        self.program = program
        self.session = tf.compat.v1.Session(graph=program.graph, config=config)
        for operation, feed in program.start:
            self.session.run(operation, feed)
        # Session.run looks at names, types and shapes anew in every call, for 170 us.
        options = config_pb2.CallableOptions(feed=self.feeds, fetch=self.fetches, run_options=self.run_options)
        self.call = self.session._make_callable_from_options(options) if program.outputs else run_without_outputs
        self.ended = False
        self.replaced = Event()

    def end(self) -> None:
        """Has its runs end, from any thread, without waiting for that, as closing a session does."""
        if self.ended:
            return
        self.ended = True
        try:
            Thread(target=self.session.close, daemon=True).start()
        except BaseException:
            self.ended = False
            raise

    def close(self) -> None:
        """Gives its memory back."""
        self.session.close()
        self.program.close()


class Session:
    """A loaded model."""

    def __init__(self, backend: Backend, source: Source) -> None:
        self._backend = backend
        self._source = (source.device, source.inputs, source.outputs)
        self._engine = self._create(source.blob)
        self._native = self._run_natively(len(source.blob))
        self._retired: list[native.NativeRun] = []  # the module knows their addresses as long as the session's

    def _create(self, blob: bytes) -> Engine:
        device, inputs, outputs = self._source
        with program_of(blob, inputs, outputs) as program:
            self.inputs = list(inputs) or list(program.inputs)
            self.outputs = list(outputs) or list(program.outputs)  # a client may name one twice
            self.declared_inputs = program.declared_inputs()
            self._as_input = as_array if program.takes_strings() else np.asarray
            if program.takes_bfloat16():
                self._as_input = as_input
            self._gives_strings = program.gives_strings()
            try:
                config = self._backend.config(device)
                program.place(device)
                with nullcontext() if self._backend.threads else self._backend.threads.adopt():
                    return Engine(program, self.inputs, self.outputs, config, self._backend.pool())
            except BaseException:
                program.close()
                raise

    def _run_natively(self, size: int) -> native.NativeRun | None:
        """What runs the graph, of a model of so many bytes, in C; None: it is run by the prepared call only."""
        engine = self._engine
        if parse_device(self._source[0])[0] != "CPU" or self._backend.pool() != CALLING_THREAD:
            return None
        if not engine.fetches or not native.gains(engine.program.graph, engine.fetches, size):
            return None
        return native.prepare(engine.session, engine.feeds, engine.fetches, engine.run_options.SerializeToString())

    def execute_natively(self, requests: list[Any], merged: bool, run: Run) -> bool:
        used = self._native
        if used is None:
            return False
        control = self._begin(run)
        done: bool = runs.run_requests(requests, merged, used.address, 0)
        if used is not self._native:
            used.retire()
        if control.leave() and not done:
            raise BackendError("Session has been closed.")
        return done

    def execute(self, requests: list[list[Any]], run: Run) -> list[Outputs | Exception]:
        control, convert = self._begin(run), self._as_input
        results: list[Outputs | Exception] = []
        for tensors in requests:
            try:
                results.append(control.engine.call(*map(convert, tensors)))
            except Exception as error:
                results.append(self._retry(tensors, error, control, run))
        control.leave()
        if self._gives_strings:
            results = [result if isinstance(result, Exception) else list(map(as_output, result)) for result in results]
        return results

    def _begin(self, run: Run) -> Control:
        """The worker's control, of what its run is now in."""
        control: Control = run.state.get(Control) or Control(run)
        run.state[Control] = run.terminate = control
        control.take(self._engine)
        if run.away:  # others are too short to be worth it
            self._backend.threads.arrange(run.core)
        return control

    def _retry(self, tensors: list[Any], error: Exception, control: Control, run: Run) -> Outputs | Exception:
        """What a failed run leads to: its error, or another run, if its session was ended for another one's sake."""
        engine = control.engine
        if not all(map(self._is_known, tensors)):  # TensorFlow has the words for a wrong dtype
            return self._call(engine, list(map(as_input, tensors)))
        result: Outputs | Exception = BackendError(str(error))
        if control.used:  # this is what was ended; those behind it are not
            control.used = False
            return result
        end = monotonic() + LONGEST_WAIT
        while isinstance(result, Exception) and engine.ended and not control.used:
            if not engine.replaced.wait(max(0.0, end - monotonic())) or engine is self._engine:
                run.retune = True  # there was no other one to be had
                break
            engine = control.engine = self._engine
            result = self._call(engine, list(map(self._as_input, tensors)))
        return result

    @staticmethod
    def _call(engine: Engine, arrays: list[Any]) -> Outputs | Exception:
        try:
            outputs: Outputs = engine.call(*arrays)
            return outputs
        except Exception as error:
            return BackendError(str(error))

    def _is_known(self, tensor: Any) -> bool:
        """Whether the conversion of inputs, which is that for the model's dtypes, is one for this tensor's, too."""
        dtype = as_array(tensor).dtype
        if dtype == BFLOAT16:
            return self._as_input is as_input
        return dtype.kind != "O" or self._as_input is not np.asarray

    def retune(self, blob: bytes) -> None:
        """Creates an engine in place of one that was ended."""
        engine = self._engine
        if not engine.ended:
            return
        if self._native is not None:
            self._retired.append(self._native)
            self._native = None
        for former in self._retired:
            former.retire()  # if it cannot yet, who is in a run does it then, or the next one here
        try:
            self._engine = self._create(blob)
            self._native = self._run_natively(len(blob))
            engine.program.close()
        finally:
            engine.replaced.set()

    def close(self) -> None:
        self._engine.close()


class Control:
    """How a worker's run is ended: calling it does that, from another thread, and asks for another engine."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.engine: Any = None
        self.used = False

    def take(self, engine: Engine) -> None:
        """Notes what the worker's run uses."""
        self.engine = engine
        self.used = False

    def leave(self) -> bool:
        """The run is over; true when it has been ended."""
        self.engine = None  # which may be deleted long before this worker runs another one
        return self.used

    def __call__(self) -> None:
        engine = self.engine
        if engine is not None:
            self.used = self._run.retune = True
            engine.end()


def as_input(tensor: Any) -> Any:
    """A tensor as an array of TensorFlow's dtype, where numpy's would not do."""
    array = as_array(tensor)
    return array.view(tf.bfloat16.as_numpy_dtype) if array.dtype == BFLOAT16 else array


def as_output(value: Any) -> Any:
    """A fetched value as an array: TensorFlow gives a STRING scalar as bytes."""
    return np.array(value, dtype=object) if isinstance(value, bytes) else value
