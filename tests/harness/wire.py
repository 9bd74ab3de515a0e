"""A RESP connection that hides nothing: reply types and error prefixes as sent.

redis-py strips ``ERR`` from errors and turns statuses into bytes; tests of the
exact protocol use this instead.
"""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass
from typing import Any

Argument = bytes | str | int | float


@dataclass(frozen=True)
class Status:
    """A simple string (``+``)."""

    text: str


@dataclass(frozen=True)
class Error:
    """An error (``-``), with its first word."""

    text: str


OK = Status("OK")


def encode(arguments: tuple[Argument, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n" % len(data))
        parts.append(data)
        parts.append(b"\r\n")
    return b"".join(parts)


class Wire:
    """One client connection. Bulk strings are bytes, integers int, nil None."""

    def __init__(self, port: int, *, protocol: int = 2, db: int = 0, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        if protocol != 2:
            self("HELLO", protocol)
        if db:
            self("SELECT", db)

    def __call__(self, *arguments: Argument) -> Any:
        """Sends one command and returns its reply."""
        self.send(*arguments)
        return self.read()

    def pipeline(self, *commands: tuple[Argument, ...]) -> list[Any]:
        """Sends all commands at once, then reads as many replies."""
        self.socket.sendall(b"".join(encode(command) for command in commands))
        return [self.read() for _ in commands]

    def send(self, *arguments: Argument) -> None:
        self.socket.sendall(encode(arguments))

    def has_reply(self, within: float = 0.0) -> bool:
        """Whether something arrives within so many seconds."""
        return bool(self.buffer) or bool(select.select([self.socket], [], [], within)[0])

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def read(self) -> Any:
        """The next reply, of any RESP2 or RESP3 type."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Status(rest.decode())
        if kind == b"-":
            return Error(rest.decode(errors="backslashreplace"))
        if kind in b":(":
            return int(rest)
        if kind in b"$=":
            return None if rest == b"-1" else self._bulk(int(rest))
        if kind in b"*~>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return {self._hashable(): self.read() for _ in range(int(rest))}
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_":
            return None
        raise AssertionError(f"not a RESP reply: {line!r}")

    def _hashable(self) -> Any:
        key = self.read()
        return tuple(key) if isinstance(key, list) else key

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data

    def _line(self) -> bytes:
        start = 0
        while (end := self.buffer.find(b"\r\n", start)) < 0:
            start = max(0, len(self.buffer) - 1)
            self._receive()
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    def _bulk(self, length: int) -> bytes:
        while len(self.buffer) < length + 2:
            self._receive()
        data = bytes(self.buffer[:length])
        assert self.buffer[length : length + 2] == b"\r\n", "a bulk string is longer than its header says"
        del self.buffer[: length + 2]
        return data


def as_dict(reply: list[Any] | dict[bytes, Any]) -> dict[str, Any]:
    """Names and values, as AI.INFO and the META forms reply: a flat list, or a map to RESP3 clients."""
    if isinstance(reply, dict):
        return {name.decode(): value for name, value in reply.items()}
    assert isinstance(reply, list) and len(reply) % 2 == 0, reply
    return {name.decode(): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def flat(reply: Any) -> Any:
    """A map as the flat list that clients of RESP2 get in its place; anything else as it is."""
    return [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else reply
