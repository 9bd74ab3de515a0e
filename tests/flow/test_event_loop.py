"""The event loop never waits: latency of other clients, and an idle server's cost.

Bounds are generous, or relative to the work that goes on, so that a busy
machine does not fail them; a server that works on its event loop does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from harness import OK, Server, Status, Wire, put

Servers = Callable[..., Server]


def ping_until_reply(server: Server, working: Wire) -> tuple[list[float], object]:
    """Latencies of PING in seconds until the working connection has its reply."""
    latencies = []
    with server.wire() as pinger:
        while not working.has_reply():
            start = time.perf_counter()
            assert pinger("PING") == Status("PONG")
            latencies.append(time.perf_counter() - start)
            time.sleep(0.001)
    return latencies, working.read()


def assert_no_stall(latencies: list[float], work: float) -> None:
    """No PING waited for a large part of the work, and most did not wait at all."""
    assert len(latencies) > 3, "the work was over before anything could be seen"
    assert max(latencies) < max(0.1, work / 3)
    assert sorted(latencies)[len(latencies) // 2] < 0.02


def test_storing_a_model_that_is_slow_to_load(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "warm", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    blob = models.slow_to_load(1000)
    start = time.monotonic()
    wire.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob)
    latencies, reply = ping_until_reply(server, wire)
    assert reply == OK
    assert_no_stall(latencies, time.monotonic() - start)


def test_importing_a_backend(make_server: Servers) -> None:
    server = make_server()
    with server.wire() as wire:
        start = time.monotonic()
        wire.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply())
        latencies, reply = ping_until_reply(server, wire)
    assert reply == OK
    assert_no_stall(latencies, time.monotonic() - start)


def test_heavy_inference(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.matrix_chain(512, 60)) == OK
    put(wire, "x", np.ones((128, 512), np.float32))
    start = time.monotonic()
    for _ in range(10):
        wire.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        latencies, reply = ping_until_reply(server, wire)
        assert reply == OK
    assert_no_stall(latencies * 4, time.monotonic() - start)


def test_pipelined_executions_do_not_wait_for_each_other_s_timers(server: Server, wire: Wire) -> None:
    """The next command of a pipeline is parsed late in the event loop's turn; it must not miss it."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    put(wire, "x", np.ones(2, np.float32))
    execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y")
    start = time.monotonic()
    assert [wire(*execute) for _ in range(50)] == [OK] * 50
    one_by_one = time.monotonic() - start
    start = time.monotonic()
    assert wire.pipeline(*[execute] * 50) == [OK] * 50
    assert time.monotonic() - start < 3 * one_by_one + 0.05


def test_a_value_loaded_in_the_background(server: Server, wire: Wire) -> None:
    """RESTORE, like loading from RDB, returns before the model is compiled."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.slow_to_load(600)) == OK
    payload = wire("DUMP", "m")
    wire("DEL", "m")
    put(wire, "x", np.ones((1, 400), np.float32))
    start = time.monotonic()
    assert wire("RESTORE", "n", 0, payload) == OK
    installed = time.monotonic() - start
    assert wire("AI.MODELEXECUTE", "n", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    executed = time.monotonic() - start
    assert installed < executed / 3


def test_deleting_a_large_model_and_many_tensors(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.weighted(16)) == OK
    for number in range(2000):
        assert wire("AI.TENSORSET", f"t{number}", "FLOAT", 1000) == OK
    start = time.monotonic()
    assert wire("FLUSHALL", "ASYNC") == OK
    assert wire("PING") == Status("PONG")
    assert time.monotonic() - start < 0.5


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def voluntary_switches(pid: int) -> int:
    """How often the threads of a process went to sleep."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def idle_cost(server: Server, seconds: float = 2.0) -> tuple[float, int]:
    """CPU seconds and voluntary context switches of a server that nobody talks to."""
    ticks, switches = cpu_ticks(server.pid), voluntary_switches(server.pid)
    time.sleep(seconds)
    cpu = (cpu_ticks(server.pid) - ticks) / os.sysconf("SC_CLK_TCK")
    return cpu, voluntary_switches(server.pid) - switches


@pytest.mark.parametrize("state", ["fresh", "used", "many models"])
def test_an_idle_server_costs_what_plain_redis_costs(make_server: Servers, state: str) -> None:
    plain = make_server(module=False)
    server = make_server()
    if state != "fresh":
        with server.wire() as wire:
            put(wire, "a", np.ones(2, np.float32))
            for number in range(1 if state == "used" else 20):
                store = ("AI.MODELSTORE", f"m{number}", "ONNX", f"CPU:{number}", "BATCHSIZE", 8)
                assert wire(*store, "BLOB", models.multiply()) == OK
                execute = ("AI.MODELEXECUTE", f"m{number}", "INPUTS", 2, "a", "a", "OUTPUTS", 1, "c")
                assert wire(*execute) == OK
        time.sleep(0.5)
    plain_cpu, plain_switches = idle_cost(plain)
    cpu, switches = idle_cost(server)
    assert cpu <= plain_cpu + 0.03
    assert switches <= plain_switches + 30


def test_memory_before_a_backend_is_used(make_server: Servers) -> None:
    def resident(server: Server) -> int:
        return int(server.info("memory")["used_memory_rss"])

    plain, server = make_server(module=False), make_server()
    time.sleep(0.3)
    assert resident(server) - resident(plain) <= 12 * 2**20


def test_ready_about_as_soon_as_plain_redis(make_server: Servers) -> None:
    def start_time(module: bool) -> float:
        server = make_server(module=module, start=False)
        start = time.monotonic()
        server.start()
        return time.monotonic() - start

    plain = min(start_time(False) for _ in range(5))
    ours = min(start_time(True) for _ in range(5))
    assert ours < plain + 0.06
