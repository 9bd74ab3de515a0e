"""What the tests of TF send, and inputs that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness import Error, Wire, as_dict, put

X = np.arange(8, dtype=np.float32).reshape(2, 4)
OFFSET = np.full((2, 2), 0.5, np.float32)
ONES = np.ones(2, np.float32)


def store(
    wire: Wire,
    blob: bytes,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    *options: str | int,
    device: str = "CPU",
    key: str = "m",
) -> object:
    names = ("INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs) if inputs or outputs else ()
    return wire("AI.MODELSTORE", key, "TF", device, *options, *names, "BLOB", blob)


def execute(wire: Wire, inputs: Mapping[str, Any], outputs: Sequence[str], key: str = "m") -> object:
    """Runs the model on new tensors with the names of its inputs; outputs get the names that are given."""
    for name, array in inputs.items():
        put(wire, name, array)
    return wire("AI.MODELEXECUTE", key, "INPUTS", len(inputs), *inputs, "OUTPUTS", len(outputs), *outputs)


def signature(wire: Wire, key: str = "m") -> tuple[list[bytes], list[bytes]]:
    meta = as_dict(wire("AI.MODELGET", key, "META"))
    return meta["inputs"], meta["outputs"]


def assert_error(reply: object, *parts: str) -> None:
    assert isinstance(reply, Error), reply
    for part in parts:
        assert part in reply.text
