"""What INFO, AI.INFO, LATENCY, SLOWLOG and commandstats show of the load, on every redis-server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import models
from harness import OK, RedisBinary, Server, Wire, as_dict, put, wait_until

Servers = Callable[..., Server]

QUANTILES = [f"{phase}_{quantile}" for phase in ("queue", "run") for quantile in ("p50", "p99", "p99.9")]


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


@pytest.fixture(autouse=True)
def stored(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "x", np.zeros((1, 1), np.float32))
    put(wire, "slow", np.full((1, 1), models.turns_for(0.05), np.float32))


def run(wire: Wire, source: str = "x") -> None:
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, source, "OUTPUTS", 1, "y") == OK


def fields(server: Server, line: str) -> dict[str, str]:
    return dict(field.split("=", 1) for field in server.info("ai")[line].split(","))


def test_sections_come_behind_redisais(server: Server, wire: Wire) -> None:
    sections = [line for line in wire("INFO", "ai").decode().splitlines() if line.startswith("# ")]
    assert sections[5:10] == ["# ai_compilation", "# ai_queues", "# ai_backends", "# ai_models", "# ai_scripts"]


def test_a_queue_counts_requests_and_runs(server: Server, wire: Wire) -> None:
    before = fields(server, "ai_queue_CPU")
    for _ in range(5):
        run(wire)
    after = fields(server, "ai_queue_CPU")
    assert int(after["requests"]) == int(before["requests"]) + 5
    assert int(after["runs"]) == int(before["runs"]) + 5
    assert (after["waiting"], after["running"]) == ("0", "0")
    assert int(after["workers"]) >= 1
    assert int(after["gil_wait_usec"]) >= int(before["gil_wait_usec"])


def test_requests_of_a_batch_share_a_run(server: Server, wire: Wire) -> None:
    assert (
        wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "BLOB", models.batch_size()) == OK
    )
    with server.wire() as other:
        other.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "z")
        wait_until(lambda: fields(server, "ai_queue_CPU")["waiting"] == "1")
        run(wire)
        assert other.read() == OK
    assert (fields(server, "ai_model_m")["calls"], fields(server, "ai_model_m")["runs"]) == ("2", "1")
    assert float(fields(server, "ai_queue_CPU")["mean_batch"]) > 1


def test_what_never_ran_leaves_the_queue(server: Server, wire: Wire) -> None:
    assert (
        wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "BLOB", models.batch_size()) == OK
    )
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "TIMEOUT", 1).text == "TIMEDOUT"
    with server.wire() as leaver:
        leaver.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        wait_until(lambda: fields(server, "ai_queue_CPU")["waiting"] == "1")
    wait_until(lambda: fields(server, "ai_queue_CPU")["waiting"] == "0")
    assert fields(server, "ai_queue_CPU")["running"] == "0"


def test_quantiles_of_a_model(server: Server, wire: Wire) -> None:
    assert "ai_model_m" not in server.info("ai"), "it was not called yet"
    for _ in range(3):
        run(wire, "slow")
    shown = fields(server, "ai_model_m")
    assert list(shown) == ["calls", "errors", "runs", *QUANTILES]
    assert 1_000 < int(shown["run_p50"]) <= int(shown["run_p99"]) <= int(shown["run_p99.9"]) < 20_000_000
    duration = as_dict(wire("AI.INFO", "m"))["duration"]
    assert abs(int(shown["run_p50"]) * 3 - duration) < duration, "about the mean"
    latency = as_dict(wire("AI.INFO", "m", "LATENCY"))
    assert list(latency) == ["runs", *QUANTILES]
    assert {name: str(latency[name]) for name in QUANTILES} == {name: shown[name] for name in QUANTILES}


def test_waiting_is_told_from_running(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server("THREADS_PER_QUEUE", 1, binary=redis_binary)
    with server.wire() as wire, server.wire() as first:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
        assert wire("AI.MODELSTORE", "quick", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(wire, "slow", np.full((1, 1), models.turns_for(0.3), np.float32))
        first.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "slow", "OUTPUTS", 1, "y")
        wait_until(lambda: server.info("ai").get("ai_queue_CPU", "").startswith("waiting=0,running=1"))
        wire("AI.MODELEXECUTE", "quick", "INPUTS", 1, "slow", "OUTPUTS", 1, "z")
        latency = as_dict(wire("AI.INFO", "quick", "LATENCY"))
        assert latency["queue_p50"] > 2_000
        assert latency["run_p50"] < latency["queue_p50"]
        assert first.read() == OK


def test_resetstat_forgets_the_latency_too(wire: Wire) -> None:
    run(wire)
    assert as_dict(wire("AI.INFO", "m", "LATENCY"))["runs"] == 1
    wire("AI.INFO", "m", "RESETSTAT")
    assert set(as_dict(wire("AI.INFO", "m", "LATENCY")).values()) == {0}


def test_a_strange_key_does_not_break_the_lines(server: Server, wire: Wire) -> None:
    wire("RENAME", "m", "a:b c,d=e#\r\nf")
    wire("AI.MODELEXECUTE", "a:b c,d=e#\r\nf", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert fields(server, "ai_model_a_b_c_d_e___f")["calls"] == "1"


def test_backends(server: Server, wire: Wire) -> None:
    shown = fields(server, "ai_backend_ONNX")
    assert shown["version"] == server.info("ai")["ai_onnxruntime_version"]
    assert int(shown["models"]) == 1
    assert int(shown["session_memory"]) >= len(models.spin())


# ---- what Redis itself shows --------------------------------------------------------


def test_loads_are_latency_events(server: Server, wire: Wire) -> None:
    wire("CONFIG", "SET", "latency-monitor-threshold", 1)
    wire("LATENCY", "RESET")
    try:
        for _ in range(20):  # one of them takes a millisecond
            assert wire("AI.MODELSTORE", "large", "ONNX", "CPU", "BLOB", models.weighted(4)) == OK
            history = wire("LATENCY", "HISTORY", "ai-load")
            if history:
                break
        assert history and history[-1][1] >= 1
    finally:
        wire("CONFIG", "SET", "latency-monitor-threshold", 0)


def test_slowlog_and_commandstats_have_the_time_of_workers(server: Server, wire: Wire) -> None:
    wire("CONFIG", "SET", "slowlog-log-slower-than", 2_000)
    wire("CONFIG", "RESETSTAT")
    wire("SLOWLOG", "RESET")
    try:
        run(wire, "slow")
        stats = dict(field.split("=") for field in server.info("commandstats")["cmdstat_ai.modelexecute"].split(","))
        assert int(stats["calls"]) == 1
        assert int(stats["usec"]) > 2_000, "the event loop alone needs some tens"
        assert wire("SLOWLOG", "GET")[0][3][0] == b"AI.MODELEXECUTE"
    finally:
        wire("CONFIG", "SET", "slowlog-log-slower-than", 10_000)


def test_info_while_workers_count(server: Server, wire: Wire) -> None:
    """INFO reads what workers write, with no lock between them: it must always make sense."""
    done = threading.Event()

    def load() -> None:
        with server.wire() as own:
            while not done.is_set():
                own.pipeline(*[("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")] * 20)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(100):
            shown = fields(server, "ai_queue_CPU")
            assert 0 <= int(shown["waiting"]) <= 21 and 0 <= int(shown["running"]) <= 21
    finally:
        done.set()
        thread.join()


def test_the_script_for_redis_exporter(server: Server, wire: Wire) -> None:
    run(wire)
    script = (Path(__file__).resolve().parents[2] / "docs" / "redis_exporter.lua").read_text()
    reply = wire("EVAL", script, 0)
    values = {name.decode(): float(value) for name, value in zip(reply[::2], reply[1::2], strict=True)}
    assert values["model|m|calls"] == values["model|m|runs"] == 1
    of_models = {name.split("|")[2] for name in values if name.startswith("model|")}
    assert of_models == {"calls", "errors", "runs", *QUANTILES}
    assert {"queue|CPU|waiting", "queue|CPU|mean_batch", "backend|ONNX|session_memory"} <= set(values)
