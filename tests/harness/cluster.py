"""Three shards with a replica each, as real processes, and the moves of an administrator."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis.cluster

from .server import Server, wait_until
from .wire import OK, Error

SLOTS = 16384
NODE_TIMEOUT_MS = 2000


class Cluster:
    """``masters`` and ``replicas`` stand in the same order. Ends with the servers that ``make`` made."""

    def __init__(self, make: Callable[..., Server], shards: int = 3, **options: Any) -> None:
        options = {"cluster_enabled": "yes", "cluster_node_timeout": NODE_TIMEOUT_MS, **options}
        self.masters = [make(**options) for _ in range(shards)]
        self.replicas = [make(**options) for _ in range(shards)]
        self._join()
        for shard, master in enumerate(self.masters):
            slots = range(shard * SLOTS // shards, (shard + 1) * SLOTS // shards)
            self._ask(master, "CLUSTER", "ADDSLOTS", *slots)
        for master, replica in zip(self.masters, self.replicas, strict=True):
            self._ask(replica, "CLUSTER", "REPLICATE", self.id_of(master))
        self.wait_until_whole()

    def _join(self) -> None:
        first, *others = self.nodes
        for epoch, server in enumerate(self.nodes):
            self._ask(server, "CLUSTER", "SET-CONFIG-EPOCH", epoch + 1)
        for server in others:
            self._ask(server, "CLUSTER", "MEET", "127.0.0.1", first.port)
        wait_until(lambda: all(self._knows(server) == len(self.nodes) for server in self.nodes))

    @staticmethod
    def _knows(server: Server) -> int:
        return sum(" handshake " not in line for line in nodes_of(server))

    @staticmethod
    def _ask(server: Server, *command: str | int) -> None:
        with server.wire() as wire:
            reply = wire(*command)
        assert reply == OK, reply

    @property
    def nodes(self) -> list[Server]:
        return self.masters + self.replicas

    def wait_until_whole(self) -> None:
        """Returns when every node serves all slots, and every replica has caught up."""

        def is_whole(server: Server) -> bool:
            with server.wire() as wire:
                return b"cluster_state:ok" in wire("CLUSTER", "INFO")

        wait_until(lambda: all(is_whole(server) for server in self.nodes), 40)
        for master, replica in zip(self.masters, self.replicas, strict=True):
            master.wait_for_replica(replica)

    def client(self) -> redis.cluster.RedisCluster:
        nodes = [redis.cluster.ClusterNode("127.0.0.1", server.port) for server in self.masters]
        return redis.cluster.RedisCluster(startup_nodes=nodes, cluster_error_retry_attempts=20)

    def id_of(self, server: Server) -> str:
        with server.wire() as wire:
            return wire("CLUSTER", "MYID").decode()

    def slot_of(self, key: str) -> int:
        with self.masters[0].wire() as wire:
            return wire("CLUSTER", "KEYSLOT", key)

    def owner_of(self, key: str) -> Server:
        slot = self.slot_of(key)
        for server in self.masters:
            if slot in own_slots(server):
                return server
        raise AssertionError(f"nobody owns slot {slot}")

    def fail_over(self, shard: int) -> None:
        """CLUSTER FAILOVER, repeated where it times out, as an administrator would."""
        replica = self.replicas[shard]
        while replica.info("replication")["role"] != "master":
            self._ask(replica, "CLUSTER", "FAILOVER")
            deadline = time.monotonic() + 6  # redis-server gives up after 5
            while replica.info("replication")["role"] != "master" and time.monotonic() < deadline:
                time.sleep(0.05)
        self.promote(shard)

    def promote(self, shard: int) -> None:
        """Takes note of a failover."""
        self.masters[shard], self.replicas[shard] = self.replicas[shard], self.masters[shard]

    def begin_move(self, slot: int, source: Server, target: Server) -> None:
        self._ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        self._ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Server, target: Server) -> int:
        """Migrates every key that the slot holds; how many these were."""
        moved = 0
        with source.wire() as wire:
            while keys := wire("CLUSTER", "GETKEYSINSLOT", slot, 10):
                reply = wire("MIGRATE", "127.0.0.1", target.port, "", 0, 20_000, "KEYS", *keys)
                assert not isinstance(reply, Error), reply
                moved += len(keys)
        return moved

    def end_move(self, slot: int, source: Server, target: Server) -> None:
        owner = self.id_of(target)
        for server in (target, source, *(server for server in self.masters if server not in (source, target))):
            self._ask(server, "CLUSTER", "SETSLOT", slot, "NODE", owner)

    def move(self, slot: int, source: Server, target: Server) -> int:
        self.begin_move(slot, source, target)
        moved = self.move_keys(slot, source, target)
        self.end_move(slot, source, target)
        return moved


def nodes_of(server: Server) -> list[str]:
    with server.wire() as wire:
        return wire("CLUSTER", "NODES").decode().splitlines()


def own_slots(server: Server) -> set[int]:
    (line,) = [line for line in nodes_of(server) if "myself" in line]
    found: set[int] = set()
    for word in line.split()[8:]:
        if not word.startswith("["):
            first, _, last = word.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return found


def keys_of(servers: Sequence[Server]) -> set[bytes]:
    found: set[bytes] = set()
    for server in servers:
        with server.wire() as wire:
            found.update(wire("KEYS", "*"))
    return found
