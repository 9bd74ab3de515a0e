"""Flows that fail in unusual ways: everybody gets an answer, and whatever comes next is served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import models
from flow_files import FLOWS, flow, flow_info
from harness import Error, RedisBinary, Server, Status, Wire, wait_until


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Callable[..., Server]) -> Server:
    server = module_servers("FLOWS", FLOWS / "failures.py", binary=redis_binary)
    with server.wire() as wire:
        assert flow(wire, "parsed", "0") == 0  # it is loaded
    return server


# ---- replies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("json", "reply"),
    [
        (rb'"a\ud800b"', b"a\xef\xbf\xbdb"),
        (rb'"\ud800 \udcff\udfff"', b"\xef\xbf\xbd \xff\xef\xbf\xbd"),
        (rb'{"\udbff": ["\udc80"]}', [b"\xef\xbf\xbd", [b"\x80"]]),
        (rb'"\ud83d\ude00"', "\N{GRINNING FACE}".encode()),
    ],
)
def test_lone_surrogates_are_bytes_or_replacement_characters(wire: Wire, json: bytes, reply: object) -> None:
    assert flow(wire, "parsed", json) == reply


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("huge", "ERR ValueError: "),
        ("pretender", "ERR TypeError: a flow cannot return Pretender"),
        ("changing", "ERR RuntimeError: dictionary changed size during iteration"),
        ("leaving", "ERR SystemExit: out"),
    ],
)
def test_results_that_cannot_be_encoded_are_errors(wire: Wire, kind: str, text: str) -> None:
    reply = flow(wire, "result", kind)
    assert isinstance(reply, Error) and reply.text.startswith(text), reply
    assert wire("PING") == Status("PONG")


def test_results_have_so_many_elements_as_their_replies_say(wire: Wire) -> None:
    assert flow(wire, "result", "growing") == [1, [1, 2, 3]]
    assert flow(wire, "result", "miscounted") == [1, [b"a", b"A", b"b", b"B"]]
    assert wire("PING") == Status("PONG")


def test_exceptions_as_results(wire: Wire) -> None:
    assert flow(wire, "result", "unprintable") == [1, Error("ERR Unprintable")]
    assert flow(wire, "result", "untraceable") == [1, Error("ERR Untraceable")]


@pytest.mark.parametrize("name", ["raise", "raise in coroutine"])
def test_exceptions_that_say_nothing_or_cannot_be_changed(wire: Wire, name: str) -> None:
    for _ in range(2):
        for kind, text in (("unprintable", "ERR Unprintable (failures.py, line "), ("frozen", "ERR Frozen: ice (")):
            reply = flow(wire, name, kind)
            assert isinstance(reply, Error) and reply.text.startswith(text), reply
        assert flow(wire, name, "untraceable") == Error("ERR Untraceable")
        reply = flow(wire, name, "stop")
        assert isinstance(reply, Error) and "StopIteration" in reply.text


def test_events_go_on_after_such_exceptions(server: Server, wire: Wire) -> None:
    keys = [f"raise:{kind}" for kind in ("unprintable", "frozen", "stop", "untraceable")] * 2
    for key in keys:
        wire("SET", key, 1)
    wait_until(lambda: wire("LRANGE", "events", 0, -1) == [key.encode() for key in keys])
    wait_until(lambda: flow_info(server, "raise_at_event")["errors"] == "8")
    assert "flow raise_at_event failed at set raise:frozen: Frozen: ice (failures.py, line " in server.log


# ---- cancellation ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["inner", "self", "late"])
def test_a_call_that_cancels_itself_is_an_error(wire: Wire, how: str) -> None:
    assert flow(wire, "cancel", how) == Error("ERR the flow was cancelled")


def test_events_go_on_after_a_cancellation(server: Server, wire: Wire) -> None:
    ways = ["inner", "self", "late", "inner", "none"]
    for i, how in enumerate(ways):
        wire("SET", f"cancel:{i}", how)
    wait_until(lambda: wire("LLEN", "events") == len(ways))
    wait_until(lambda: flow_info(server, "cancel_event")["running"] == "0")
    assert int(flow_info(server, "cancel_event")["errors"]) >= 3
    wait_until(lambda: "flow cancel_event failed at set cancel:3: CancelledError" in server.log)


def test_entries_whose_function_cancels_itself_are_skipped_or_tried_again(server: Server, wire: Wire) -> None:
    ways = [b"inner", b"self", b"inner", b"none"]
    for how in ways:
        wire("XADD", "entries", "*", "how", how)
    wait_until(lambda: wire("LRANGE", "handled", 0, -1) == ways)
    wait_until(lambda: wire("LRANGE", "handled at last", 0, -1) == ways)
    for group in ("cancels", "cancels twice"):
        wait_until(lambda group=group: wire("XPENDING", "entries", f"flow:{group}")[0] == 0)
    assert flow_info(server, "cancels")["errors"] == "3"
    assert flow_info(server, "cancels twice")["errors"] == "6"


# ---- while files are loaded ------------------------------------------------------------


def test_a_file_that_waits_for_the_event_loop_does_not_hold_it_up(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """Backends wait for flow files, but not where the event loop waits for the backend."""
    file, begun = tmp_path / "flow.py", tmp_path / "begun"
    file.write_text(
        "import pathlib, time\n"
        "import redisAI\n"
        f"pathlib.Path({str(begun)!r}).touch()\n"
        "time.sleep(1)\n"
        'redisAI.execute("SET", "by the file", "1")\n'
    )
    with make_server("FLOWS", file).wire() as wire:
        wait_until(begun.exists)
        assert wire("MULTI") == Status("OK")
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == Status("QUEUED")
        assert wire("EXEC") == [Status("OK")]
        wait_until(lambda: wire("GET", "by the file") == b"1")
