"""Heavy ONNX models: those get a second session, over all cores, while requests go on."""

from __future__ import annotations

import os
import threading

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
