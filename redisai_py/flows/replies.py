"""What a flow returns, as nodes from which the event loop replies (``rai_reply`` in core.h)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from redisai_py.worker.core import ffi, lib

from .errors import reply_text

NUMBER, DOUBLE = struct.Struct("<cq"), struct.Struct("<cd")
LARGEST = 2**63
DEEPEST = 64


class Reply:
    """Nodes, and the tensors (``buffers.Tensor``) that some of them name."""

    def __init__(self) -> None:
        self.nodes = bytearray()
        self.tensors: list[Any] = []

    def add(self, value: Any, depth: int = 0) -> None:
        """Appends a value; raises TypeError for one that has no reply."""
        if depth > DEEPEST:
            raise TypeError("a reply cannot be that deep")
        if value is None:
            self._number(b"_", 0)
        elif isinstance(value, (bool, np.bool_)):
            self._number(b"#", int(value))
        elif isinstance(value, (int, np.integer)):
            self._integer(int(value))
        elif isinstance(value, (float, np.floating)):
            self.nodes += DOUBLE.pack(b",", float(value))
        elif isinstance(value, str):
            self._bytes(b"$", value.encode(errors="surrogateescape"))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            self._bytes(b"$", bytes(value))
        elif isinstance(value, BaseException):
            self.add_error(value)
        else:
            self._add_compound(value, depth)

    def add_error(self, error: BaseException) -> None:
        self._bytes(b"-", reply_text(error) + b"\0")

    def _add_compound(self, value: Any, depth: int) -> None:
        tensor = getattr(value, "stored", None)
        if tensor is not None:
            self._number(b"@", len(self.tensors))
            self.tensors.append(tensor)
        elif isinstance(value, Mapping):
            self._number(b"%", len(value))
            for key, item in value.items():
                self.add(key, depth + 1)
                self.add(item, depth + 1)
        elif isinstance(value, (list, tuple, set, frozenset)):
            self._number(b"*", len(value))
            for item in value:
                self.add(item, depth + 1)
        elif isinstance(value, np.ndarray):
            self.add(value.tolist(), depth)
        else:
            raise TypeError(f"a flow cannot return {type(value).__name__}")

    def _integer(self, value: int) -> None:
        if -LARGEST <= value < LARGEST:
            self._number(b":", value)
        else:
            self._bytes(b"$", str(value).encode())

    def _number(self, kind: bytes, value: int) -> None:
        self.nodes += NUMBER.pack(kind, value)

    def _bytes(self, kind: bytes, data: bytes) -> None:
        self.nodes += NUMBER.pack(kind, len(data)) + data


def give(job: Any, value: Any) -> None:
    """Gives a job its reply: a value, or the error that it is, or that it has no reply."""
    reply = Reply()
    try:
        reply.add(value)
    except (TypeError, RecursionError) as error:
        reply = Reply()
        reply.add_error(error)
    tensors = ffi.new("rai_tensor *[]", [ffi.cast("rai_tensor *", tensor.address) for tensor in reply.tensors])
    lib.rai_flow_reply(job, bytes(reply.nodes), len(reply.nodes), tensors, len(reply.tensors))
