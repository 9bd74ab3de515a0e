"""ONNX operators that end the process when an input has fewer dims than they ask for, which no model has to declare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import models
from harness import OK, Error, Wire, get, put

DTYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Touchy:
    """An operator: inputs that it takes, and changes that it must not see."""

    operator: str
    inputs: dict[str, np.ndarray]
    changes: tuple[dict[str, np.ndarray], ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 17

    def model(self) -> bytes:
        """Of this operator alone, with inputs of any shape."""
        node = helper.make_node(self.operator, list(self.inputs), ["y"], **self.attributes)
        inputs = [models.value(name, DTYPES[array.dtype]) for name, array in self.inputs.items()]
        output = TensorProto.INT32 if self.operator == "Multinomial" else TensorProto.FLOAT
        return models.serialize(helper.make_graph([node], "g", inputs, [models.value("y", output)]), self.opset)


TOUCHY = {
    "fourier transform": Touchy("DFT", {"x": ones(1, 4, 1)}, ({"x": ones()},)),
    "short-time fourier transform": Touchy(
        "STFT",
        {"x": ones(1, 16), "step": np.array(4), "window": ones(8)},
        ({"x": ones()}, {"x": ones(16)}, {"window": ones()}),
    ),
    "samples of a grid": Touchy(
        "GridSample", {"x": ones(1, 1, 2, 2), "grid": ones(1, 1, 1, 2)}, ({"x": ones(), "grid": ones()},), opset=16
    ),
    "pooled regions": Touchy(
        "MaxRoiPool",
        {"x": ones(1, 1, 4, 4), "regions": 0 * ones(1, 5)},
        ({"x": ones(4)}, {"regions": ones(5)}),
        {"pooled_shape": [1, 1]},
    ),
    "aligned regions": Touchy(
        "RoiAlign",
        {"x": ones(1, 1, 4, 4), "regions": ones(1, 4), "images": integers(0)},
        ({"x": ones(1, 4, 4)}, {"regions": ones(4)}, {"images": np.array(0)}),
    ),
    "draws": Touchy("Multinomial", {"x": ones(2, 3)}, ({"x": ones(3)}, {"x": ones(1, 2, 3)})),
    "reversed sequences": Touchy("ReverseSequence", {"x": ones(2, 2), "lengths": integers(1, 2)}, ({"x": ones(2)},)),
}


def run(wire: Wire, inputs: dict[str, np.ndarray]) -> object:
    for name, array in inputs.items():
        put(wire, name, array)
    return wire("AI.MODELEXECUTE", "m", "INPUTS", len(inputs), *inputs, "OUTPUTS", 1, "y")


@pytest.mark.parametrize("name", TOUCHY)
def test_an_input_that_lacks_dims_is_an_error(wire: Wire, name: str) -> None:
    touchy = TOUCHY[name]
    blob = touchy.model()
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
    for change in touchy.changes:
        reply = run(wire, touchy.inputs | change)
        assert isinstance(reply, Error) and f"of {touchy.operator}, which needs" in reply.text
    assert run(wire, touchy.inputs) == OK
    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, touchy.inputs)
    if touchy.operator == "Multinomial":
        assert get(wire, "y").shape == expected.shape
    else:
        np.testing.assert_allclose(get(wire, "y"), expected, rtol=1e-5, atol=1e-6)
    assert wire("AI.MODELGET", "m", "BLOB") == blob


def test_a_model_that_would_fail_always_is_not_stored(wire: Wire) -> None:
    node = helper.make_node("RandomNormalLike", ["x"], ["y"], scale=0.0)
    blob = models.build([node], [models.value("x")], [models.value("y")])
    reply = wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob)
    assert reply == Error("ERR RandomNormalLike needs a scale above 0")
    assert wire("EXISTS", "m") == 0
