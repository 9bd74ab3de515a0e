"""Models of every framework for the benchmark: ``python -m tests.bench.framework_models FRAMEWORK SIZE FILE``.

A dense network as in ``models.py``, made by its framework in a process of its own: the benchmark itself imports none.
SIZE is ``tiny`` (30 to 16 to 2) or ``medium``, about 1 ms for one row.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import models

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MEDIUM_LAYERS = (256, *(1024,) * 4, 16)
# LiteRT runs a network of this shape many times as fast as the others.
MEDIUM_LAYERS_OF_TFLITE = (256, *(1024,) * 16, 16)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class FrameworkModel:
    """A model file of a backend; its input is FLOAT [1, width]."""

    backend: str
    blob: bytes
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        """INPUTS and OUTPUTS for AI.MODELSTORE."""
        return ("INPUTS", "1", "x", "OUTPUTS", "1", "y") if self.backend == "TF" else ()


def layers_of(backend: str, size: str) -> tuple[int, ...]:
    """The widths of the layers, input first."""
    if size == "tiny":
        return models.TINY_LAYERS
    return MEDIUM_LAYERS_OF_TFLITE if backend == "TFLITE" else MEDIUM_LAYERS


def make(backend: str, size: str) -> FrameworkModel:
    """The model, built in another process."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "tests.bench.framework_models", backend, size, file.name]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        return FrameworkModel(backend, Path(file.name).read_bytes(), layers_of(backend, size)[0])


def _weights(layers: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    return [
        rng.standard_normal((width, following), dtype=np.float32) * np.float32((2 / width) ** 0.5)
        for width, following in itertools.pairwise(layers)
    ]


def _torch(layers: tuple[int, ...]) -> bytes:
    import io

    import torch

    modules: list[Any] = []
    for weights in _weights(layers):
        linear = torch.nn.Linear(*weights.shape)
        linear.weight.data = torch.from_numpy(weights.T.copy())
        modules += [linear, torch.nn.ReLU()]
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(*modules[:-1]).eval()), buffer)
    return buffer.getvalue()


def _tf(layers: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        value = tf.compat.v1.placeholder(tf.float32, (None, layers[0]), name="x")
        weights = _weights(layers)
        for matrix in weights[:-1]:
            value = tf.nn.relu(tf.matmul(value, tf.constant(matrix)))
        tf.matmul(value, tf.constant(weights[-1]), name="y")
    return bytes(graph.as_graph_def().SerializeToString())


def _tflite(layers: tuple[int, ...]) -> bytes:
    import tensorflow as tf

    weights = _weights(layers)

    @tf.function(input_signature=[tf.TensorSpec((1, layers[0]), tf.float32)])  # type: ignore[untyped-decorator]
    def network(x: Any) -> Any:
        for matrix in weights[:-1]:
            x = tf.nn.relu(tf.matmul(x, matrix))
        return tf.matmul(x, weights[-1])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    return bytes(converter.convert())


BUILDERS: dict[str, Callable[[tuple[int, ...]], bytes]] = {
    "ONNX": lambda layers: models.perceptron(layers).blob,
    "TORCH": _torch,
    "TF": _tf,
    "TFLITE": _tflite,
}


if __name__ == "__main__":
    framework, size_name, path = sys.argv[1:]
    Path(path).write_bytes(BUILDERS[framework](layers_of(framework, size_name)))
