"""SHUTDOWN and SIGTERM at any moment: exit status 0, and no crash report."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, RedisBinary, Server, Wire, put, wait_until

Servers = Callable[..., Server]

WAYS = ["SHUTDOWN", "SIGTERM", "SIGINT"]


def stop_at_once(server: Server, by: str) -> None:
    """Stops the server, which must not take long about it."""
    start = time.monotonic()
    server.stop(by=by)
    assert time.monotonic() - start < 5


def run_endless(server: Server, clients: list[Wire]) -> None:
    wire = clients[0]
    assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
    for number, client in enumerate(clients):
        client.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, "endless", "OUTPUTS", 1, f"y{number}")
    wait_until(lambda: server.blocked_clients() == len(clients))


@pytest.mark.parametrize("by", WAYS)
def test_a_fresh_server(make_server: Servers, by: str) -> None:
    stop_at_once(make_server(), by)


@pytest.mark.parametrize("by", WAYS)
def test_a_used_server(make_server: Servers, by: str) -> None:
    server = make_server()
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        put(wire, "x", np.ones(3, np.float32))
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
    stop_at_once(server, by)
    assert "Clearing resources on shutdown" in server.log


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("threads", [1, 3])
def test_while_models_run_and_requests_wait(make_server: Servers, by: str, threads: int) -> None:
    server = make_server("THREADS_PER_QUEUE", threads)
    clients = [server.wire() for _ in range(8)]
    run_endless(server, clients)
    time.sleep(0.1)
    stop_at_once(server, by)
    for client in clients:
        client.close()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.2])
def test_while_a_backend_is_imported(make_server: Servers, by: str, delay: float) -> None:
    server = make_server()
    with server.wire() as wire:
        wire.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity())
        time.sleep(delay)
        stop_at_once(server, by)


@pytest.mark.parametrize("by", WAYS)
def test_while_a_model_is_compiled(make_server: Servers, by: str) -> None:
    server = make_server()
    with server.wire() as wire, server.wire() as storing:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
        storing.send("AI.MODELSTORE", "slow", "ONNX", "CPU", "BLOB", models.slow_to_load(1500))
        wait_until(lambda: server.blocked_clients() == 1)
        time.sleep(0.1)
        stop_at_once(server, by)


@pytest.mark.parametrize("by", WAYS)
def test_while_requests_wait_for_a_batch(make_server: Servers, by: str) -> None:
    server = make_server()
    with server.wire() as wire, server.wire() as waiting:
        options = ("BATCHSIZE", 8, "MINBATCHSIZE", 8)
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
        put(wire, "x", np.ones((1, 1), np.float32))
        waiting.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        wait_until(lambda: server.blocked_clients() == 1)
        stop_at_once(server, by)


@pytest.mark.parametrize("by", ["SHUTDOWN", "SIGTERM"])
def test_right_after_a_start_that_loads_models(make_server: Servers, by: str) -> None:
    server = make_server()
    with server.wire() as wire:
        for number in range(3):
            store = ("AI.MODELSTORE", f"m{number}", "ONNX", "CPU", "BLOB", models.slow_to_load(100))
            assert wire(*store) == OK
        assert wire("SAVE") == OK
    for _ in range(3):
        server.restart(by=by)


def test_a_saving_shutdown_while_models_run_keeps_what_was_written(make_server: Servers) -> None:
    server = make_server()
    clients = [server.wire() for _ in range(3)]
    run_endless(server, clients)
    server.stop(save=True)
    with server.start().wire() as wire:
        assert sorted(wire("KEYS", "*")) == [b"endless", b"spin"]
    for client in clients:
        client.close()


@pytest.mark.one_server
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.4, 0.7])
def test_while_a_framework_is_imported(redis_binary: RedisBinary, make_server: Servers, delay: float) -> None:
    """PyTorch registers destructors while it is imported: they must not run when the process ends."""
    server = make_server(binary=redis_binary)
    with server.wire() as wire:
        wire.send("AI.SCRIPTSET", "s", "CPU", "SOURCE", "def f(a):\n    return a\n")
        time.sleep(delay)
        server.stop()
