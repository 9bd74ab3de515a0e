"""Random writes and runs, ``kill -9`` at random moments, restart: nothing that was acknowledged is lost.

With ``appendfsync always``, and rewrites and snapshots on the way. Each client keeps a model of
what its keys hold; a command whose reply did not come may have had its effect, or not.

``REDISAI_TEST_KILLS`` is the number of kills, 0 for without end; ``REDISAI_TEST_SEED`` repeats a
run's commands (though not its moments).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any

import numpy as np
import pytest

import models
from harness import OK, RedisBinary, Server, Wire, wait_until
from harness.tensors import DTYPES, SAMPLES, blob_of, tensorset

Servers = Callable[..., Server]

KILLS = int(os.environ.get("REDISAI_TEST_KILLS", "3"))
SEED = os.environ.get("REDISAI_TEST_SEED") or str(random.SystemRandom().randrange(10**9))

BLOBS = [models.two_outputs(), models.sum_of(2), models.multiply()]
SCRIPT = """
def count(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("INCR", keys[0])
    return tensors[0] * 2
"""
CLIENTS = 4

# pytest-timeout's limit is for the few kills of an ordinary run.
pytestmark = [pytest.mark.one_server, pytest.mark.timeout(0 if KILLS == 0 or KILLS > 20 else 300)]

State = Hashable  # what a key holds, in a form that can be compared; None: there is no key
Effects = dict[str, State]
Command = tuple[Any, ...]


def tensor_state(array: np.ndarray) -> State:
    dtype = "STRING" if array.dtype == object else str(array.dtype)
    return "tensor", dtype, array.shape, blob_of(array)


class Client:
    """Makes up commands on its own keys, and remembers what they must hold."""

    def __init__(self, number: int, seed: str) -> None:
        self.chance = random.Random(f"{seed} {number}")
        self.name = f"c{number}"
        self.holds: Effects = {}
        self.uncertain: Effects = {}  # of the command whose reply is still to come
        self.acknowledged = 0
        self.odd: list[object] = []

    def key(self, kind: str) -> str:
        return f"{self.name}:{kind}{self.chance.randrange(6)}"

    def floats(self) -> np.ndarray:
        return np.array([self.chance.randrange(1000), self.chance.randrange(1000)], np.float32)

    def pick(self) -> tuple[Command, Effects, Any]:
        """A command, its effects, and its reply."""
        makers = [self.set_tensor] * 4 + [self.execute] * 4 + [self.run_script] * 2 + [self.run_dag] * 2
        makers += [self.store_model, self.delete_model, self.delete, self.rename, self.store_script]
        return self.chance.choice(makers)()

    def set_tensor(self) -> tuple[Command, Effects, Any]:
        key, array = self.key("t"), SAMPLES[self.chance.choice(DTYPES)]
        if self.chance.random() < 0.5:
            array = self.floats()
        return tensorset(key, array), {key: tensor_state(array)}, OK

    def execute(self) -> tuple[Command, Effects, Any]:
        """Of a model that always adds and subtracts, on inputs that the client wrote before."""
        first, second = f"{self.name}:input0", f"{self.name}:input1"
        sums, differences = self.key("t"), self.key("u")
        command = ("AI.MODELEXECUTE", "add", "INPUTS", 2, first, second, "OUTPUTS", 2, sums, differences)
        a, b = (np.frombuffer(self.holds[key][3], np.float32) for key in (first, second))  # type: ignore[index]
        return command, {sums: tensor_state(a + b), differences: tensor_state(a - b)}, OK

    def run_script(self) -> tuple[Command, Effects, Any]:
        """A script whose effects are a counter and an output."""
        counter, source, output = f"{self.name}:counter", f"{self.name}:input0", self.key("t")
        keys = ("KEYS", 1, counter, "INPUTS", 1, source, "OUTPUTS", 1, output)
        before = self.holds.get(counter) or ("string", b"0")
        after = ("string", b"%d" % (int(before[1]) + 1))  # type: ignore[index]
        doubled = tensor_state(np.frombuffer(self.holds[source][3], np.float32) * 2)  # type: ignore[index]
        return ("AI.SCRIPTEXECUTE", "count", "count", *keys), {counter: after, output: doubled}, OK

    def run_dag(self) -> tuple[Command, Effects, Any]:
        array, kept = self.floats(), self.key("t")
        zeros = tensor_state(np.zeros(2, np.float32))
        run = ("AI.MODELEXECUTE", "add", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "b", kept)
        command = ("AI.DAGEXECUTE", "PERSIST", 1, kept, "ROUTING", kept, "|>", *tensorset("a", array), "|>", *run)
        return command, {kept: zeros}, [OK, OK]

    def store_model(self) -> tuple[Command, Effects, Any]:
        key, tag, blob = self.key("m"), str(self.chance.randrange(1000)), self.chance.choice(BLOBS)
        command = ("AI.MODELSTORE", key, "ONNX", "CPU", "TAG", tag, "BLOB", blob)
        return command, {key: ("model", tag.encode(), blob)}, OK

    def delete_model(self) -> tuple[Command, Effects, Any]:
        stored = [key for key, state in self.holds.items() if state and state[0] == "model"]  # type: ignore[index]
        if not stored:
            return self.store_model()
        key = self.chance.choice(stored)
        return ("AI.MODELDEL", key), {key: None}, OK

    def store_script(self) -> tuple[Command, Effects, Any]:
        key, source = self.key("s"), f"def f(a):\n    return a + {self.chance.randrange(1000)}\n"
        return ("AI.SCRIPTSET", key, "CPU", "TAG", "t", "SOURCE", source), {key: ("script", source.encode())}, OK

    def delete(self) -> tuple[Command, Effects, Any]:
        key = self.key(self.chance.choice("tum"))
        return (self.chance.choice(("DEL", "UNLINK")), key), {key: None}, int(self.holds.get(key) is not None)

    def rename(self) -> tuple[Command, Effects, Any]:
        stored = [key for key, state in self.holds.items() if state and ":t" in key]
        if not stored:
            return self.set_tensor()
        old, new = self.chance.choice(stored), self.key("u")
        return ("RENAME", old, new), {old: None, new: self.holds[old]}, OK

    def begin(self, wire: Wire) -> None:
        """The inputs, which are written once in each life of the server."""
        for number in range(2):
            key, array = f"{self.name}:input{number}", self.floats()
            self.act(wire, tensorset(key, array), {key: tensor_state(array)}, OK)

    def act(self, wire: Wire, command: Command, effects: Effects, expected: Any) -> None:
        self.uncertain = effects
        reply = wire(*command)
        if reply != expected:
            self.odd.append((command[:3], reply, expected))
        self.holds.update(effects)
        self.uncertain = {}
        self.acknowledged += 1

    def live(self, server: Server, stopping: threading.Event) -> None:
        """Sends commands until the server is gone."""
        try:
            with server.wire() as wire:
                self.begin(wire)
                while not stopping.is_set() and not self.odd:
                    self.act(wire, *self.pick())
        except (ConnectionError, OSError):
            pass

    def check(self, wire: Wire) -> None:
        """Compares with what the server holds now, and takes over what was uncertain."""
        for key in {*self.holds, *self.uncertain}:
            found, expected = state_of(wire, key), self.holds.get(key)
            possible = {expected, self.uncertain.get(key, expected)}
            assert found in possible, f"{key} holds {found!r:.300}, and not {expected!r:.300} (seed {SEED})"
            self.holds[key] = found
        self.uncertain = {}


def state_of(wire: Wire, key: str) -> State:
    kind = wire("TYPE", key).text
    if kind == "none":
        return None
    if kind == "string":
        return "string", wire("GET", key)
    if kind == "AI__MODEL":
        fields = wire("AI.MODELGET", key)
        return "model", fields[5], fields[-1]
    if kind == "AI_SCRIPT":
        return "script", wire("AI.SCRIPTGET", key, "SOURCE")
    _, dtype, _, shape, _, blob = wire("AI.TENSORGET", key)
    return "tensor", NAMES[dtype.decode()], tuple(shape), blob


NAMES = {name: "STRING" if array.dtype == object else str(array.dtype) for name, array in SAMPLES.items()}


def rounds() -> Any:
    return range(KILLS) if KILLS else count()


def test_nothing_that_was_acknowledged_is_lost(redis_binary: RedisBinary, make_server: Servers) -> None:
    chance = random.Random(SEED)
    server = make_server(binary=redis_binary, appendonly="yes", appendfsync="always", start=False)
    clients = [Client(number, SEED) for number in range(CLIENTS)]
    for round_ in rounds():
        server.config["aof_use_rdb_preamble"] = chance.choice(("yes", "no"))
        server.config["aof_load_truncated"] = "yes"
        if round_ and chance.random() < 0.2:  # it may die again while it reads the file
            server.start(online=False)
            time.sleep(chance.uniform(0, 0.1))
            server.kill()
        server.start()
        with server.wire() as wire:
            for client in clients:
                client.check(wire)
            assert wire("AI.MODELSTORE", "add", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
            assert wire("AI.SCRIPTSTORE", "count", "CPU", "ENTRY_POINTS", 1, "count", "SOURCE", SCRIPT) == OK
            live_and_die(server, wire, clients, chance)
    server.start()
    with server.wire() as wire:
        for client in clients:
            client.check(wire)
    print(f"{sum(client.acknowledged for client in clients)} commands acknowledged, seed {SEED}")


def live_and_die(server: Server, wire: Wire, clients: list[Client], chance: random.Random) -> None:
    stopping = threading.Event()
    before = [client.acknowledged for client in clients]
    threads = [threading.Thread(target=client.live, args=(server, stopping)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(c.acknowledged > n + 4 or c.odd for c, n in zip(clients, before, strict=True)), 60)
        for command in ("BGREWRITEAOF", "BGSAVE"):
            if chance.random() < 0.4:
                wire(command)
        time.sleep(chance.uniform(0, 0.4))
    finally:
        stopping.set() if server.process is None else server.kill()
        for thread in threads:
            thread.join(60)
    assert not any(client.odd for client in clients), [client.odd for client in clients]
    assert not any(thread.is_alive() for thread in threads)
