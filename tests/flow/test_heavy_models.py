"""Heavy models: runs that are alone use all cores. Of ONNX they get a second session for it, while requests go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

import models
from harness import OK, Server, Wire, get, put, wait_until

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")

EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
SMALL = 64 << 20
"""Bytes of a model that keeps its first session."""


def memory(wire: Wire) -> int:
    usage = wire("MEMORY", "USAGE", "m")
    assert isinstance(usage, int)
    return usage


@pytest.mark.parametrize("batching", [(), ("BATCHSIZE", 8)])
def test_the_memory_of_both_sessions_is_counted(wire: Wire, batching: tuple[str | int, ...]) -> None:
    blob = models.matrix_chain(600, 20)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *batching, "BLOB", blob) == OK
    put(wire, "x", np.ones((8, 600), np.float32))
    before = memory(wire)
    for _ in range(10):
        assert wire(*EXECUTE) == OK
    wait_until(lambda: memory(wire) > before)
    assert memory(wire) == before + len(blob)


def test_merged_runs_are_heavy_by_what_the_whole_run_takes(server: Server, wire: Wire) -> None:
    """Eight requests in one run of a millisecond or more: each for itself would be light."""
    blob = models.matrix_chain(600, 4)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BATCHSIZE", 64, "MINBATCHSIZE", 64, "BLOB", blob) == OK
    put(wire, "x", np.ones((1, 600), np.float32))
    before = memory(wire)
    with server.wire() as other:
        for _ in range(10):
            others = [server.wire() for _ in range(64)]
            for connection in others:
                connection.send(*EXECUTE)
            assert [connection.read() for connection in others] == [OK] * 64
            for connection in others:
                connection.close()
        wait_until(lambda: memory(other) > before)


def test_a_session_that_is_replaced_serves_its_runs_to_the_end(server: Server, wire: Wire) -> None:
    """A model above SMALL gives its first session up, which runs of others may be in."""
    size = 4200
    blob = models.matrix_chain(size, 2)
    assert len(blob) > SMALL
    put(wire, "x", np.ones((4, size), np.float32))
    for _ in range(3):
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", blob) == OK
        loads = server.info("ai")["ai_queue_CPU"]
        failures: list[object] = []

        def run(failures: list[object] = failures) -> None:
            with server.wire() as connection:
                failures += [reply for _ in range(25) if (reply := connection(*EXECUTE)) != OK]

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert server.info("ai")["ai_queue_CPU"] != loads
    expected = np.ones(size) @ (np.eye(size) + 1e-3) @ (np.eye(size) + 1e-3)
    assert np.allclose(get(wire, "y")[0], expected, rtol=1e-3)


def test_a_client_that_is_alone_gets_the_worker_with_pytorchs_pool(make_server: Callable[..., Server]) -> None:
    """However many workers were busy before: OpenMP's pools belong to threads, and there is one pool."""
    torch_models = pytest.importorskip("torch_models")
    server = make_server("THREADS_PER_QUEUE", 2)

    def cpu() -> dict[str, float]:
        return {name: float(value) for name, value in server.info("ai").items() if "_bthread_" in name}

    def execute(count: int) -> None:
        with server.wire() as connection:
            assert [connection(*EXECUTE) for _ in range(count)] == [OK] * count

    def busiest_for_one_client() -> str:
        before = cpu()
        execute(100)
        return max(cpu().items(), key=lambda item: item[1] - before.get(item[0], 0))[0]

    with server.wire() as wire:
        blob = torch_models.saved(torch_models.MatrixChain(1024))
        assert wire("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", blob) == OK
        put(wire, "x", np.ones((8, 1024), np.float32))
    owner = busiest_for_one_client()
    for _ in range(4):
        crowd = [threading.Thread(target=execute, args=(40,)) for _ in range(4)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert len(cpu()) == 2
        assert busiest_for_one_client() == owner
