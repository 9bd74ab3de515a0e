"""A server with many models serves as soon as their bytes are read, and compiles first what is used first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, default_binary, wait_until
from harness import payload as rdb

Servers = Callable[..., Server]

COUNT = 30
PRODUCTS = 60  # of which each model takes some tens of milliseconds to compile


def rdb_of_slow_models() -> bytes:
    blob = models.slow_to_load(PRODUCTS)
    values = {f"m{number}": rdb.model(4, blob, inputs=["x"], outputs=["y"]) for number in range(COUNT)}
    values["x"] = rdb.tensor(4, "FLOAT", [1, 400], np.ones(400, np.float32).tobytes())
    return rdb.rdb_file(values, checksum=False)


@pytest.fixture(scope="module")
def data() -> bytes:
    return rdb_of_slow_models()


@pytest.fixture
def server(make_server: Servers, data: bytes) -> Server:
    """Just started from the file."""
    server = make_server(start=False)
    server.directory.mkdir(parents=True)
    (server.directory / "dump.rdb").write_bytes(data)
    return server.start()


def counts(server: Server) -> tuple[int, int, int]:
    """Models that are ready, loading and failed, as INFO shows them."""
    fields = server.info("ai")
    ready, loading, failed = (int(fields[f"ai_models_{state}"]) for state in ("ready", "loading", "failed"))
    return ready, loading, failed


def execute(key: str) -> tuple[str | int, ...]:
    return ("AI.MODELEXECUTE", key, "INPUTS", 1, "x", "OUTPUTS", 1, f"y:{key}")


def test_it_serves_before_the_models_are_compiled(server: Server) -> None:
    with server.wire() as wire:
        assert wire("DBSIZE") == COUNT + 1
        ready, loading, failed = counts(server)
        assert (ready + loading, failed) == (COUNT, 0)
        assert loading > COUNT / 2, "the test shows nothing if they compile so fast"
        assert len(wire("AI._MODELSCAN")) == COUNT
        wait_until(lambda: counts(server) == (COUNT, 0, 0), 60)


def test_an_execution_comes_before_models_that_nobody_waits_for(server: Server) -> None:
    with server.wire() as wire:
        wanted = [key.decode() for key in as_dict(wire("AI.INFO"))["Models loading"][-3:]]
        connections = [server.wire() for _ in wanted]
        for connection, key in zip(connections, wanted, strict=True):
            connection.send(*execute(key))
        ready_at = []
        for connection in connections:
            assert connection.read() == OK
            ready_at.append(counts(server)[0])
            connection.close()
        # One was under way, and the next may be done by now.
        assert ready_at[-1] <= len(wanted) + 4 < COUNT
        left = {key.decode() for key in as_dict(wire("AI.INFO"))["Models loading"]}
        assert left.isdisjoint(wanted)


def test_models_compile_in_the_order_of_their_first_use(server: Server) -> None:
    with server.wire() as wire, server.wire() as clients:
        loading = [key.decode() for key in as_dict(wire("AI.INFO"))["Models loading"]]
        wanted = [loading[number] for number in (20, 5, 12)]
        for number, key in enumerate(wanted):
            connection = server.wire()
            connection.send(*execute(key))
            wait_until(lambda: server.blocked_clients() > number or wire("EXISTS", f"y:{key}"))  # noqa: B023
        seen: list[str] = []

        def all_done() -> bool:
            unready = {key.decode() for key in as_dict(clients("AI.INFO"))["Models loading"]}
            seen.extend(key for key in wanted if key not in unready and key not in seen)
            return len(seen) == len(wanted)

        wait_until(all_done, every=0.001)
        assert seen == wanted


def test_a_store_does_not_wait_for_models_that_nobody_waits_for(server: Server) -> None:
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "new", "ONNX", "CPU", "BLOB", models.identity()) == OK
        assert counts(server)[0] < COUNT / 2


def test_a_script_that_runs_a_model_hastens_it(server: Server) -> None:
    source = "def f(x):\n    return redisAI.model_execute('KEY', [x], 1)\n"
    with server.wire() as wire:
        key = as_dict(wire("AI.INFO"))["Models loading"][-1].decode()
        assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", source.replace("KEY", key)) == OK
        assert wire("AI.SCRIPTRUN", "s", "f", "INPUTS", "x", "OUTPUTS", "y") == OK
        assert key.encode() not in as_dict(wire("AI.INFO"))["Models loading"]


def test_deleted_models_are_not_compiled(server: Server) -> None:
    with server.wire() as wire:
        assert wire("FLUSHALL", "SYNC") == OK
        assert counts(server) == (0, 0, 0)
        start = time.monotonic()
        wait_until(lambda: server.live_objects()["models"] == 0, 60)
        one_after_another = time.monotonic() - start
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.slow_to_load(PRODUCTS)) == OK
        one = time.monotonic() - start - one_after_another
        assert one_after_another < max(1, COUNT / 3 * one)


def test_what_cannot_be_compiled_is_shown(server: Server) -> None:
    with server.wire() as wire:
        wire("FLUSHALL")
        assert wire("RESTORE", "broken", 0, rdb.model(4, b"no model")) == OK
        assert wire("RESTORE", "script", 0, rdb.script(4, "no script")) == OK
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        wait_until(lambda: counts(server) == (1, 0, 2), 60)
        fields = as_dict(wire("AI.INFO"))
        assert (fields["Models ready"], fields["Models loading"]) == (1, [])
        assert sorted(fields["Models failed"]) == [b"broken", b"script"]
        wire("SELECT", 1)
        assert as_dict(wire("AI.INFO"))["Models ready"] == 0, "of the selected database"
        wire("SELECT", 0)
        wire("RENAME", "broken", "renamed")
        assert sorted(as_dict(wire("AI.INFO"))["Models failed"]) == [b"renamed", b"script"]


def test_info_names_its_fields_in_resp3(server: Server) -> None:
    with server.wire(protocol=3) as wire:
        wire("FLUSHALL")
        reply = wire("AI.INFO")
    names = list(reply) if isinstance(reply, dict) else reply[::2]  # redis-server 6.2 knows no maps of modules
    assert names[:3] == [b"Version", b"Low level API Version", b"RDB Encoding version"]
    assert names[-3:] == [b"Models ready", b"Models loading", b"Models failed"]


def test_commands_are_refused_while_the_bytes_are_read(make_server: Servers, data: bytes) -> None:
    """Redis' own LOADING, as for every other type."""
    if default_binary().version < (7, 0, 0):
        pytest.skip("redis-server 6.2 cannot be slowed down while it loads")
    server = make_server(start=False, key_load_delay=20_000, loading_process_events_interval_bytes=1024)
    server.directory.mkdir(parents=True)
    (server.directory / "dump.rdb").write_bytes(data)
    server.start(online=False)

    def loading_error() -> object:
        try:
            with Wire(server.port) as wire:
                return wire("AI._MODELSCAN")
        except (ConnectionError, OSError):
            return None

    reply = wait_until(loading_error)
    assert isinstance(reply, Error) and reply.text.startswith("LOADING")
    server.wait_for_online(60)


