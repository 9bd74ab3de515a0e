"""From a blob to what a session runs: a graph, the tensors to feed and fetch, and how to start it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import function_pb2, graph_pb2
from tensorflow.python.framework.ops import dismantle_graph

from redisai_py.backend import DTYPES, BackendError, parse_device
from redisai_py.worker.imports import one_at_a_time

from . import archives, checks, operations
from .references import reachable

NO_TENSORS = (tf.resource, tf.variant)


@dataclass
class Program:
    """``inputs`` and ``outputs`` are the client's names with the tensors' names in the graph.

    ``start`` holds operations to run once, in order, each with what is fed to it.
    """

    graph: Any
    inputs: dict[str, str]
    outputs: dict[str, str]
    start: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def takes_strings(self) -> bool:
        return tf.string in self._dtypes(self.inputs)

    def declared_inputs(self) -> list[tuple[str | None, list[int | None]]]:
        """The dtype and the dims of each input; one dim for a shape of which nothing is known."""
        tensors = [self.graph.get_tensor_by_name(name) for name in self.inputs.values()]
        dtypes = [
            "BFLOAT16" if tensor.dtype == tf.bfloat16 else DTYPES.get(np.dtype(tensor.dtype.as_numpy_dtype))
            for tensor in tensors
        ]
        shapes: list[list[int | None]] = [
            [1] if tensor.shape.rank is None else tensor.shape.as_list() for tensor in tensors
        ]
        return list(zip(dtypes, shapes, strict=True))

    def takes_bfloat16(self) -> bool:
        return tf.bfloat16 in self._dtypes(self.inputs)

    def gives_strings(self) -> bool:
        return tf.string in self._dtypes(self.outputs)

    def name_nodes(self, graph_def: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Takes the nodes of these names for inputs and outputs; raises if there are none."""
        kinds = {node.name: node.op for node in graph_def.node}
        for name in inputs:
            if kinds.get(name) != "Placeholder":
                raise no_input(name)
        for name in outputs:
            if name not in kinds:
                raise no_output(name)
        self.inputs = {name: f"{name}:0" for name in inputs}
        self.outputs = {name: f"{name}:0" for name in outputs}
        self.refuse_other_outputs()

    def place(self, device: str) -> None:
        """Puts it on the GPU of that number, where ``device`` as typed has one, but for what names another device.

        Sessions of one process have to see the same GPUs, so that none can be shown just its own.
        """
        index = parse_device(device)[1]
        if index is None:
            return
        for operation in self.graph.get_operations():
            if not operation.device:
                operation._set_device(f"/device:GPU:{index}")

    def close(self) -> None:
        """Gives the graph's memory back now: it refers to itself, and the collector seldom comes."""
        dismantle_graph(self.graph)

    def refuse_other_outputs(self) -> None:
        """Raises for outputs that are no tensors in RedisAI's sense: handles of variables and the like."""
        for name, dtype in zip(self.outputs, self._dtypes(self.outputs), strict=True):
            if dtype in NO_TENSORS:
                raise BackendError(f'ERR Output node named "{name}" in TF graph does not give a tensor')

    def _dtypes(self, tensors: dict[str, str]) -> list[Any]:
        return [self.graph.get_tensor_by_name(tensor).dtype.base_dtype for tensor in tensors.values()]


@contextmanager
def program_of(blob: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[Program]:
    """The program of a model; start it within the context, since what it reads while it starts is then removed."""
    if not archives.is_archive(blob):
        yield of_graph(blob, inputs, outputs)
        return
    with TemporaryDirectory(prefix="redisai-tf-") as folder:
        directory = Path(folder)
        archives.unpack(blob, directory)
        yield of_archive(directory, inputs, outputs)


def of_archive(directory: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    """What an unpacked archive holds: a .keras file's members, or a SavedModel, in a folder of its own or not."""
    if (directory / "config.json").is_file():
        with one_at_a_time(for_jobs=True):
            from .keras_archives import program_of_keras  # which imports Keras: seconds, and few models need it

        return program_of_keras(directory, inputs, outputs)
    from .saved_models import program_of_saved_model

    found = sorted(directory.rglob("saved_model.pb"), key=lambda path: len(path.parts))
    if not found:
        raise BackendError("ERR the archive holds neither a SavedModel (saved_model.pb) nor a Keras model")
    return program_of_saved_model(found[0].parent, inputs, outputs)


def of_graph(blob: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    """The program of a frozen graph."""
    graph_def = parse_graph(blob)
    keep_needed(graph_def, inputs, outputs)
    library = {function.signature.name: function for function in graph_def.library.function}
    keep_functions(graph_def, operations.check(graph_def.node, library))
    program = Program(import_graph(graph_def), {}, {})
    try:
        program.name_nodes(graph_def, inputs, outputs)
    except BaseException:
        program.close()
        raise
    return program


def parse_graph(blob: bytes) -> Any:
    graph_def = graph_pb2.GraphDef()
    try:
        graph_def.ParseFromString(blob)
    except DecodeError as error:
        raise BackendError("Invalid GraphDef") from error
    return graph_def


def keep_needed(graph_def: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Drops the nodes that no output needs, such as those that once saved the graph; not if an output is unknown."""
    nodes = {node.name: node for node in graph_def.node}
    if any(name not in nodes for name in outputs):
        return
    needed = reachable(nodes, [*inputs, *outputs])
    kept = [node for node in graph_def.node if node.name in needed]
    del graph_def.node[:]
    graph_def.node.extend(kept)


def keep_functions(graph_def: Any, names: set[str]) -> None:
    """Drops all other functions: TensorFlow's optimiser may call one that nothing calls in the graph."""
    kept = [function for function in graph_def.library.function if function.signature.name in names]
    graph_def.library.CopyFrom(function_pb2.FunctionDefLibrary(function=kept))


def import_graph(graph_def: Any) -> Any:
    """A tf.Graph; raises TensorFlow's error for a graph that is not consistent."""
    checks.check_at_run_time(graph_def)
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
    except Exception as error:
        dismantle_graph(graph)
        raise BackendError(f"Invalid GraphDef: {error}") from error
    return graph


def choose(named: Sequence[str], known: dict[str, str], refusal: Any) -> dict[str, str]:
    """The tensors that the client names, in that order, or else all of them, in the order of their names."""
    for name in named:
        if name not in known:
            raise refusal(name)
    return {name: known[name] for name in named or sorted(known)}


def no_input(name: str) -> BackendError:
    return BackendError(f'ERR Input node named "{name}" not found in TF graph.')


def no_output(name: str) -> BackendError:
    return BackendError(f'ERR Output node named "{name}" not found in TF graph')
