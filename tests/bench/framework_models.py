"""Models of every framework for the benchmark: ``python -m tests.bench.framework_models BACKEND NETWORK FILE``.

The networks of ``models.py``, made by each framework in a process of its own: the benchmark itself imports none.
NETWORK is ``tiny`` (30 to 16 to 2), ``dense`` (one row through 13 MB of weights, which for TFLITE are 64),
``convolutional`` (a thumbnail) or ``photo`` (convolutions of a photo).
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import models

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DENSE_LAYERS = (256, *(1024,) * 4, 16)
# LiteRT runs a network of this shape many times as fast as the others.
DENSE_LAYERS_OF_TFLITE = (256, *(1024,) * 16, 16)
CONVOLUTIONAL = {
    "convolutional": (models.THUMBNAIL, models.THUMBNAIL_CONVOLUTIONS),
    "photo": (models.PHOTO, models.PHOTO_CONVOLUTIONS),
}
ROOT = Path(__file__).resolve().parents[2]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FrameworkModel:
    """A model file of a backend with one FLOAT input."""

    backend: str
    blob: bytes
    input_shape: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """INPUTS and OUTPUTS for AI.MODELSTORE."""
        return ("INPUTS", "1", "x", "OUTPUTS", "1", "y") if self.backend == "TF" else ()


def make(backend: str, network: str) -> FrameworkModel:
    """The model, built in another process."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "tests.bench.framework_models", backend, network, file.name]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        return FrameworkModel(backend, Path(file.name).read_bytes(), _input_shape(backend, network))


def _input_shape(backend: str, network: str) -> tuple[int, ...]:
    if network not in CONVOLUTIONAL:
        return 1, _layers(backend, network)[0]
    shape, _ = CONVOLUTIONAL[network]
    batch, channels, height, width = shape
    return shape if backend in ("ONNX", "TORCH") else (batch, height, width, channels)


def _layers(backend: str, network: str) -> tuple[int, ...]:
    """The widths of the dense layers, input first."""
    if network == "tiny":
        return models.TINY_LAYERS
    return DENSE_LAYERS_OF_TFLITE if backend == "TFLITE" else DENSE_LAYERS


def _random(rng: np.random.Generator, *shape: int) -> Array:
    """Weights whose last dimension is the width of the output; the others are those of its inputs."""
    weights: Array = rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / math.prod(shape[:-1])) ** 0.5)
    return weights


def _matrices(layers: Sequence[int]) -> list[Array]:
    """Weights [width, next width] of each layer."""
    rng = np.random.default_rng(0)
    return [_random(rng, width, following) for width, following in itertools.pairwise(layers)]


def _kernels(network: str) -> list[tuple[Array, int]]:
    """Kernels [3, 3, channels, next channels] with their strides."""
    rng = np.random.default_rng(0)
    shape, convolutions = CONVOLUTIONAL[network]
    widths = [shape[1], *(width for width, _ in convolutions)]
    strides = [stride for _, stride in convolutions]
    kernels = [_random(rng, 3, 3, width, following) for width, following in itertools.pairwise(widths)]
    return list(zip(kernels, strides, strict=True))


def _classes(network: str) -> Array:
    _, convolutions = CONVOLUTIONAL[network]
    return _random(np.random.default_rng(1), convolutions[-1][0], models.CLASSES)


def _onnx(network: str) -> bytes:
    if network in CONVOLUTIONAL:
        return models.convolutional(*CONVOLUTIONAL[network]).blob
    return models.perceptron(_layers("ONNX", network)).blob


def _torch(network: str) -> bytes:
    import io

    import torch

    def dense(matrix: Array) -> Any:
        layer = torch.nn.Linear(*matrix.shape)
        layer.weight.data = torch.from_numpy(matrix.T.copy())
        return layer

    modules: list[Any] = []
    if network in CONVOLUTIONAL:
        for kernel, stride in _kernels(network):
            layer = torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, stride, padding=1)
            layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            modules += [layer, torch.nn.ReLU()]
        modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), dense(_classes(network))]
    else:
        for matrix in _matrices(_layers("TORCH", network)):
            modules += [dense(matrix), torch.nn.ReLU()]
        modules.pop()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Sequential(*modules).eval()), buffer)
    return buffer.getvalue()


def _tf_network(backend: str, network: str, x: Any) -> Any:
    import tensorflow as tf

    if network in CONVOLUTIONAL:
        for kernel, stride in _kernels(network):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, stride, "SAME"))
        return tf.matmul(tf.reduce_mean(x, (1, 2)), _classes(network), name="y")
    *matrices, last = _matrices(_layers(backend, network))
    for matrix in matrices:
        x = tf.nn.relu(tf.matmul(x, matrix))
    return tf.matmul(x, last, name="y")


def _tf(network: str) -> bytes:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        shape = (None, *_input_shape("TF", network)[1:])
        _tf_network("TF", network, tf.compat.v1.placeholder(tf.float32, shape, name="x"))
    return bytes(graph.as_graph_def().SerializeToString())


def _tflite(network: str) -> bytes:
    import tensorflow as tf

    signature = [tf.TensorSpec(_input_shape("TFLITE", network), tf.float32)]
    function = tf.function(partial(_tf_network, "TFLITE", network), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    return bytes(converter.convert())


BUILDERS: dict[str, Callable[[str], bytes]] = {"ONNX": _onnx, "TORCH": _torch, "TF": _tf, "TFLITE": _tflite}


if __name__ == "__main__":
    backend_name, network_name, path = sys.argv[1:]
    Path(path).write_bytes(BUILDERS[backend_name](network_name))