SLOW_BACKEND = """
import os, time

class Backend:
    def __init__(self, options):
        self.version = "1"
    def load(self, source):
        while os.path.exists({path!r}):
            time.sleep(0.005)
        return Session()

class Session:
    inputs, outputs = ["x"], ["y"]
    def execute(self, requests, run):
        return requests
    def close(self):
        pass
"""


def test_a_timeout_passes_while_the_model_is_loading(make_server: Servers, tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    loads.touch()
    (tmp_path / "slow.py").write_text(SLOW_BACKEND.format(path=str(loads)))
    server = make_server("ONNX", str(tmp_path / "slow.py"))
    with server.wire() as wire, server.wire() as patient, server.wire() as other:
        assert wire("AI.TENSORSET", "x", "FLOAT", 1, "VALUES", 7) == OK
        for key in ("m1", "m2"):
            assert wire("RESTORE", key, 0, rdb.model(4, b"any", inputs=["x"], outputs=["y"])) == OK
        patient.send(*execute("m1"))
        other.send(*execute("m2"), "TIMEOUT", 60_000)
        for key in ("m1", "m2", "m1"):
            start = time.monotonic()
            assert wire(*execute(key), "TIMEOUT", 50) == Status("TIMEDOUT")
            assert 0.05 <= time.monotonic() - start < 5
        dag = "TIMEOUT 50 |> AI.TENSORSET a FLOAT 1 VALUES 1 |> AI.MODELEXECUTE m2 INPUTS 1 a OUTPUTS 1 b"
        assert wire("AI.DAGEXECUTE", "ROUTING", "m2", *dag.split()) == Status("TIMEDOUT")
        assert not patient.has_reply() and not other.has_reply()
        # Those that are left behind when their model is replaced, too.
        with server.wire() as late:
            late.send(*execute("m2"), "TIMEOUT", 300)
            wait_until(lambda: server.blocked_clients() == 3)
            assert wire("DEL", "m2") == 1
            assert late.read() == Status("TIMEDOUT")
        loads.unlink()
        assert patient.read() == OK and other.read() == OK
        assert wire("AI.TENSORGET", "y:m1", "VALUES") == [b"7"]
        assert as_dict(wire("AI.INFO", "m1"))["calls"] == 1
