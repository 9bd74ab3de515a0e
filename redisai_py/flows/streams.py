"""Flows that new entries of a stream start.

The position is a consumer group of the stream, ``flow:<name>``: it is part of the data, so it survives restarts and
goes to replicas. An entry is acknowledged after its function returned, so each is handled at least once: what a crash
interrupted is given to the function again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redisai_py.worker.core import log
from redisai_py.worker.errors import forget_frames

from . import calling
from .commands import CommandError, run
from .errors import describe
from .registry import Flow
from .rights import Rights, of_operator

CONSUMER = b"server"


@dataclass(frozen=True)
class Entry:
    """An entry of a stream. Bytes that are no UTF-8 are kept as surrogates (errors="surrogateescape")."""

    key: str
    id: str
    fields: dict[str, str]
    database: int = 0


def decode(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


class Stream:
    """A flow at one stream."""

    def __init__(self, flow: Flow, database: int, key: bytes, leave: Callable[[Stream], None]) -> None:
        self.flow = flow
        self.database = database
        self.key = key
        self.leave = leave
        self.group = b"flow:" + flow.name.encode(errors="surrogateescape")
        self.rights: Rights = of_operator(database)
        self.news = asyncio.Event()

    def execute(self, *words: bytes) -> Any:
        return run(self.rights, *words)

    async def serve(self) -> None:
        """Handles entries for as long as there is the stream."""
        try:
            while self.has_group():
                try:
                    await self.follow()
                except CommandError as error:  # the stream is gone, maybe already with a successor
                    if not error.reply.startswith("NOGROUP"):
                        raise
        except CommandError as error:
            log("warning", f"flow {self.flow.name} leaves {decode(self.key)}: {error.reply}")
        finally:
            self.leave(self)  # with no await since the last look: the next entry makes another one of us

    def has_group(self) -> bool:
        """Creates the group if need be; false when there is no stream."""
        try:
            self.execute(b"XGROUP", b"CREATE", self.key, self.group, self.flow.start.encode())
        except CommandError as error:
            return error.reply.startswith("BUSYGROUP")
        return True

    async def follow(self) -> None:
        await self.handle(b"0")  # what was handed out before a restart, and not acknowledged
        while True:
            self.news.clear()
            await self.handle(b">")
            await self.news.wait()

    async def handle(self, position: bytes) -> None:
        """Handles all entries that are there, a batch at a time."""
        while entries := self.read(position):
            present = [(id, fields) for id, fields in entries if fields is not None]  # the others were deleted
            if present:
                await self.call([self.entry(id, fields) for id, fields in present])
            self.execute(b"XACK", self.key, self.group, *[id for id, _ in entries])
            await asyncio.sleep(0)  # others want to run, too

    def read(self, position: bytes) -> list[Any]:
        count = str(self.flow.batch).encode()
        words = (b"XREADGROUP", b"GROUP", self.group, CONSUMER, b"COUNT", count, b"STREAMS", self.key, position)
        reply = self.execute(*words)
        return reply[0][1] if reply else []

    def entry(self, id: bytes, fields: list[bytes]) -> Entry:
        pairs = zip(fields[::2], fields[1::2], strict=True)
        named = {decode(name): decode(value) for name, value in pairs}
        return Entry(decode(self.key), decode(id), named, self.database)

    async def call(self, entries: list[Entry]) -> None:
        """Calls the function; what it raises is logged, and ``retry`` decides whether it is called again."""
        while (error := await calling.attempt(self.flow, self.rights, False, entries)) is not None:
            log("warning", f"flow {self.flow.name} failed at {entries[0].key} {entries[0].id}: {describe(error)}")
            forget_frames(error)
            if self.flow.retry is None:
                return
            await asyncio.sleep(self.flow.retry)


def existing(flow: Flow) -> list[tuple[int, bytes]]:
    """Databases and keys of the streams that a flow is for; nothing on a replica."""
    rights = of_operator()
    if run(rights, b"ROLE")[0] != b"master":
        return []
    assert flow.pattern is not None
    lines = [line for line in run(rights, b"INFO", b"keyspace").decode().splitlines() if line.startswith("db")]
    databases = [int(line[2:].split(":")[0]) for line in lines]
    return [(database, key) for database in databases for key in scan(database, flow.pattern)]


def scan(database: int, pattern: str) -> list[bytes]:
    rights = of_operator(database)
    encoded = pattern.encode(errors="surrogateescape")
    cursor = b"0"
    keys: list[bytes] = []
    while True:
        reply = run(rights, b"SCAN", cursor, b"MATCH", encoded, b"TYPE", b"stream", b"COUNT", b"1000")
        cursor, found = reply
        keys += found
        if cursor == b"0":
            return keys
