"""A flow file of the tests: results and exceptions that are hard to reply with, and flows that cancel themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

import redisAI

# ---- exceptions ------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@dataclass(frozen=True)
class Frozen(Exception):
    """Nothing can be assigned to it, not even its traceback."""

    text: str

    def __str__(self):
        return self.text


class Untraceable(Exception):
    """Nothing can be learned about it, either."""

    @property
    def __traceback__(self):
        raise SystemExit("out")


def failure(kind):
    if kind == "stop":
        return StopIteration("no more")
    return {"unprintable": Unprintable, "frozen": lambda: Frozen("ice"), "untraceable": Untraceable}[kind]()


@redisAI.flow("raise")
def raise_in_thread(kind):
    raise failure(kind)


@redisAI.flow("raise in coroutine")
async def raise_in_coroutine(kind):
    raise failure(kind)


@redisAI.on_event("raise:*")
def raise_at_event(event):
    redisAI.execute("RPUSH", "events", event.key)
    raise failure(event.key.removeprefix("raise:"))


# ---- results ---------------------------------------------------------------------------


class Pretender:
    """It has an attribute that tensors have."""

    stored = "not a tensor"


class Changing(dict):
    """As if another thread changed it."""

    def items(self):
        for pair in super().items():
            self[len(self)] = None
            yield pair


class Growing(list):
    """As if another thread appended to it."""

    def __iter__(self):
        yield from [1, 2, 3]


class Miscounted(Mapping):
    def __len__(self):
        return 5

    def __iter__(self):
        return iter("ab")

    def __getitem__(self, key):
        return key.upper()


class Leaving(dict):
    def items(self):
        raise SystemExit("out")


@redisAI.flow("parsed")
def parsed(text):
    return json.loads(text)


@redisAI.flow("result")
def result(kind):
    results = {
        "huge": 10**5000,
        "pretender": Pretender(),
        "changing": Changing(a=1, b=2),
        "growing": Growing([0]),
        "miscounted": Miscounted(),
        "leaving": Leaving(a=1),
        "unprintable": Unprintable(),
        "untraceable": Untraceable(),
    }
    return [1, results[kind]]


# ---- cancellation ----------------------------------------------------------------------


async def cancel(how):
    if how == "inner":
        task = asyncio.create_task(asyncio.sleep(9))
        task.cancel()
        await task
    if how == "self":
        asyncio.current_task().cancel()
        await asyncio.sleep(9)
    if how == "late":
        asyncio.current_task().cancel()


@redisAI.flow("cancel")
async def cancel_call(how):
    await cancel(how)


@redisAI.on_event("cancel:*", event="set")
async def cancel_event(event):
    redisAI.execute("RPUSH", "events", event.key)
    await cancel(redisAI.execute("GET", event.key))


@redisAI.on_stream("entries", name="cancels")
async def cancel_entry(entries):
    redisAI.execute("RPUSH", "handled", entries[0].fields["how"])
    await cancel(entries[0].fields["how"])


@redisAI.on_stream("entries", name="cancels twice", retry=0.01)
async def cancel_entry_twice(entries):
    if redisAI.execute("INCR", entries[0].id) < 3:
        await cancel(entries[0].fields["how"])
    redisAI.execute("RPUSH", "handled at last", entries[0].fields["how"])
