"""TensorFlow operations whose kernels end the process when an input is not what they expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorflow_models import Array, graph, tf, v1


def boxes(boxes: Any, scores: Any) -> Any:
    return tf.raw_ops.CombinedNonMaxSuppression(
        boxes=boxes,
        scores=scores,
        max_output_size_per_class=2,
        max_total_size=2,
        iou_threshold=0.5,
        score_threshold=0.1,
    ).nmsed_scores


def lstm_cell(x: Any, state: Any) -> Any:
    peepholes, weights = tf.zeros(2), tf.ones((5, 8)) / 8
    return tf.raw_ops.LSTMBlockCell(
        x=x, cs_prev=state, h_prev=state, w=weights, wci=peepholes, wcf=peepholes, wco=peepholes, b=tf.zeros(8)
    ).h


def items(x: Any) -> Any:
    return tf.raw_ops.TensorListFromTensor(tensor=x, element_shape=tf.constant([2]))


@dataclass(frozen=True)
class Touchy:
    """An operation whose kernel may end the process: inputs that it takes, and changes that it must not see."""

    run: Callable[..., Any]
    inputs: dict[str, Array]
    changes: tuple[dict[str, Array], ...]


def int32(*values: int) -> Array:
    return np.array(values, np.int32)


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


TOUCHY = {
    "transposed convolution": Touchy(
        lambda s, k, x: tf.raw_ops.Conv2DBackpropInput(
            input_sizes=s, filter=k, out_backprop=x, strides=[1, 2, 2, 1], padding="SAME"
        ),
        {"s": int32(1, 4, 4, 2), "k": ones(3, 3, 2, 5), "x": ones(1, 2, 2, 5)},
        (
            {"s": int32(1, -1, 4, 2)},
            {"s": int32(1, 4, 4)},
            {"s": int32(*[2**31 - 1] * 4)},
            {"s": np.array(4, np.int32)},
            {"k": ones(3, 3)},
            {"x": ones(2, 2, 5)},
        ),
    ),
    "transposed convolution of volumes": Touchy(
        lambda s, x: tf.raw_ops.Conv3DBackpropInputV2(
            input_sizes=s, filter=tf.ones((2, 2, 2, 1, 1)), out_backprop=x, strides=[1] * 5, padding="SAME"
        ),
        {"s": int32(1, 2, 2, 2, 1), "x": ones(1, 2, 2, 2, 1)},
        ({"s": int32(2, 2, 2)}, {"s": int32(1, -2, 2, 2, 1)}, {"x": ones(2, 2)}),
    ),
    "scatter_nd": Touchy(
        lambda i, x: tf.scatter_nd(i, x, [4, 2]),
        {"i": int32(3, 1).reshape(2, 1), "x": ones(2, 2)},
        ({"i": int32(0, 1, 2, 3).reshape(2, 1, 2, 1), "x": ones(2)}, {"i": int32(0, 1).reshape(2, 1), "x": ones()}),
    ),
    "tensor_scatter": Touchy(
        tf.tensor_scatter_nd_update,
        {"x": ones(4), "i": int32(3, 1).reshape(2, 1), "u": 2 * ones(2)},
        ({"i": int32(0, 1, 2, 3).reshape(2, 1, 2, 1)},),
    ),
    "rfft": Touchy(
        lambda x, n: tf.math.real(tf.raw_ops.RFFT(input=x, fft_length=n)),
        {"x": ones(2, 4), "n": int32(4)},
        ({"n": int32(0)},),
    ),
    "irfft": Touchy(
        lambda x, n: tf.raw_ops.IRFFT(input=tf.cast(x, tf.complex64), fft_length=n),
        {"x": ones(2, 3), "n": int32(4)},
        ({"n": int32(0)},),
    ),
    "boxes": Touchy(
        boxes,
        {"boxes": np.array([[[[0, 0, 1, 1]], [[0, 0, 3, 3]]]], np.float32), "scores": ones(1, 2, 1)},
        ({"boxes": ones(2)}, {"scores": ones(2)}, {"boxes": ones(2), "scores": ones(2, 2)}),
    ),
    "lstm cell": Touchy(lstm_cell, {"x": ones(2, 3), "state": ones(2, 2)}, ({"x": ones(2, 2, 3)}, {"state": ones(2)})),
    "quantization": Touchy(
        lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(x, tf.zeros(2), tf.ones(2)),
        {"x": ones(3, 2) / 3},
        ({"x": ones()},),
    ),
    "item of a list": Touchy(
        lambda x, i: tf.raw_ops.TensorListGetItem(
            input_handle=items(x), index=i, element_shape=tf.constant([2]), element_dtype=tf.float32
        ),
        {"x": ones(3, 2), "i": np.array(1, np.int32)},
        ({"i": int32(1, 2)},),
    ),
    "list of parts": Touchy(
        lambda x, n: tf.raw_ops.TensorListConcatV2(
            input_handle=tf.raw_ops.TensorListSplit(tensor=x, element_shape=tf.constant([-1, 2]), lengths=n),
            element_shape=tf.constant([-1, 2]),
            leading_dims=tf.constant([], tf.int64),
            element_dtype=tf.float32,
        )[0],
        {"x": ones(3, 2), "n": np.array([2, 1])},
        ({"n": np.array([2, 2**63 - 1])},),
    ),
    "sparse product": Touchy(
        lambda s: tf.raw_ops.SparseTensorDenseMatMul(a_indices=[[0, 1]], a_values=[2.0], a_shape=s, b=tf.ones((2, 3))),
        {"s": np.array([2, 2])},
        ({"s": np.array([-2, 2])},),
    ),
}


def model(name: str, way: str) -> bytes:
    """z = an operation of TOUCHY in the graph, in a function, or in a loop of the kind that has frames."""
    run, inputs = TOUCHY[name].run, TOUCHY[name].inputs

    def build() -> Any:
        placeholders = [v1.placeholder(value.dtype, None, name=key) for key, value in inputs.items()]
        if way == "function":
            return tf.identity(tf.function(run, autograph=False)(*placeholders), name="z")
        if way == "graph":
            return tf.identity(run(*placeholders), name="z")
        v1.disable_control_flow_v2()
        try:
            loop = v1.while_loop(
                lambda i, *_: i < 1,
                lambda i, _, *values: [i + 1, run(*values), *values],
                [0, tf.zeros(1, run(*placeholders).dtype), *placeholders],
                [tf.TensorShape(None)] * (2 + len(placeholders)),
            )
        finally:
            v1.enable_control_flow_v2()
        return tf.identity(loop[1], name="z")

    return graph(build)
