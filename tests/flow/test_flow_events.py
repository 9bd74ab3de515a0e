"""Flows that changes of keys and entries of streams start: which, in what order, and what survives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flow_files import FLOWS, flow, flow_info
from harness import RedisBinary, Server, Wire, assert_tensor, put, wait_until

Servers = Callable[..., Server]


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    server = module_servers("FLOWS", FLOWS / "everything.py", binary=redis_binary)
    with server.wire() as wire:
        assert flow(wire, "echo") == []  # it is loaded
    return server


def test_events_of_keys_that_match(server: Server, wire: Wire) -> None:
    wire("SET", "user:1", "x")
    wire("SET", "user:x", "x")
    wire("HSET", "user:2", "f", "v")
    wire("DEL", "user:1")
    with server.wire(db=3) as other:
        other("SET", "user:3", "x")
    expected = [b"set user:1 0", b"hset user:2 0", b"del user:1 0"]
    wait_until(lambda: wire("LLEN", "changes") == 3)
    assert wire("LRANGE", "changes", 0, -1) == expected, "in order"
    with server.wire(db=3) as other:
        wait_until(lambda: other("LRANGE", "changes", 0, -1) == [b"set user:3 3"])


def test_tensors_that_are_stored(wire: Wire) -> None:
    put(wire, "image:1", np.arange(3, dtype=np.float32))
    wait_until(lambda: wire("EXISTS", "seen:image:1"))
    assert_tensor(wire, "seen:image:1", np.arange(3, dtype=np.float32))


def test_events_that_are_handled_at_once(server: Server, wire: Wire) -> None:
    for i in range(30):
        wire("INCR", f"counted:{i % 3}")
        wire("SET", f"counted:{i % 3}", i)
    wait_until(lambda: wire("LLEN", "counts") == 30)
    info = flow_info(server, "counted")
    assert info["waiting"] == "0" and info["dropped"] == "0"


def test_a_failing_event_flow_is_logged_and_counted(server: Server, wire: Wire) -> None:
    errors = int(flow_info(server, "broken")["errors"])
    wire("SET", "broken:1", "x")
    wait_until(lambda: int(flow_info(server, "broken")["errors"]) == errors + 1)
    wait_until(lambda: "flow broken failed at set broken:1: ValueError: broken:1 (everything.py" in server.log)


def test_entries_of_streams(server: Server, wire: Wire) -> None:
    for n in range(10):
        wire("XADD", "orders:1", "*", "n", n)
    wire("XADD", "orders:2", "*", "n", "x")

    def handled() -> list[str]:
        batches = [batch.decode().split(": ") for batch in wire("LRANGE", "batches", 0, -1)]
        assert all(len(words.split()) <= 4 for _, words in batches)
        return [f"{place} {word}" for place, words in batches for word in words.split()]

    wait_until(lambda: len(handled()) == 11)
    assert [word for word in handled() if word.startswith("orders:1")] == [f"orders:1/0 {n}" for n in range(10)]
    assert "orders:2/0 x" in handled()
    wait_until(lambda: wire("XPENDING", "orders:1", "flow:orders")[0] == 0)
    wire("DEL", "orders:1", "batches")
    wire("XADD", "orders:1", "*", "n", "again")
    wait_until(lambda: handled() == ["orders:1/0 again"])


def test_an_entry_whose_function_fails(wire: Wire) -> None:
    wire("XADD", "bad", "*", "n", 1)
    wire("XADD", "bad", "*", "n", 2)
    wait_until(lambda: wire("LRANGE", "after", 0, -1) == [b"2"])
    wait_until(lambda: wire("LRANGE", "tried", 0, -1) == [b"1", b"2"])


def test_entries_are_handled_again_after_a_crash(make_server: Servers, tmp_path: Path) -> None:
    """At least once: the one that was at work when the power went, and those that waited."""
    (tmp_path / "f.py").write_text(
        "import time\nimport redisAI\n\n\n@redisAI.on_stream('work')\ndef work(entries):\n"
        "    while redisAI.execute('EXISTS', 'wait'):\n        time.sleep(0.01)\n"
        "    redisAI.execute('RPUSH', 'done', entries[0].fields['n'])\n"
    )
    server = make_server("FLOWS", tmp_path, appendonly="yes", appendfsync="always")
    with server.wire() as wire:
        wire("SET", "wait", 1)
        for n in range(3):
            wire("XADD", "work", "*", "n", n)
        wait_until(lambda: flow_info(server, "work")["running"] == "1")
        server.kill()
    server.start()
    with server.wire() as wire:
        wire("DEL", "wait")
        wait_until(lambda: wire("LRANGE", "done", 0, -1) == [b"0", b"1", b"2"])
