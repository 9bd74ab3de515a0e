"""Small graphs run without Python, through TensorFlow's C API, and on Redis' event loop if they are short."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf

from redisai_py.worker import tensorflow_program
from redisai_py.worker.programs import Runner

from .predictable import is_predictable

MOST_BYTES = 1 << 20
"""Of a model: the C API cannot use the prepared call, so that the weights are in memory once more."""

DTYPES = {tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.bool} | {
    getattr(tf, f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
"""What outputs may be, or the run would be done twice."""


@cache
def open_library() -> bool:
    """Whether TensorFlow's package has a library with the C API."""
    for path in sorted(Path(tf.sysconfig.get_lib()).glob("libtensorflow_cc.so*")):
        try:
            tensorflow_program.open_library(str(path))
            return True
        except tensorflow_program.Unsupported:
            pass
    return False


def gains(graph: Any, outputs: list[str], size: int) -> bool:
    """Whether these tensors of a tf.Graph, of a model of so many bytes, are to be computed in C."""
    if size > MOST_BYTES or not all(graph.get_tensor_by_name(name).dtype.base_dtype in DTYPES for name in outputs):
        return False
    graph_def = graph.as_graph_def()  # of an archive it may be larger
    return graph_def.ByteSize() <= MOST_BYTES and is_predictable(graph_def, outputs)


class NativeRun:
    """A graph, run in C in its session. Raises tensorflow_program.Unsupported."""

    def __init__(self, session: Any, inputs: list[str], outputs: list[str], run_options: bytes) -> None:
        feeds, fetches = places(session.graph, inputs), places(session.graph, outputs)
        self._program = tensorflow_program.GraphProgram(session, feeds, fetches, run_options)
        self._runner = Runner(self._program, len(inputs), len(outputs), predictable=True, may_wait=True)
        self.address = self._runner.address
        self.retire = self._program.retire


def prepare(session: Any, inputs: list[str], outputs: list[str], run_options: bytes) -> NativeRun | None:
    """A run of a tf.compat.v1.Session's graph, if TensorFlow lets us.

    ``inputs`` and ``outputs`` are names of tensors, in the order of the calls; ``run_options`` is a serialised
    RunOptions.
    """
    if not open_library():
        return None
    try:
        return NativeRun(session, inputs, outputs, run_options)
    except tensorflow_program.Unsupported:
        return None


def places(graph: Any, names: list[str]) -> list[tuple[Any, int]]:
    """Where tensors come from: an operation, and which of its outputs."""
    tensors = [graph.get_tensor_by_name(name) for name in names]
    return [(tensor.op, tensor.value_index) for tensor in tensors]
