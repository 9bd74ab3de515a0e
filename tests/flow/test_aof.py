"""The append-only file: in parts, with and without preamble, rewritten under load, cut short, and written by others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Wire, as_dict, assert_tensor, put, wait_until
from harness.tensors import DTYPES, SAMPLES, blob_of, tensorset
from harness.wire import encode

Servers = Callable[..., Server]

pytestmark = pytest.mark.one_server

SCRIPT = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"
OLD_SCRIPT = "def total(a, b):\n    return a + b\n"
TWO = models.two_outputs()
AOF = {"appendonly": "yes", "appendfsync": "always"}


def rewrite(wire: Wire) -> None:
    assert not isinstance(wire("BGREWRITEAOF"), Error)

    def done() -> bool:
        info = wire("INFO", "persistence")
        return b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info

    wait_until(done)
    assert b"aof_last_bgrewrite_status:ok" in wire("INFO", "persistence")


def fill(wire: Wire) -> None:
    for dtype in DTYPES:
        put(wire, f"tensor:{dtype}", SAMPLES[dtype])
    put(wire, "scalar", np.float32(3))
    put(wire, "x", np.ones(2, np.float32))
    assert wire("AI.MODELSTORE", "m", "ONNX", "cpu", "TAG", "v1", "BATCHSIZE", 4, "BLOB", TWO) == OK
    assert wire("AI.SCRIPTSTORE", "s", "CPU", "TAG", "t", "ENTRY_POINTS", 1, "f", "SOURCE", SCRIPT) == OK
    assert wire("AI.SCRIPTSET", "best effort", "CPU", "TAG", "u", "SOURCE", OLD_SCRIPT) == OK


def check_all_runs(wire: Wire) -> None:
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "y", "z") == OK
    assert wire("AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert wire("AI.SCRIPTRUN", "best effort", "total", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
    assert_tensor(wire, "y", np.array([2, 2], np.float32))
    wire("DEL", "y", "z")


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_a_restart_from_a_rewritten_file_and_what_followed(
    redis_binary: RedisBinary, make_server: Servers, preamble: str
) -> None:
    server = make_server(binary=redis_binary, aof_use_rdb_preamble=preamble, **AOF)
    with server.wire() as wire:
        fill(wire)
        rewrite(wire)
        rewrite(wire)
        assert wire("AI.MODELSTORE", "after", "ONNX", "CPU", "BLOB", TWO) == OK
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "sum", "difference") == OK
        assert wire("AI.MODELDEL", "after") == OK
        digest = wire("DEBUG", "DIGEST")
        parts = len(aof_files(server))
        assert parts == (2 if redis_binary.version >= (7, 0, 0) else 1), "a base and an increment since 7.0"
    with server.restart().wire() as wire:
        assert wire("DEBUG", "DIGEST") == digest
        check_all_runs(wire)
        assert wire("EXISTS", "after") == 0


@pytest.mark.parametrize("rewritten", [False, True])
def test_empty_outputs_come_back(redis_binary: RedisBinary, make_server: Servers, rewritten: bool) -> None:
    server = make_server(binary=redis_binary, aof_use_rdb_preamble="no", **AOF)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.positions()) == OK
        put(wire, "x", np.zeros(2, np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        if rewritten:
            rewrite(wire)
        digest = wire("DEBUG", "DIGEST")
    with server.restart().wire() as wire:
        assert wire("DEBUG", "DIGEST") == digest
        assert as_dict(wire("AI.TENSORGET", "y"))["shape"] == [1, 0]


def aof_files(server: Server) -> list[Path]:
    """One file before 7.0; since then a base, increments and a manifest in a folder."""
    return sorted(path for path in server.directory.rglob("*.aof*") if path.suffix != ".manifest")


@pytest.mark.parametrize("preamble", ["yes", "no"])
def test_rewrites_while_models_run(make_server: Servers, preamble: str) -> None:
    server = make_server(aof_use_rdb_preamble=preamble, **AOF)
    acknowledged: list[list[int]] = [[] for _ in range(3)]
    stopping = threading.Event()

    def work(number: int) -> None:
        with server.wire() as wire:
            turn = 0
            while not stopping.is_set():
                put(wire, f"in{number}", np.full(2, turn, np.float32))
                execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, f"in{number}", f"in{number}", "OUTPUTS", 2)
                assert wire(*execute, f"out{number}:{turn}", f"zero{number}") == OK
                acknowledged[number].append(turn)
                if turn % 20 == 0:
                    assert wire("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "TAG", turn, "BLOB", TWO) == OK
                turn += 1

    with server.wire() as wire:
        fill(wire)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            before = [len(turns) for turns in acknowledged]
            rewrite(wire)
            wait_until(lambda: all(len(turns) > old for turns, old in zip(acknowledged, before, strict=True)))  # noqa: B023
        stopping.set()
        for thread in threads:
            thread.join(30)
        digest = wire("DEBUG", "DIGEST")
    server.kill()
    with server.start().wire() as wire:
        assert wire("DEBUG", "DIGEST") == digest
        for number, turns in enumerate(acknowledged):
            for turn in turns:
                assert wire("AI.TENSORGET", f"out{number}:{turn}", "VALUES") == [b"%d" % (2 * turn)] * 2
        check_all_runs(wire)


@pytest.mark.parametrize("missing", [1, 10, 100])
def test_a_truncated_tail_loses_the_last_command_only(
    redis_binary: RedisBinary, make_server: Servers, missing: int
) -> None:
    server = make_server(binary=redis_binary, aof_use_rdb_preamble="no", **AOF)
    with server.wire() as wire:
        put(wire, "t", SAMPLES["STRING"])
        assert wire("AI.MODELSTORE", "whole", "ONNX", "CPU", "BLOB", TWO) == OK
        assert wire("AI.MODELSTORE", "cut", "ONNX", "CPU", "BLOB", TWO) == OK
    server.stop()
    last = aof_files(server)[-1]
    last.write_bytes(last.read_bytes()[:-missing])
    with server.start().wire() as wire:
        assert "Truncating the AOF" in server.log
        assert_tensor(wire, "t", SAMPLES["STRING"])
        assert wire("AI._MODELSCAN") == [[b"whole", b""]]
        # What is written next stands where the rest was cut off.
        assert wire("AI.MODELSTORE", "next", "ONNX", "CPU", "BLOB", TWO) == OK
    with server.restart().wire() as wire:
        found = sorted(wire("AI._MODELSCAN"))
        if redis_binary.version < (7, 0, 0):  # it cuts between a MULTI and its EXEC, and goes on writing there
            found = [entry for entry in found if entry[0] != b"cut"]
        assert found == [[b"next", b""], [b"whole", b""]]


def start_from(make_server: Servers, commands: list[tuple[Any, ...]]) -> Server:
    """A server whose AOF holds these commands, as one of an older release may."""
    server = make_server(start=False, aof_use_rdb_preamble="no", **AOF)
    server.directory.mkdir(parents=True)
    # A file without a manifest is what an older redis-server left; 7.0 takes it over.
    (server.directory / "appendonly.aof").write_bytes(b"".join(map(encode, [("SELECT", 0), *commands])))
    return server.start()


def test_commands_of_older_releases(make_server: Servers) -> None:
    """What clients of RedisAI 1.0 to 1.2.7 sent, and what 1.2.3 and 1.2.4 wrote in a rewrite."""
    batch = ("BATCHSIZE", 4, "MINBATCHSIZE", 2)
    server = start_from(
        make_server,
        [
            tensorset("t", SAMPLES["FLOAT"]),
            ("AI.TENSORSET", "values", "INT8", 2, "VALUES", "1", "2"),
            ("AI.TENSORSET", "scalar", "FLOAT", "BLOB", np.float32(7).tobytes()),
            ("AI.MODELSET", "plain", "ONNX", "CPU", "BLOB", TWO),
            ("AI.MODELSET", "tagged", "ONNX", "CPU", "TAG", "v1", *batch, "BLOB", TWO[:100], TWO[100:]),
            ("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "", *batch, "MINBATCHTIMEOUT", 5, "BLOB", TWO, b""),
            ("AI.SCRIPTSET", "s", "CPU", "TAG", "", "SOURCE", OLD_SCRIPT),
            ("AI.SCRIPTSET", "bare", "CPU", "SOURCE", OLD_SCRIPT),
            ("AI.SCRIPTSTORE", "entry", "CPU", "TAG", "", "ENTRY_POINTS", 1, "f", "SOURCE", SCRIPT),
            ("AI.SCRIPTDEL", "bare"),
        ],
    )
    with server.wire() as wire:
        assert_tensor(wire, "t", SAMPLES["FLOAT"])
        assert_tensor(wire, "scalar", np.float32(7))
        assert sorted(wire("AI._MODELSCAN")) == [[b"m", b""], [b"plain", b""], [b"tagged", b"v1"]]
        assert sorted(wire("AI._SCRIPTSCAN")) == [[b"entry", b""], [b"s", b""]]
        fields = as_dict(wire("AI.MODELGET", "tagged"))
        assert (fields["batchsize"], fields["minbatchsize"], fields["blob"]) == (4, 2, TWO)
        put(wire, "x", np.ones(2, np.float32))
        for key in ("plain", "tagged", "m"):
            assert wire("AI.MODELEXECUTE", key, "INPUTS", 2, "x", "x", "OUTPUTS", 2, "y", "z") == OK
        assert wire("AI.SCRIPTRUN", "s", "total", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
        rewrite(wire)
        digest = wire("DEBUG", "DIGEST")
    with server.restart().wire() as wire:
        assert wire("DEBUG", "DIGEST") == digest


def test_lines_that_no_release_can_read_are_skipped(make_server: Servers) -> None:
    """Rewrites of 1.0.x to 1.2.2 hold a number where the backend should be, and a bare tag."""
    server = start_from(
        make_server,
        [
            (
                "AI.MODELSET",
                "lost",
                "3",
                "CPU",
                "",
                "BATCHSIZE",
                0,
                "MINBATCHSIZE",
                0,
                "INPUTS",
                "OUTPUTS",
                "BLOB",
                TWO,
            ),
            ("AI.SCRIPTSET", "gone", "CPU", "", "SOURCE", OLD_SCRIPT),
            ("AI.SCRIPTSTORE", "1.2.7", "CPU", "TAG", "t", "SOURCE", OLD_SCRIPT),
            tensorset("t", SAMPLES["DOUBLE"]),
            ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", TWO),
        ],
    )
    with server.wire() as wire:
        assert_tensor(wire, "t", SAMPLES["DOUBLE"])
        assert sorted(wire("KEYS", "*")) == [b"m", b"t"]


def test_a_command_that_was_accepted_once_is_trusted(make_server: Servers) -> None:
    """Like a value in an RDB file: a framework that rejects it now must not cost the data."""
    server = start_from(
        make_server,
        [
            ("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "t", "BLOB", b"no model any more"),
            ("AI.SCRIPTSET", "s", "CPU", "SOURCE", "no script any more"),
        ],
    )
    with server.wire() as wire:
        assert wire("AI.MODELGET", "m", "BLOB") == b"no model any more"
        put(wire, "x", np.ones(1, np.float32))
        assert isinstance(wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y"), Error)
        assert isinstance(wire("AI.SCRIPTRUN", "s", "f", "INPUTS", "x", "OUTPUTS", "y"), Error)
        rewrite(wire)
    with server.restart().wire() as wire:
        assert wire("AI.MODELGET", "m", "BLOB") == b"no model any more"
        assert as_dict(wire("AI.SCRIPTGET", "s"))["source"] == b"no script any more"
        assert as_dict(wire("AI.INFO"))["Models failed"] in ([b"m", b"s"], [b"s", b"m"], [])


def test_transactions_in_the_file_are_replayed_whole(make_server: Servers) -> None:
    server = make_server(aof_use_rdb_preamble="no", **AOF)
    with server.wire() as wire:
        wire("MULTI")
        wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", TWO)
        wire(*tensorset("x", np.ones(2, np.float32)))
        assert wire("EXEC") == [OK, OK]
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "y", "z") == OK
    server.kill()
    with server.start().wire() as wire:
        assert sorted(wire("KEYS", "*")) == [b"m", b"x", b"y", b"z"]
        assert wire("AI.TENSORGET", "y", "BLOB") == blob_of(np.full(2, 2, np.float32))
