"""Three sentinels: the master dies under load, a replica takes over, and what WAIT confirmed is there."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from redis.sentinel import Sentinel

import models
from harness import OK, Server, Wire, put, wait_until
from harness.server import free_port
from harness.tensors import blob_of, tensorset

Servers = Callable[..., Server]

CONFIG = """
port {port}
bind 127.0.0.1
dir {directory}
logfile {directory}/sentinel.log
sentinel monitor ai 127.0.0.1 {master} 2
sentinel down-after-milliseconds ai 1000
sentinel failover-timeout ai 4000
sentinel parallel-syncs ai 2
"""


@pytest.fixture
def trio(make_server: Servers) -> list[Server]:
    """A master and two replicas, with a model."""
    master = make_server()
    with master.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()) == OK
        put(wire, "x", np.ones(2, np.float32))
    replicas = [make_server(replicaof=("127.0.0.1", master.port)) for _ in range(2)]
    for replica in replicas:
        master.wait_for_replica(replica)
    return [master, *replicas]


@pytest.fixture
def sentinels(trio: list[Server], tmp_path: Path) -> Iterator[list[int]]:
    """Ports of three sentinels that know each other, the master and both replicas."""
    processes, ports = [], []
    try:
        for number in range(3):
            directory, port = tmp_path / f"sentinel{number}", free_port()
            directory.mkdir()
            config = directory / "sentinel.conf"
            config.write_text(CONFIG.format(port=port, directory=directory, master=trio[0].port))
            processes.append(subprocess.Popen([trio[0].binary.path, str(config), "--sentinel"]))
            ports.append(port)
        wait_until(lambda: all(knows_everybody(port) for port in ports), 40)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def knows_everybody(port: int) -> bool:
    try:
        with Wire(port) as wire:
            info = wire("INFO", "sentinel")
    except (ConnectionError, OSError):
        return False
    return b"status=ok" in info and b"slaves=2,sentinels=3" in info


def role(server: Server) -> str | None:
    """None while Sentinel changes it: it then ends every connection that the server has."""
    try:
        found: str = server.info("replication")["role"]
    except OSError:
        return None
    return found


class Client(threading.Thread):
    """Writes and executes through redis-py's Sentinel client, and notes what WAIT 1 confirmed."""

    def __init__(self, number: int, ports: list[int], stopping: threading.Event) -> None:
        super().__init__()
        self.number = number
        self.stopping = stopping
        self.confirmed: list[str] = []
        self.failed = 0
        sentinel = Sentinel([("127.0.0.1", port) for port in ports], socket_timeout=2)
        self.master: redis.Redis = sentinel.master_for("ai", socket_timeout=5)

    def run(self) -> None:
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            key = f"{self.number}:{turn}"
            try:
                with self.master.pipeline(transaction=False) as pipeline:
                    pipeline.execute_command(*tensorset(f"in{key}", np.full(2, turn, np.float32)))
                    execute = ("AI.MODELEXECUTE", "m", "INPUTS", 2, f"in{key}", "x", "OUTPUTS", 2, f"out{key}", "d")
                    pipeline.execute_command(*execute)
                    pipeline.execute_command("WAIT", 1, 1000)
                    *_, replicas = pipeline.execute()
            except (redis.RedisError, OSError):
                self.failed += 1
                time.sleep(0.05)
                continue
            if replicas >= 1:
                self.confirmed.append(key)


def test_a_failover_loses_nothing_that_was_confirmed(trio: list[Server], sentinels: list[int]) -> None:
    stopping = threading.Event()
    clients = [Client(number, sentinels, stopping) for number in range(3)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: all(len(client.confirmed) > 50 for client in clients), 40)
        old, *replicas = trio
        old.kill()
        wait_until(lambda: any(role(server) == "master" for server in replicas), 60)
        before = [len(client.confirmed) for client in clients]
        wait_until(lambda: all(len(c.confirmed) > n + 50 for c, n in zip(clients, before, strict=True)), 60)
    finally:
        stopping.set()
        for client in clients:
            client.join(60)
    assert not any(client.is_alive() for client in clients)
    assert sum(client.failed for client in clients) > 0, "nobody noticed the failover"
    (new,) = [server for server in replicas if role(server) == "master"]
    (other,) = [server for server in replicas if server is not new]
    new.wait_for_replica(other)
    with new.wire() as wire, other.wire() as mirror:
        for client in clients:
            for key in client.confirmed:
                turn = int(key.split(":")[1])
                assert wire("AI.TENSORGET", f"out{key}", "BLOB") == blob_of(np.full(2, turn + 1, np.float32)), key
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
    # The old master comes back as a replica, and forgets what only it had.
    old.start()
    wait_until(lambda: role(old) == "slave", 40)
    new.wait_for_replica(old)
    with new.wire() as wire, old.wire() as mirror:
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
