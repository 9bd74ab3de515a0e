"""Three shards with replicas: routing, redirections, resharding and failover while models run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import redis
from redis.cluster import RedisCluster

import models
from harness import OK, Error, RedisBinary, Server, wait_until
from harness.cluster import Cluster, keys_of
from harness.tensors import array_of, blob_of, tensorset

Servers = Callable[..., Server]

pytestmark = pytest.mark.one_server

SCRIPT = """
def double(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("INCR", keys[0])
    return tensors[0] * 2
"""
ONES = np.ones(2, np.float32)


@pytest.fixture(scope="module")
def cluster(redis_binary: RedisBinary, module_servers: Servers) -> Cluster:
    return Cluster(module_servers, binary=redis_binary)


@pytest.fixture
def client(cluster: Cluster) -> Iterator[RedisCluster]:
    cluster.wait_until_whole()
    for server in cluster.masters:
        with server.wire() as wire:
            assert wire("FLUSHALL") == OK
    with cluster.client() as client:
        yield client
    for server in cluster.nodes:
        server.check_health()


def fill(client: RedisCluster, tag: str) -> None:
    """A model, a script and a tensor in one slot."""
    assert client.execute_command("AI.MODELSTORE", f"{{{tag}}}m", "ONNX", "CPU", "BLOB", models.two_outputs())
    assert client.execute_command("AI.MODELSTORE", f"{{{tag}}}spin", "ONNX", "CPU", "BLOB", models.spin())
    store = ("AI.SCRIPTSTORE", f"{{{tag}}}s", "CPU", "ENTRY_POINTS", 1, "double", "SOURCE", SCRIPT)
    assert client.execute_command(*store)
    assert client.execute_command(*tensorset(f"{{{tag}}}x", ONES))


def execute(tag: str, output: str) -> tuple[Any, ...]:
    key = f"{{{tag}}}"
    return ("AI.MODELEXECUTE", f"{key}m", "INPUTS", 2, f"{key}x", f"{key}x", "OUTPUTS", 2, f"{key}{output}", f"{key}d")


def run_script(tag: str) -> tuple[Any, ...]:
    key = f"{{{tag}}}"
    return (
        *("AI.SCRIPTEXECUTE", f"{key}s", "double", "KEYS", 1, f"{key}count"),
        *("INPUTS", 1, f"{key}x", "OUTPUTS", 1, f"{key}z"),
    )


def run_dag(tag: str) -> tuple[Any, ...]:
    key = f"{{{tag}}}"
    return (
        *("AI.DAGEXECUTE", "LOAD", 1, f"{key}x", "PERSIST", 1, f"{key}w", "ROUTING", f"{key}route"),
        *("|>", "AI.MODELEXECUTE", f"{key}m", "INPUTS", 2, f"{key}x", f"{key}x", "OUTPUTS", 2, f"{key}w", f"{key}v"),
        *("|>", "AI.TENSORGET", f"{key}v", "VALUES"),
    )


TAGS = [f"tag{number}" for number in range(8)]


def read(client: RedisCluster, key: str) -> np.ndarray:
    return array_of(client.execute_command("AI.TENSORGET", key))


# ---- routing ----------------------------------------------------------------------------


def test_hash_tags_route_values_and_executions(cluster: Cluster, client: RedisCluster) -> None:
    for tag in TAGS:
        fill(client, tag)
        assert client.execute_command(*execute(tag, "y"))
        assert read(client, f"{{{tag}}}y").tolist() == [2, 2]
        assert client.execute_command(*run_script(tag))
        assert read(client, f"{{{tag}}}z").tolist() == [2, 2]
        assert client.get(f"{{{tag}}}count") == b"1"
        assert client.execute_command(*run_dag(tag)) == [b"OK", [b"0", b"0"]]
        assert read(client, f"{{{tag}}}w").tolist() == [2, 2]
    owners = {cluster.owner_of(f"{{{tag}}}").port for tag in TAGS}
    assert len(owners) == 3, "tags that spread over all shards"
    scans = client.execute_command("AI._MODELSCAN", target_nodes=RedisCluster.PRIMARIES)
    assert sorted(key for scan in scans.values() for key, _ in scan) == sorted(
        f"{{{tag}}}{name}".encode() for tag in TAGS for name in ("m", "spin")
    )
    for master, replica in zip(cluster.masters, cluster.replicas, strict=True):
        master.wait_for_replica(replica)
        with master.wire() as wire, replica.wire() as mirror:
            assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")


def test_a_replica_answers_reads_after_readonly(cluster: Cluster, client: RedisCluster) -> None:
    fill(client, "t")
    assert client.execute_command(*execute("t", "y"))
    shard = cluster.masters.index(cluster.owner_of("{t}"))
    cluster.masters[shard].wait_for_replica(cluster.replicas[shard])
    read_only = ("AI.DAGEXECUTE_RO", *run_dag("t")[1:4], *run_dag("t")[7:])
    with cluster.replicas[shard].wire() as wire:
        assert wire("AI.TENSORGET", "{t}y", "VALUES").text.startswith("MOVED")
        assert wire(*read_only).text.startswith("MOVED")
        assert wire("READONLY") == OK
        assert wire("AI.TENSORGET", "{t}y", "VALUES") == [b"2", b"2"]
        assert wire(*read_only) == [OK, [b"0", b"0"]]
        assert wire(*execute("t", "y")).text.startswith("MOVED")


COMMANDS_WITH_KEYS = [
    tensorset("{t}x", ONES),
    ("AI.TENSORGET", "{t}x"),
    ("AI.MODELSTORE", "{t}m", "ONNX", "CPU", "BLOB", "x"),
    ("AI.MODELGET", "{t}m"),
    ("AI.MODELDEL", "{t}m"),
    ("AI.INFO", "{t}m"),
    execute("t", "y"),
    ("AI.MODELRUN", "{t}m", "INPUTS", "{t}x", "OUTPUTS", "{t}y"),
    ("AI.SCRIPTGET", "{t}s"),
    run_script("t"),
    run_dag("t"),
    ("AI.DAGEXECUTE_RO", "ROUTING", "{t}", "|>", "AI.TENSORSET", "{t}a", "FLOAT", 1),
    ("AI.DAGEXECUTE", "PERSIST", 1, "{t}a", "|>", "AI.TENSORSET", "{t}a", "FLOAT", 1, "VALUES", 1),
]


@pytest.mark.parametrize("command", COMMANDS_WITH_KEYS, ids=lambda command: command[0])
def test_the_wrong_node_answers_moved(cluster: Cluster, client: RedisCluster, command: tuple[Any, ...]) -> None:
    owner = cluster.owner_of("{t}")
    expected = Error(f"MOVED {cluster.slot_of('{t}')} 127.0.0.1:{owner.port}")
    for server in cluster.nodes:
        if server not in (owner, cluster.replicas[cluster.masters.index(owner)]):
            with server.wire() as wire:
                assert wire(*command) == expected


@pytest.mark.parametrize(
    "command",
    [
        ("AI.MODELEXECUTE", "{t}m", "INPUTS", 1, "{u}x", "OUTPUTS", 1, "{t}y"),
        ("AI.MODELEXECUTE", "{t}m", "INPUTS", 1, "{t}x", "OUTPUTS", 1, "{u}y"),
        ("AI.MODELRUN", "{t}m", "INPUTS", "{t}x", "OUTPUTS", "{u}y"),
        ("AI.SCRIPTEXECUTE", "{t}s", "f", "KEYS", 1, "{u}k", "INPUTS", 1, "{t}x", "OUTPUTS", 1, "{t}y"),
        ("AI.DAGEXECUTE", "LOAD", 1, "{t}x", "PERSIST", 1, "{u}y", "|>", "AI.TENSORGET", "{t}x"),
        ("AI.DAGEXECUTE", "LOAD", 1, "{t}x", "ROUTING", "{u}", "|>", "AI.TENSORGET", "{t}x"),
    ],
)
def test_keys_of_two_slots_are_refused(cluster: Cluster, client: RedisCluster, command: tuple[Any, ...]) -> None:
    with cluster.owner_of("{t}").wire() as wire:
        assert wire(*command) == Error("CROSSSLOT Keys in request don't hash to the same slot")


@pytest.mark.parametrize(
    "command",
    [
        ("AI._MODELSCAN",),
        ("AI._SCRIPTSCAN",),
        ("AI.INFO",),
        ("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"),
        ("AI.CONFIG", "GET", "LIVE_OBJECTS"),
        ("AI.CONFIG", "MODEL_CHUNK_SIZE", 535822336),
        ("AI.DAGEXECUTE_RO", "|>", "AI.TENSORSET", "a", "FLOAT", 1, "|>", "AI.TENSORGET", "a"),
        ("INFO", "ai"),
    ],
    ids=lambda command: " ".join(map(str, command[:2])),
)
def test_commands_without_keys_are_answered_by_every_node(
    cluster: Cluster, client: RedisCluster, command: tuple[Any, ...]
) -> None:
    for server in cluster.nodes:
        with server.wire() as wire:
            reply = wire(*command)
        assert not (isinstance(reply, Error) and reply.text.startswith(("MOVED", "CROSSSLOT", "ASK"))), reply
        if server in cluster.masters and "|>" not in command:
            assert not isinstance(reply, Error), reply


# ---- resharding -------------------------------------------------------------------------


def other_master(cluster: Cluster, server: Server) -> Server:
    return next(master for master in cluster.masters if master is not server)


def test_a_slot_that_moves_answers_ask_and_tryagain(cluster: Cluster, client: RedisCluster) -> None:
    fill(client, "t")
    source, slot = cluster.owner_of("{t}"), cluster.slot_of("{t}")
    target = other_master(cluster, source)
    cluster.begin_move(slot, source, target)
    redirection = Error(f"ASK {slot} 127.0.0.1:{target.port}")
    with source.wire() as wire, target.wire() as there:
        assert wire("AI.TENSORGET", "{t}x", "VALUES") == [b"1", b"1"]
        assert wire("AI.TENSORGET", "{t}absent") == redirection
        assert wire("MIGRATE", "127.0.0.1", target.port, "{t}x", 0, 5000) == OK
        assert wire("AI.TENSORGET", "{t}x") == redirection
        assert there("AI.TENSORGET", "{t}x").text.startswith("MOVED")
        assert there("ASKING") == OK
        assert there("AI.TENSORGET", "{t}x", "VALUES") == [b"1", b"1"]
        # Half of its keys here, half there: neither node can run it.
        assert wire(*execute("t", "y")).text.startswith(("TRYAGAIN", "ASK"))
        assert there("ASKING") == OK
        assert there(*execute("t", "y")).text.startswith("TRYAGAIN")
        cluster.move_keys(slot, source, target)
        assert wire("AI.MODELGET", "{t}m", "META") == redirection
        assert there("ASKING") == OK
        assert there("AI.MODELGET", "{t}m", "META")[1] == b"ONNX"
        cluster.end_move(slot, source, target)
        assert wire(*execute("t", "y")) == Error(f"MOVED {slot} 127.0.0.1:{target.port}")
        assert there(*execute("t", "y")) == OK
        assert there(*run_script("t")) == OK


@pytest.mark.parametrize("how", ["MODELEXECUTE", "DAGEXECUTE", "MODELSTORE"])
def test_what_is_over_after_its_slot_has_moved_is_not_written_here(
    cluster: Cluster, client: RedisCluster, how: str
) -> None:
    """The client is told to try again, and by then the new owner has everything."""
    fill(client, "t")
    spin: tuple[Any, ...] = ("AI.MODELEXECUTE", "{t}spin", "INPUTS", 1, "{t}turns", "OUTPUTS", 1, "{t}result")
    for seconds in (0.7, 2.0, 4.0):  # a busy machine may take long to move a slot
        assert client.execute_command(*tensorset("{t}turns", np.full((1, 1), models.turns_for(seconds), np.float32)))
        commands: dict[str, tuple[Any, ...]] = {
            "MODELEXECUTE": spin,
            "DAGEXECUTE": ("AI.DAGEXECUTE", "LOAD", 1, "{t}turns", "PERSIST", 1, "{t}result", "|>", *spin),
            "MODELSTORE": (
                "AI.MODELSTORE",
                "{t}result",
                "ONNX",
                "CPU",
                "BLOB",
                models.slow_to_load(int(430 * seconds)),
            ),
        }
        source, slot = cluster.owner_of("{t}"), cluster.slot_of("{t}")
        target = other_master(cluster, source)
        with source.wire() as wire, target.wire() as there:
            wire.send(*commands[how])
            wait_until(lambda: source.blocked_clients() == 1 or wire.has_reply())  # noqa: B023 - in this round only
            cluster.move(slot, source, target)
            in_time = not wire.has_reply()
            reply = wire.read()
            if not in_time:
                client.delete("{t}result")
                continue
            assert isinstance(reply, Error) and reply.text.startswith("TRYAGAIN the slot of a key moved"), reply
            assert keys_of([source, cluster.replicas[cluster.masters.index(source)]]) == set()
            assert wire(*commands[how]).text.startswith("MOVED")
            assert there(*commands[how]) in (OK, [OK])
            assert there("EXISTS", "{t}result") == 1
            return
    pytest.skip("the machine is too busy to move a slot while a model runs")


@contextmanager
def load(cluster: Cluster, tags: list[str], patience: float = 20.0) -> Iterator[dict[str, list[str]]]:
    """A client for each tag that executes its model until the block ends; gives the acknowledged outputs.

    As a user of redis-py would, it repeats what failed while the cluster changes, for so many seconds.
    """
    stopping = threading.Event()
    acknowledged: dict[str, list[str]] = {tag: [] for tag in tags}
    failures: list[object] = []

    def work(tag: str) -> None:
        with cluster.client() as client:
            turn = 0
            while not stopping.is_set() and not failures:
                began = time.monotonic()
                while True:
                    try:
                        client.execute_command(*execute(tag, f"y{turn}"))
                        break
                    except (redis.RedisError, OSError) as error:
                        if time.monotonic() - began > patience:
                            failures.append(error)
                            return
                        time.sleep(0.02)
                        look_around(client)
                acknowledged[tag].append(f"{{{tag}}}y{turn}")
                turn += 1

    threads = [threading.Thread(target=work, args=(tag,)) for tag in tags]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(acknowledged.values()) or failures)
        yield acknowledged
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a client was left waiting"
    assert not failures, failures


def look_around(client: RedisCluster) -> None:
    """redis-py asks one node for the keys of a command, and does not choose another one when that is dead."""
    try:
        client.get_default_node().redis_connection.ping()
    except redis.ConnectionError:
        with suppress(redis.RedisError):
            client.nodes_manager.initialize()


def wait_for_more(acknowledged: dict[str, list[str]], count: int = 5) -> None:
    before = {tag: len(keys) for tag, keys in acknowledged.items()}
    wait_until(lambda: all(len(acknowledged[tag]) >= before[tag] + count for tag in before), 60)


def check_all_there(cluster: Cluster, client: RedisCluster, acknowledged: dict[str, list[str]]) -> None:
    """Each acknowledged output is on the node that owns its slot, and keys are nowhere else."""
    expected = blob_of(np.full(2, 2, np.float32))
    for keys in acknowledged.values():
        for key in keys:
            assert client.execute_command("AI.TENSORGET", key, "BLOB") == expected, key
    owned = {server.port: keys_of([server]) for server in cluster.masters}
    for keys in acknowledged.values():
        holders = [port for port, found in owned.items() if keys[0].encode() in found]
        assert len(holders) == 1
    assert sum(map(len, owned.values())) == len(set().union(*owned.values())), "a key is on two nodes"


def test_resharding_while_models_run(cluster: Cluster, client: RedisCluster) -> None:
    tags = TAGS[:3]
    for tag in tags:
        fill(client, tag)
    with load(cluster, tags) as acknowledged:
        for _ in range(2):
            for tag in tags:
                source = cluster.owner_of(f"{{{tag}}}")
                cluster.move(cluster.slot_of(f"{{{tag}}}"), source, other_master(cluster, source))
            wait_for_more(acknowledged)
    check_all_there(cluster, client, acknowledged)
    for tag in tags:
        assert client.execute_command(*run_script(tag))


# ---- failover ---------------------------------------------------------------------------


def shard_of(cluster: Cluster, tag: str) -> int:
    return cluster.masters.index(cluster.owner_of(f"{{{tag}}}"))


def test_manual_failover_while_models_run(cluster: Cluster, client: RedisCluster) -> None:
    """CLUSTER FAILOVER pauses the master's clients and loses nothing that was acknowledged.

    Of two shards: in one, a node that was elected would follow again, and Redis 7.0 takes the votes for new ones if its
    master dies within some seconds, which the next test sees to.
    """
    tags = list({shard_of(cluster, tag): tag for tag in TAGS}.values())[:2]
    for tag in tags:
        fill(client, tag)
    with load(cluster, tags) as acknowledged:
        for tag in tags:
            cluster.fail_over(shard_of(cluster, tag))
            wait_for_more(acknowledged)
    cluster.wait_until_whole()
    check_all_there(cluster, client, acknowledged)


def test_the_death_of_a_master_while_models_run(cluster: Cluster, client: RedisCluster) -> None:
    """Its replica takes over, with the models compiled; what WAIT confirmed is there."""
    tag = TAGS[0]
    fill(client, tag)
    shard = shard_of(cluster, tag)
    master, replica = cluster.masters[shard], cluster.replicas[shard]
    confirmed = []
    with master.wire() as wire:
        for turn in range(20):
            assert wire(*execute(tag, f"confirmed{turn}")) == OK
            assert wire("WAIT", 1, 10_000) == 1
            confirmed.append(f"{{{tag}}}confirmed{turn}")
    with load(cluster, [tag], patience=60) as acknowledged:
        wait_for_more(acknowledged)
        master.kill()
        wait_until(lambda: replica.info("replication")["role"] == "master", 40)
        cluster.promote(shard)
        wait_for_more(acknowledged)
    for key in confirmed:
        assert read(client, key).tolist() == [2, 2]
    master.start()
    cluster.wait_until_whole()
    with replica.wire() as wire, master.wire() as mirror:
        replica.wait_for_replica(master)
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
