"""On which cores workers and the threads of frameworks are: what the kernel says of the server's threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from harness import OK, Server, Wire, get, put, wait_until

CORES = os.sched_getaffinity(0)
EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
SIZE = 800
"""Of the square matrices that 8 rows are multiplied with, one after the other."""

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


def store(wire: Wire, backend: str) -> None:
    """A model whose runs take longer than those for which one core would do, and its input."""
    names: tuple[str | int, ...] = ()
    if backend == "ONNX":
        blob = models.matrix_chain(SIZE, 8)
    elif backend == "TORCH":
        torch_models = import_module("torch_models")
        blob = torch_models.saved(torch_models.MatrixChain(SIZE))
    elif backend == "TF":
        blob = import_module("tensorflow_models").matrix_chain(SIZE, 8)
        names = ("INPUTS", 1, "x", "OUTPUTS", 1, "y")
    else:
        blob = import_module("tensorflow_models").lite_matrix_chain(8, SIZE, 8)
    assert wire("AI.MODELSTORE", "m", backend, "CPU", *names, "BLOB", blob) == OK
    put(wire, "x", np.ones((8, SIZE), np.float32))


def cores_of(server: Server, name: str) -> list[set[int]]:
    """The cores that each thread whose name ends so may use."""
    found: list[set[int]] = []
    for entry in Path(f"/proc/{server.pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            if (entry / "comm").read_text().strip().endswith(name):
                found.append(os.sched_getaffinity(int(entry.name)))
    return found


def execute_at_once(server: Server, clients: int, times: int) -> None:
    def execute() -> None:
        with server.wire() as connection:
            replies.extend(connection(*EXECUTE) for _ in range(times))

    replies: list[Any] = []
    threads = [threading.Thread(target=execute) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [OK] * clients * times


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """One that has no threads yet."""
    return make_server()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with server.wire() as connection:
        yield connection


@pytest.mark.parametrize("arguments", [(), ("INTRA_OP_PARALLELISM", len(CORES))])
@pytest.mark.parametrize(
    ("backend", "framework"),
    [("ONNX", "onnxruntime"), ("TORCH", "torch"), ("TF", "tensorflow"), ("TFLITE", "tensorflow")],
)
def test_threads_that_share_a_run_have_cores_of_their_own(
    make_server: Callable[..., Server], backend: str, framework: str, arguments: tuple[str | int, ...]
) -> None:
    pytest.importorskip(framework)
    server = make_server(*arguments)
    wire = server.wire()
    store(wire, backend)

    def are_apart() -> bool:
        assert [wire(*EXECUTE) for _ in range(20)] == [OK] * 20
        bound = cores_of(server, "-pool")
        return {len(cores) for cores in bound} == {1}

    wait_until(are_apart)
    wire.close()
    together = set().union(*cores_of(server, "-pool"))
    assert len(together) == min(len(cores_of(server, "-pool")), len(CORES))


def test_threads_that_all_runs_share_are_let_go_when_several_run(server: Server, wire: Wire) -> None:
    pytest.importorskip("tensorflow")
    store(wire, "TF")
    assert [wire(*EXECUTE) for _ in range(50)] == [OK] * 50
    assert {len(cores) for cores in cores_of(server, "-pool")} == {1}
    crowd = threading.Thread(target=execute_at_once, args=(server, 4, 200))
    crowd.start()
    wait_until(lambda: all(cores == CORES for cores in cores_of(server, "-pool")))
    assert crowd.is_alive()
    crowd.join()


CORE_BACKEND = '''
"""Its models say on which core a run begins, and compute for some milliseconds, without the GIL."""
import ctypes
import hashlib
import numpy as np

sched_getcpu = ctypes.CDLL(None).sched_getcpu


class Backend:
    version = "1"

    def __init__(self, options):
        pass

    def load(self, source):
        return Session()


class Session:
    inputs, outputs = ["x"], ["y"]

    def execute(self, requests, run):
        return [[self.begin()] for _ in requests]

    def begin(self):
        core = np.array([sched_getcpu()], np.int32)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10_000)
        return core

    def close(self):
        pass
'''


def test_a_worker_wakes_up_on_no_core_of_another_ones_run(make_server: Callable[..., Server], tmp_path: Path) -> None:
    """Also after a pause, in which the cores slept: a kernel that is a hypervisor's guest would not see them."""
    (tmp_path / "core.py").write_text(CORE_BACKEND)
    server = make_server("TFLITE", tmp_path / "core.py")
    with server.wire() as wire, server.wire() as other:
        assert wire("AI.MODELSTORE", "m", "TFLITE", "CPU", "BLOB", "m") == OK
        put(wire, "x", np.ones(1, np.float32))

        def begin_apart() -> bool:
            """Whether two requests, after a pause, begin to run on different cores."""
            time.sleep(0.01)
            for connection, output in ((wire, "y"), (other, "z")):
                connection.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, output)
            assert [wire.read(), other.read()] == [OK, OK]
            return bool(get(wire, "y")[0] != get(wire, "z")[0])

        # Left to the kernel of a virtual machine of two cores it is less than half of them. All the time it is none,
        # since cores may have other things to do.
        tries = [sum(begin_apart() for _ in range(50)) for _ in range(4)]
    assert max(tries) >= 35, tries


def test_workers_are_bound_to_no_core_for_long(server: Server, wire: Wire) -> None:
    store(wire, "ONNX")
    for _ in range(5):
        execute_at_once(server, 4, 10)
    assert len(cores_of(server, "ai-CPU")) >= 2
    wait_until(lambda: all(cores == CORES for cores in cores_of(server, "ai-CPU")))
