"""What a flow returns, as nodes from which the event loop replies (``rai_reply`` in job.h)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from redisai_py.worker import buffers
from redisai_py.worker.core import ffi, lib

from .errors import reply_text

NUMBER, DOUBLE = struct.Struct("<cq"), struct.Struct("<cd")
LARGEST = 2**63
DEEPEST = 64
NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Lone surrogates that do not stand for a byte (errors="surrogateescape"); JSON can have them."""
NOT_ENCODED = b"ERR what the flow returned cannot be encoded"


def encode(text: str) -> bytes:
    """UTF-8; surrogates are the bytes that they stand for, and U+FFFD where they stand for none."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return NO_BYTES.sub("\N{REPLACEMENT CHARACTER}", text).encode(errors="surrogateescape")


class Reply:
    """Nodes, and the tensors (``buffers.Tensor``) that some of them name."""

    def __init__(self) -> None:
        self.nodes = bytearray()
        self.tensors: list[Any] = []

    def add(self, value: Any, depth: int = 0) -> None:
        """Appends a value; raises TypeError for one that has no reply, or what the methods of its class raise."""
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
            self._bytes(b"$", encode(value))
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
        if isinstance(tensor, buffers.Tensor):
            self._number(b"@", len(self.tensors))
            self.tensors.append(tensor)
        elif isinstance(value, Mapping):
            pairs = list(value.items())  # so that the number is right even if another thread changes it meanwhile
            self._number(b"%", len(pairs))
            for key, item in pairs:
                self.add(key, depth + 1)
                self.add(item, depth + 1)
        elif isinstance(value, (list, tuple, set, frozenset)):
            items = list(value)
            self._number(b"*", len(items))
            for item in items:
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
    """Gives a job its reply: a value, or the error that it is, or why it has no reply. Does not raise.

    The classes of values and of exceptions are anybody's, and so their methods may do anything.
    """
    try:
        give_reply(job, value)
    except BaseException as error:
        try:
            give_reply(job, error)
        except BaseException:
            lib.rai_job_fail(job, NOT_ENCODED, len(NOT_ENCODED))


def give_reply(job: Any, value: Any) -> None:
    reply = Reply()
    reply.add(value)
    tensors = ffi.new("rai_tensor *[]", [ffi.cast("rai_tensor *", tensor.address) for tensor in reply.tensors])
    lib.rai_flow_reply(job, bytes(reply.nodes), len(reply.nodes), tensors, len(reply.tensors))
