"""RDB and AOF: what was stored is there again after a restart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, wait_until
from harness import payload as rdb
from harness.tensors import DTYPES, SAMPLES
from harness.wire import encode

Servers = Callable[..., Server]

SCALAR = np.array(7, np.int64)
LINEAR = models.linear()
BATCHING = ("BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 20)


def fill(wire: Wire) -> None:
    """Tensors of every dtype, a scalar, and models in two databases."""
    for dtype in DTYPES:
        put(wire, f"tensor:{dtype}", SAMPLES[dtype])
    put(wire, "scalar", SCALAR)
    put(wire, "x", np.ones((2, 4), np.float32))
    assert wire("AI.MODELSTORE", "plain", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
    assert wire("AI.MODELSTORE", "batched", "ONNX", "cpu:1", "TAG", "v1", *BATCHING, "BLOB", LINEAR) == OK
    assert wire("SELECT", 1) == OK
    put(wire, "x", np.zeros((1, 4), np.float32))
    assert wire("AI.MODELSTORE", "elsewhere", "ONNX", "CPU", "TAG", "db1", "BLOB", LINEAR) == OK
    assert wire("SELECT", 0) == OK


def snapshot(wire: Wire) -> dict[str, object]:
    """Everything that a client can read, per key and database."""
    found: dict[str, object] = {}
    for db in (0, 1):
        assert wire("SELECT", db) == OK
        for key in sorted(wire("KEYS", "*")):
            command = "AI.MODELGET" if wire("TYPE", key).text == "AI__MODEL" else "AI.TENSORGET"
            found[f"{db}/{key.decode()}"] = wire(command, key)
        found[f"{db}/scan"] = sorted(wire("AI._MODELSCAN"))
    assert wire("SELECT", 0) == OK
    return found


def check_models_run(wire: Wire) -> None:
    assert wire("AI.MODELEXECUTE", "plain", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "sum", "difference") == OK
    assert_tensor(wire, "sum", np.full((2, 4), 2, np.float32))
    assert wire("AI.MODELEXECUTE", "batched", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    assert get(wire, "y").shape == (2, 3)
    wire("DEL", "sum", "difference", "y")


def check_same_after(wire: Wire, before: dict[str, object]) -> None:
    wait_until(lambda: snapshot(wire) == before, 10)
    assert as_dict(wire("AI.INFO", "plain"))["calls"] == 0, "statistics are not persisted"
    check_models_run(wire)


def save(wire: Wire, how: str) -> None:
    if how == "SAVE":
        assert wire("SAVE") == OK
    else:
        assert not isinstance(wire("BGSAVE"), Error)
        wait_until(lambda: b"rdb_bgsave_in_progress:0" in wire("INFO", "persistence"))
        assert b"rdb_last_bgsave_status:ok" in wire("INFO", "persistence")


@pytest.mark.parametrize("how", ["SAVE", "BGSAVE", "SHUTDOWN"])
def test_restart_from_rdb(make_server: Servers, how: str) -> None:
    server = make_server()
    with server.wire() as wire:
        fill(wire)
        check_models_run(wire)
        before = snapshot(wire)
        if how != "SHUTDOWN":
            save(wire, how)
    server.stop(save=how == "SHUTDOWN")
    with server.start().wire() as wire:
        check_same_after(wire, before)


def test_debug_reload(server: Server, wire: Wire) -> None:
    fill(wire)
    before = snapshot(wire)
    for _ in range(3):
        assert wire("DEBUG", "RELOAD") == OK
        check_same_after(wire, before)


def test_debug_digest_tells_values_apart(server: Server, wire: Wire) -> None:
    def digest() -> str:
        return wire("DEBUG", "DIGEST").text

    fill(wire)
    first = digest()
    put(wire, "tensor:FLOAT", SAMPLES["FLOAT"])
    assert digest() == first
    put(wire, "tensor:FLOAT", SAMPLES["FLOAT"].T)
    changed = digest()
    assert changed != first
    put(wire, "tensor:FLOAT", SAMPLES["FLOAT"])
    assert digest() == first
    assert wire("AI.MODELSTORE", "plain", "ONNX", "CPU", "BLOB", LINEAR) == OK
    assert digest() != first


def test_large_model_in_many_chunks_survives(make_server: Servers) -> None:
    server = make_server("MODEL_CHUNK_SIZE", 100_000)
    blob = models.weighted(2)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
        chunks = wire("AI.MODELGET", "m", "BLOB")
        assert len(chunks) == len(blob) // 100_000 + 1
        assert b"".join(chunks) == blob
        assert wire("SAVE") == OK
    with server.restart().wire() as wire:
        assert b"".join(wire("AI.MODELGET", "m", "BLOB")) == blob


@pytest.mark.parametrize("payload", [rdb.model(4, b"no model", tag="t"), rdb.model(4, b"no model", backend=2)])
def test_a_value_that_cannot_be_compiled_does_not_keep_the_server_from_starting(
    make_server: Servers, payload: bytes
) -> None:
    server = make_server()
    with server.wire() as wire:
        put(wire, "t", SAMPLES["FLOAT"])
        assert wire("RESTORE", "broken", 0, payload) == OK
        assert wire("SAVE") == OK
    for _ in range(2):
        server.restart()
        with server.wire() as wire:
            assert_tensor(wire, "t", SAMPLES["FLOAT"])
            assert rdb.body_of(wire("DUMP", "broken")) == rdb.body_of(payload)
            assert wire("AI.MODELGET", "broken", "BLOB") == b"no model"
            assert wire("SAVE") == OK


def test_a_model_is_used_while_others_still_load(make_server: Servers) -> None:
    """Loading from RDB returns at once; executions wait for their own model."""
    server = make_server()
    with server.wire() as wire:
        for number in range(4):
            assert wire("AI.MODELSTORE", f"slow{number}", "ONNX", "CPU", "BLOB", models.slow_to_load(200)) == OK
        put(wire, "x", np.ones((1, 400), np.float32))
        assert wire("SAVE") == OK
    with server.restart().wire() as wire:
        for number in range(4):
            assert wire("AI.MODELEXECUTE", f"slow{number}", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK


def test_deleting_a_model_that_still_loads(make_server: Servers) -> None:
    server = make_server()
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "slow", "ONNX", "CPU", "BLOB", models.slow_to_load(400)) == OK
        payload = wire("DUMP", "slow")
        put(wire, "x", np.ones((1, 400), np.float32))
        with server.wire() as waiting:
            assert wire("RESTORE", "slow", 0, payload, "REPLACE") == OK
            waiting.send("AI.MODELEXECUTE", "slow", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
            wait_until(lambda: waiting.has_reply() or server.blocked_clients() == 1)
            assert wire("DEL", "slow") == 1
            assert waiting.read() == OK


# -- AOF -----------------------------------------------------------------------


def aof_server(make_server: Servers, *module_args: str | int, preamble: str = "no", **config: str) -> Server:
    return make_server(*module_args, appendonly="yes", appendfsync="always", aof_use_rdb_preamble=preamble, **config)


def rewrite(wire: Wire) -> None:
    assert not isinstance(wire("BGREWRITEAOF"), Error)

    def done() -> bool:
        info = wire("INFO", "persistence")
        return b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info

    wait_until(done)
    assert b"aof_last_bgrewrite_status:ok" in wire("INFO", "persistence")


def aof_bytes(server: Server) -> bytes:
    """All AOF files: one before redis-server 7.0, a folder of them since."""
    files = sorted(path for path in server.directory.rglob("*aof*") if path.is_file())
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("rewritten", [False, True], ids=["as written", "rewritten"])
def test_restart_from_aof(make_server: Servers, preamble: str, rewritten: bool) -> None:
    server = aof_server(make_server, preamble=preamble)
    with server.wire() as wire:
        fill(wire)
        check_models_run(wire)
        if rewritten:
            rewrite(wire)
        before = snapshot(wire)
    with server.restart().wire() as wire:
        check_same_after(wire, before)


def test_outputs_are_in_the_aof_and_the_execution_is_not(make_server: Servers) -> None:
    server = aof_server(make_server)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.scalar_sum()) == OK
        put(wire, "x", np.array([1, 2], np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "total") == OK
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk") != OK
        assert wire("AI.TENSORSET", "bad", "FLOAT", -1) != OK
        assert wire("AI.CONFIG", "MODEL_CHUNK_SIZE", 1000) == OK
        assert wire("AI.INFO", "m", "RESETSTAT") == OK
    written = aof_bytes(server)
    output = encode(("AI.TENSORSET", "total", "FLOAT", "BLOB", np.float32(3).tobytes()))
    assert output.lower() in written.lower()
    assert b"MODELEXECUTE" not in written.upper()
    for nothing in (b"junk", b"bad", b"MODEL_CHUNK_SIZE", b"RESETSTAT"):
        assert nothing not in written
    with server.restart().wire() as wire:
        assert_tensor(wire, "total", np.float32(3))


def test_commands_of_a_rewritten_aof(make_server: Servers) -> None:
    server = aof_server(make_server, "MODEL_CHUNK_SIZE", 60)
    blob = models.linear()
    with server.wire() as wire:
        put(wire, "t", np.array([[1], [2]], np.int16))
        put(wire, "scalar", SCALAR)
        put(wire, "strings", np.array([b"a", b""], object))
        assert wire("AI.MODELSTORE", "m", "onnx", "cpu", "BLOB", blob) == OK
        assert wire("AI.MODELSTORE", "tagged", "ONNX", "CPU", "TAG", "v1", *BATCHING, "BLOB", blob) == OK
        rewrite(wire)
    written = aof_bytes(server)
    chunks = [blob[start : start + 60] for start in range(0, len(blob) + 1, 60)]
    none = ("BATCHSIZE", 0, "MINBATCHSIZE", 0, "MINBATCHTIMEOUT", 0)
    for command in (
        ("AI.TENSORSET", "t", "INT16", 2, 1, "BLOB", b"\1\0\2\0"),
        ("AI.TENSORSET", "scalar", "INT64", "BLOB", SCALAR.tobytes()),
        ("AI.TENSORSET", "strings", "STRING", 2, "BLOB", b"a\0\0"),
        ("AI.MODELSTORE", "m", "ONNX", "cpu", "TAG", "", *none, "BLOB", *chunks),
        ("AI.MODELSTORE", "tagged", "ONNX", "CPU", "TAG", "v1", *BATCHING, "BLOB", *chunks),
    ):
        assert encode(command).lower() in written.lower(), command[:6]
    with server.restart().wire() as wire:
        assert wire("AI.MODELGET", "tagged", "META")[1] == b"ONNX"
        assert wire("AI.TENSORGET", "strings", "VALUES") == [b"a", b""]


def test_a_model_that_cannot_be_compiled_survives_an_aof_rewrite(make_server: Servers) -> None:
    server = aof_server(make_server)
    with server.wire() as wire:
        assert wire("RESTORE", "broken", 0, rdb.model(4, b"no model", tag="t")) == OK
        rewrite(wire)
    with server.restart().wire() as wire:
        assert wire("AI.MODELGET", "broken", "BLOB") == b"no model"


def test_an_acknowledged_write_survives_kill_9(make_server: Servers) -> None:
    server = aof_server(make_server)
    for round_ in range(3):
        with server.wire() as wire:
            assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
            for number in range(50):
                put(wire, f"{round_}:{number}", np.float32(number))
                execute = ("AI.MODELEXECUTE", "m", "INPUTS", 1, f"{round_}:{number}", "OUTPUTS", 1)
                assert wire(*execute, f"{round_}:{number}:output") == OK
        server.kill()
        with server.start().wire() as wire:
            for number in range(50):
                assert_tensor(wire, f"{round_}:{number}", np.float32(number))
                assert_tensor(wire, f"{round_}:{number}:output", np.float32(number))


def test_no_file_is_left_behind(make_server: Servers) -> None:
    server = make_server()
    with server.wire() as wire:
        fill(wire)
        check_models_run(wire)
    server.stop()
    assert {path.name for path in server.directory.iterdir()} == {"redis.log", "output.log"}
