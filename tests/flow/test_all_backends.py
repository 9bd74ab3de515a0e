"""All four backends in one server: loaded in any order, and under a mixed load that has to leave no memory behind.

``REDISAI_TEST_SOAK`` is for how many seconds the load goes on; 10 unless it is set.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import models
import tensorflow_models
import torch_models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, get, put, wait_until

Servers = Callable[..., Server]

SOAK = float(os.environ.get("REDISAI_TEST_SOAK", "10"))

BACKENDS = {
    "ONNX": "redisai_onnxruntime/redisai_onnxruntime.so",
    "TORCH": "redisai_torch/redisai_torch.so",
    "TF": "redisai_tensorflow/redisai_tensorflow.so",
    "TFLITE": "redisai_tflite/redisai_tflite.so",
}


@pytest.fixture(scope="module")
def blobs() -> dict[str, bytes]:
    """c = a * b for each backend."""
    return {
        "ONNX": models.multiply(),
        "TORCH": torch_models.saved(torch_models.Multiply()),
        "TF": tensorflow_models.multiply(),
        "TFLITE": tensorflow_models.lite_multiply(),
    }


def store(wire: Wire, key: str, backend: str, blob: bytes, *options: str | int) -> object:
    names = ("INPUTS", 2, "a", "b", "OUTPUTS", 1, "c") if backend == "TF" else ()
    return wire("AI.MODELSTORE", key, backend, "CPU", *options, *names, "BLOB", blob)


def execute(wire: Wire, key: str, a: str, b: str, c: str) -> object:
    return wire("AI.MODELEXECUTE", key, "INPUTS", 2, a, b, "OUTPUTS", 1, c)


def check(wire: Wire, backend: str) -> None:
    key = backend + " output"
    assert execute(wire, backend, "a", "b", key) == OK
    assert_tensor(wire, key, np.array([10, 40, 90], np.float32))


def prepare(wire: Wire) -> None:
    put(wire, "a", np.array([1, 2, 3], np.float32))
    put(wire, "b", np.array([10, 20, 30], np.float32))


# ---- loading ---------------------------------------------------------------------------

ORDERS = ["TORCH TF ONNX TFLITE", "TF TORCH TFLITE ONNX", "TFLITE ONNX TF TORCH"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("how", ["load arguments", "first use"])
def test_backends_are_loaded_in_any_order(make_server: Servers, blobs: dict[str, bytes], how: str, order: str) -> None:
    names = order.split()
    arguments = [word for name in names for word in (name, BACKENDS[name])] if how == "load arguments" else []
    server = make_server(*arguments)
    with server.wire() as wire:
        prepare(wire)
        for name in names:
            assert store(wire, name, name, blobs[name]) == OK
            check(wire, name)
        for name in reversed(names):
            check(wire, name)


def test_several_clients_need_all_backends_at_once(make_server: Servers, blobs: dict[str, bytes]) -> None:
    server = make_server("THREADS_PER_QUEUE", 2)

    def use(number: int) -> None:
        name = list(BACKENDS)[number % 4]
        with server.wire(timeout=120) as wire:
            assert store(wire, name, name, blobs[name]) == OK
            for _ in range(20):
                check(wire, name)

    with server.wire() as wire:
        prepare(wire)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))


# ---- memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["in a model", "in a script"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_run_lets_go_of_its_inputs(
    server: Server, wire: Wire, blobs: dict[str, bytes], backend: str, how: str
) -> None:
    assert store(wire, "m", backend, blobs[backend]) == OK
    assert wire("AI.SCRIPTSTORE", "script", "CPU", *ENTRY_POINTS, "SOURCE", SOURCE) == OK
    megabyte = np.ones((512, 512), np.float32)

    def fail(times: int) -> int:
        """Fails with inputs of their own; what is in use after that."""
        for _ in range(times):
            put(wire, "a", megabyte)
            put(wire, "b", megabyte[:, :3])
            if how == "in a model":
                reply = execute(wire, "m", "a", "b", "c")
            else:
                reply = script(wire, "by_model", "c", "KEYS", 1, "m", "INPUTS", 2, "a", "b")
            assert isinstance(reply, Error)
        return int(server.info("memory")["used_memory"])

    warm = fail(5)
    assert fail(40) - warm < 10e6


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_of_more_dims_than_frameworks_have(wire: Wire, blobs: dict[str, bytes], backend: str) -> None:
    assert store(wire, backend, backend, blobs[backend], "BATCHSIZE", 4) == OK
    assert wire("AI.TENSORSET", "wide", "FLOAT", *[1] * 65, "VALUES", 2) == OK
    expected = Error("ERR models and scripts take tensors of at most 64 dims")
    assert execute(wire, backend, "wide", "wide", "c") == expected
    assert execute(wire, backend, "wide", "wide", "c") == expected
    operation = ("AI.MODELEXECUTE", backend, "INPUTS", 2, "wide", "wide", "OUTPUTS", 1, "c")
    assert wire("AI.DAGEXECUTE", "LOAD", 1, "wide", "|>", *operation) == [expected]
    put(wire, "a", np.array([1, 2, 3], np.float32))
    put(wire, "b", np.array([10, 20, 30], np.float32))
    check(wire, backend)


@pytest.mark.parametrize("how", ["deleted", "refused"])
def test_a_graph_leaves_no_memory_behind(server: Server, wire: Wire, how: str) -> None:
    """TensorFlow's graphs refer to themselves, so they would wait for Python's collector."""
    blob = tensorflow_models.weighted(4)
    wanted = "y" if how == "deleted" else "absent"

    def use(times: int) -> float:
        for _ in range(times):
            reply = wire(
                *("AI.MODELSTORE", "m", "TF", "CPU", "INPUTS", 1, "x", "OUTPUTS", 1, wanted),
                *("BLOB", blob),
            )
            assert (reply == OK) == (how == "deleted")
            if reply == OK:
                put(wire, "x", np.ones((1, 1024), np.float32))
                assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
                assert wire("AI.MODELDEL", "m") == OK
        return resident(server)

    warm = use(5)
    assert use(20) - warm < 30


def test_a_deleted_torchscript_model_leaves_no_memory_behind(server: Server, wire: Wire) -> None:
    blob = torch_models.saved(torch_models.MatrixChain(1024))

    def use(times: int) -> float:
        for _ in range(times):
            assert store(wire, "m", "TORCH", blob) == OK
            assert wire("AI.MODELDEL", "m") == OK
        return resident(server)

    warm = use(5)
    assert use(20) - warm < 30


# ---- load ------------------------------------------------------------------------------

CLIENTS = 4
SHAPE = (32, 512)
TENSOR_BYTES = 4 * 32 * 512
# Megabytes of resident memory that the server may gain once it is warm; a tensor lost with each request is far more.
MAY_GROW = 30
SOURCE = """
def multiply_and_count(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("HINCRBY", keys[0], args[0], "1")
    return tensors[0] * tensors[1]

def by_model(tensors: List[Tensor], keys: List[str], args: List[str]):
    return redisAI.model_execute(keys[0], tensors, 1)

def multiply(a, b):
    return a * b
"""
ENTRY_POINTS = ("ENTRY_POINTS", 2, "multiply_and_count", "by_model")


class Load:
    """Clients that use everything at once, and check every reply."""

    def __init__(self, server: Server, blobs: dict[str, bytes]) -> None:
        self.server = server
        self.blobs = blobs
        self.stopping = threading.Event()
        self.turns = [0] * CLIENTS
        self.failures: list[BaseException] = []

    def work(self, number: int) -> None:
        try:
            with self.server.wire(timeout=60) as wire:
                random = np.random.default_rng(number)
                while not self.stopping.is_set() and not self.failures:
                    self.turn(wire, number, random)
                    self.turns[number] += 1
        except BaseException as error:
            self.failures.append(error)

    def turn(self, wire: Wire, number: int, random: np.random.Generator) -> None:
        a, b, c, wrong = (f"{name}{number}" for name in ("a", "b", "c", "wrong"))
        left, right = (random.random(SHAPE, np.float32) for _ in range(2))
        put(wire, a, left)
        put(wire, b, right)
        put(wire, wrong, right[:, :3])

        def expect(reply: object) -> None:
            assert reply == OK, reply
            np.testing.assert_array_equal(get(wire, c), left * right)
            assert wire("DEL", c) == 1

        for name in BACKENDS:
            expect(execute(wire, name, a, b, c))
            expect(execute(wire, name + " batched", a, b, c))
            expect(script(wire, "by_model", c, "KEYS", 1, name, "INPUTS", 2, a, b))
            assert isinstance(execute(wire, name, a, wrong, c), Error)
        expect(script(wire, "multiply_and_count", c, "KEYS", 1, "counts", "INPUTS", 2, a, b, "ARGS", 1, number))
        expect(script(wire, "multiply", c, "INPUTS", 2, a, b))
        if self.turns[number] % 5 == 0:
            self.store_and_delete(wire, number, expect)

    def store_and_delete(self, wire: Wire, number: int, expect: Callable[[object], None]) -> None:
        name = list(BACKENDS)[(number + self.turns[number] // 5) % 4]
        own = f"own{number}"
        assert store(wire, own, name, self.blobs[name]) == OK
        expect(execute(wire, own, f"a{number}", f"b{number}", f"c{number}"))
        assert wire("AI.MODELDEL", own) == OK
        assert isinstance(store(wire, own, name, b"PK junk"), Error)
        assert wire("AI.SCRIPTSTORE", own, "CPU", *ENTRY_POINTS, "SOURCE", SOURCE) == OK
        assert wire("AI.SCRIPTDEL", own) == OK

    def run(self, enough: Callable[[float], bool]) -> None:
        """Goes on until ``enough`` says so, which is asked with the seconds that passed."""
        threads = [threading.Thread(target=self.work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        while not enough(time.monotonic() - start) and not self.failures:
            time.sleep(0.2)
        self.stopping.set()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "a client was left waiting"
        if self.failures:
            raise self.failures[0]


def script(wire: Wire, function: str, output: str, *arguments: str | int) -> object:
    return wire("AI.SCRIPTEXECUTE", "script", function, *arguments, "OUTPUTS", 1, output)


def resident(server: Server) -> float:
    """Megabytes of memory that the server's process holds."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def store_everything(wire: Wire, blobs: dict[str, bytes]) -> None:
    for name, blob in blobs.items():
        assert store(wire, name, name, blob) == OK
        assert store(wire, name + " batched", name, blob, "BATCHSIZE", 64) == OK
    assert wire("AI.SCRIPTSTORE", "script", "CPU", *ENTRY_POINTS, "SOURCE", SOURCE) == OK


def used_when_empty(server: Server) -> int:
    """Bytes that Redis' allocator has given out, once all keys are gone and nobody is connected."""
    with server.wire() as wire:
        assert wire("FLUSHALL") == OK
    readings = [0]

    def settled() -> bool:
        readings.append(int(server.info("memory")["used_memory"]))
        return readings[-1] == readings[-2]

    wait_until(settled, every=0.2)
    return readings[-1]


@pytest.mark.timeout(300 + SOAK * 2)
def test_a_mixed_load_gives_right_results_and_leaves_nothing_behind(
    make_server: Servers, blobs: dict[str, bytes]
) -> None:
    server = make_server("THREADS_PER_QUEUE", 2)
    with server.wire(timeout=120) as wire:
        store_everything(wire, blobs)
    warm_up = Load(server, blobs)
    warm_up.run(lambda seconds: min(warm_up.turns) >= 20)
    empty = used_when_empty(server)

    with server.wire() as wire:
        store_everything(wire, blobs)
    load = Load(server, blobs)
    curve: list[tuple[float, int, float]] = []

    def enough(seconds: float) -> bool:
        if not curve or seconds >= curve[-1][0] + max(1.0, SOAK / 30):
            curve.append((round(seconds, 1), sum(load.turns), round(resident(server), 1)))
        return seconds > SOAK and 14 * sum(load.turns) * TENSOR_BYTES > 5e6 * MAY_GROW

    load.run(enough)
    print("seconds, turns, megabytes:", curve)
    turns = sum(load.turns)
    with server.wire() as wire:
        for name in BACKENDS:
            info = as_dict(wire("AI.INFO", name))
            assert (info["calls"], info["errors"]) == (2 * turns, turns)
            info = as_dict(wire("AI.INFO", name + " batched"))
            assert (info["calls"], info["errors"]) == (turns, 0)
        counted = {
            int(number): int(count) for number, count in zip(*[iter(wire("HGETALL", "counts"))] * 2, strict=True)
        }
        assert counted == dict(enumerate(load.turns))
        assert server.blocked_clients() == 0
    assert resident(server) - curve[0][2] < MAY_GROW, curve
    assert used_when_empty(server) - empty < 500_000
