"""Keras models in the .keras format: layers described in JSON, and weights.

Keras builds Python objects from the description. Its safe mode refuses Python
code in it; here only the layers themselves are let in, and none that reads files.
The layers are then traced to a graph with the weights as constants, which is
checked and run like any other.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from redisai_py.backend import BackendError

from . import operations
from .programs import Program, choose, import_graph, keep_functions, no_input, no_output

# Keras reads its settings from a file in its home, and writes one there when there is none.
with TemporaryDirectory(prefix="redisai-keras-") as home:
    os.environ.setdefault("KERAS_HOME", home)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
MODULES = {
    "builtins",
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.models",
    "keras.quantizers",
    "keras.regularizers",
    "keras.src.models.functional",
    "keras.src.models.model",
    "keras.src.models.sequential",
}
# Layers that run or load what is not in the archive, or whose vocabulary is a file.
REFUSED = {
    "FlaxLayer",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
    "__lambda__",
    "__typespec__",
}

logging.getLogger("absl").setLevel(logging.ERROR)


def program_of_keras(directory: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    members = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    if members != MEMBERS:
        raise BackendError(f"ERR a .keras archive must hold {', '.join(sorted(MEMBERS))}, and nothing else")
    refuse_foreign_objects(directory / "config.json")
    try:
        graph_def, known_inputs, known_outputs = graph_of(directory)
    finally:
        # Keras' models, with their weights, refer to themselves, and a worker's collector seldom comes by itself.
        gc.collect(1)
    library = {function.signature.name: function for function in graph_def.library.function}
    keep_functions(graph_def, operations.check(graph_def.node, library))
    return Program(
        import_graph(graph_def),
        choose(inputs or list(known_inputs), known_inputs, no_input),
        choose(outputs or list(known_outputs), known_outputs, no_output),
    )


def graph_of(directory: Path) -> tuple[Any, dict[str, str], dict[str, str]]:
    """The model as a GraphDef, and its inputs and outputs, in their order, with the tensors in it."""
    with tf.device("/CPU:0"):
        frozen, input_names, output_names = trace(load(directory))
    known_inputs = dict(zip(input_names, [tensor.name for tensor in frozen.inputs], strict=True))
    known_outputs = dict(zip(output_names, [tensor.name for tensor in frozen.outputs], strict=True))
    return frozen.graph.as_graph_def(), known_inputs, known_outputs


def refuse_foreign_objects(description: Path) -> None:
    """Raises unless everything that Keras would make from the description is a part of Keras that is harmless."""
    try:
        config = json.loads(description.read_bytes())
    except ValueError as error:
        raise BackendError("ERR config.json of the .keras archive is not JSON") from error
    if not isinstance(config, dict):
        raise BackendError("ERR config.json of the .keras archive describes no model")
    pending: list[Any] = [{key: value for key, value in config.items() if key != "compile_config"}]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            name, module = value.get("class_name"), value.get("module")
            if name is None:
                continue
            known = module is None or module in MODULES or str(module).startswith("keras.src.ops.")
            custom = name != "function" and value.get("registered_name") not in (None, name)
            if not known or custom or name in REFUSED:
                raise BackendError(f'ERR "{module}.{name}" is not allowed in a .keras archive')


def load(directory: Path) -> Any:
    """The Keras model, without its optimizer and losses."""
    archive = directory / "model.keras"
    with zipfile.ZipFile(archive, "w") as file:
        for member in sorted(MEMBERS):
            file.write(directory / member, member)
    try:
        return keras.saving.load_model(archive, compile=False, safe_mode=True)
    except Exception as error:
        raise BackendError(f"ERR the Keras model cannot be loaded: {error}") from error


def trace(model: Any) -> tuple[Any, list[str], list[str]]:
    """The model as a function with constant weights, and the names of its inputs and outputs.

    Names are those of the model's inputs, and of the layers that give its
    outputs, or, where it gives a dict, the keys of that.
    """
    try:
        tensors = list(model.inputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise BackendError("ERR the Keras model states no inputs") from error

    def run(*values: Any) -> Any:
        return tf.nest.flatten(model(list(values) if len(values) > 1 else values[0], training=False))

    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in tensors]
    try:
        frozen = convert_variables_to_constants_v2(tf.function(run).get_concrete_function(*specs))
    except Exception as error:
        raise BackendError(f"ERR the Keras model cannot be traced: {error}") from error
    structure = getattr(model, "_outputs_struct", None)
    if isinstance(structure, dict) and len(structure) == len(frozen.outputs):
        output_names = sorted(structure)
    else:
        output_names = list(getattr(model, "output_names", [])) or [model.layers[-1].name]
    return frozen, [tensor.name for tensor in tensors], output_names
