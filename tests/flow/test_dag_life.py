"""How DAGs run: side by side, in batches, against the clock, and while the world around them changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import models
from dags import COMMANDS, NA, TIMEDOUT, dag, execute
from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, get, put, wait_until
from harness import payload as rdb
from harness.wire import Argument

Servers = Callable[..., Server]

SOURCE = """
def add(a, b):
    return a + b

def fail(a):
    raise RuntimeError("on purpose")
    return a
"""


@pytest.fixture(scope="module")
def server(module_servers: Servers) -> Server:
    return module_servers("THREADS_PER_QUEUE", 2, "MODEL_EXECUTION_TIMEOUT", 600_000)


@pytest.fixture(autouse=True)
def values(server: Server, wire: Wire) -> Iterator[None]:
    """``spin`` and, on another device, ``other`` take as long as their input says."""
    assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
    assert wire("AI.MODELSTORE", "other", "ONNX", "CPU:1", "BLOB", models.spin()) == OK
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    put(wire, "fast", np.zeros((1, 1), np.float32))
    put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
    put(wire, "a", np.array([1, 2], np.float32))
    yield
    server.wait_for_rest()
    assert server.live_objects()["tensors"] == server.tensors_in_keyspace()


def slow(wire: Wire, seconds: float) -> None:
    put(wire, "slow", np.full((1, 1), models.turns_for(seconds), np.float32))


def begin(server: Server, wire: Wire, command: list[Argument]) -> None:
    """Sends a command that blocks, and returns when it does."""
    before = server.blocked_clients()
    wire.send(*command)
    wait_until(lambda: server.blocked_clients() > before)


# ---- side by side ------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["spin", "other"])
def test_operations_that_do_not_need_each_other_run_at_once(server: Server, wire: Wire, second: str) -> None:
    """On two workers of one device, and on two devices. The first would never end: the second must run beside it."""
    with server.wire() as runner, server.wire() as observer:
        identity = runner("CLIENT", "ID")
        begin(
            server, runner, dag(execute("spin", "endless", "x"), execute(second, "fast", "y"), load=["endless", "fast"])
        )
        wait_until(lambda: as_dict(observer("AI.INFO", second))["calls"] == 1)
        assert not runner.has_reply()
        assert wire("CLIENT", "KILL", "ID", identity) == 1


def test_an_operation_waits_for_all_its_inputs(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "sum", "ONNX", "CPU:1", "BLOB", models.sum_of(4)) == OK
    ops = [execute("m", f"a{i} a{i}", f"b{i}") for i in range(4)]
    sets = [f"AI.TENSORSET a{i} FLOAT 1 VALUES {i}" for i in range(4)]
    reply = wire(
        *dag(*sets, *ops, execute("sum", "b0 b1 b2 b3", "s"), execute("m", "s s", "t"), "AI.TENSORGET t VALUES")
    )
    assert reply == [OK] * 10 + [[b"196"]]


def test_long_chains_and_wide_fans(wire: Wire) -> None:
    chain = [execute("m", f"x{i} a", f"x{i + 1}") for i in range(200)]
    reply = wire(*dag("AI.TENSORSET x0 FLOAT 2 VALUES 1 1", *chain, "AI.TENSORGET x200 VALUES", load=["a"]))
    assert reply[:-1] == [OK] * 201 and float(reply[-1][0]) == 1
    fan = [execute("m", "a a", f"y{i}") for i in range(300)]
    assert (
        wire(*dag(*fan, *[f"AI.TENSORGET y{i} VALUES" for i in range(300)], load=["a"]))
        == [OK] * 300 + [[b"1", b"4"]] * 300
    )


def test_pipelined_dags_of_one_client_see_each_other(wire: Wire) -> None:
    step = tuple(dag(execute("m", "a two", "a"), "AI.TENSORGET a VALUES", load=["a", "two"], persist=["a"]))
    put(wire, "two", np.full(2, 2, np.float32))
    replies = wire.pipeline(*[step] * 8)
    assert replies == [[OK, [b"%d" % (2**i), b"%d" % (2 * 2**i)]] for i in range(1, 9)]


def test_many_clients(server: Server, wire: Wire) -> None:
    connections = [server.wire() for _ in range(40)]
    for round in range(10):
        for number, connection in enumerate(connections):
            ops = [f"AI.TENSORSET x FLOAT 1 VALUES {number}", execute("m", "x x", "y"), execute("m", "y x", "z")]
            connection.send(*dag(*ops, "AI.TENSORGET z VALUES"))
        for number, connection in enumerate(connections):
            assert connection.read() == [OK, OK, OK, [b"%d" % number**3]], round
    for connection in connections:
        connection.close()


def test_what_nobody_needs_any_more_is_given_back_while_the_dag_runs(server: Server, wire: Wire) -> None:
    chain = [execute("m", f"x{i} a", f"x{i + 1}") for i in range(50)]
    ends = [execute("m", "x50 a", "unused"), execute("spin", "endless", "n"), "AI.TENSORGET x3"]
    with server.wire() as runner:
        sets = "AI.TENSORSET x0 FLOAT 2 VALUES 1 1"
        begin(server, runner, dag(sets, *chain, *ends, load=["a", "endless"], persist=["x7"]))
        wait_until(lambda: as_dict(wire("AI.INFO", "m"))["calls"] == 51)
        wait_until(lambda: server.live_objects()["tensors"] == server.tensors_in_keyspace() + 2)


# ---- batching ------------------------------------------------------------------------------


def test_operations_join_batches_of_other_requests(server: Server, wire: Wire) -> None:
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "batched", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    put(wire, "two", np.zeros((2, 1), np.float32))
    show = "AI.TENSORGET n VALUES"
    with server.wire() as first, server.wire() as second:
        begin(server, first, dag(execute("batched", "fast", "n"), show, load=["fast"]))
        assert not first.has_reply(0.1), "one row waits for three more"
        begin(server, second, ["AI.MODELEXECUTE", "batched", "INPUTS", 1, "two", "OUTPUTS", 1, "out"])
        assert wire(*dag(execute("batched", "fast", "n"), show, load=["fast"])) == [OK, [4]]
        assert first.read() == [OK, [4]]
        assert second.read() == OK
    assert get(wire, "out").tolist() == [[4], [4]]


def test_operations_of_one_dag_run_in_one_batch(wire: Wire) -> None:
    assert (
        wire("AI.MODELSTORE", "batched", "ONNX", "CPU", "BATCHSIZE", 4, "MINBATCHSIZE", 3, "BLOB", models.batch_size())
        == OK
    )
    ops = [execute("batched", "fast", f"n{i}") for i in range(3)]
    assert wire(*dag(*ops, *[f"AI.TENSORGET n{i} VALUES" for i in range(3)], load=["fast"])) == [OK] * 3 + [[3]] * 3


def test_a_failing_batch_fails_each_dag_of_its_own(server: Server, wire: Wire) -> None:
    options = ("BATCHSIZE", 2, "MINBATCHSIZE", 2)
    assert wire("AI.MODELSTORE", "lookup", "ONNX", "CPU", *options, "BLOB", models.lookup()) == OK
    command = dag("AI.TENSORSET i INT64 1 1 VALUES 9", execute("lookup", "i", "y"), "AI.TENSORGET y")
    with server.wire() as other:
        begin(server, other, command)
        mine, theirs = wire(*command), other.read()
    for reply in (mine, theirs):
        assert reply[0] == OK and isinstance(reply[1], Error) and reply[2] == NA


# ---- the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, -(2**63), 2**63 - 1, 60_000])
def test_timeouts_that_do_not_pass(wire: Wire, timeout: int) -> None:
    slow(wire, 0.05)
    ops = [execute("spin", "slow", "x"), execute("spin", "fast", "y"), "AI.TENSORGET y VALUES"]
    assert wire(*dag(*ops, load=["slow", "fast"], timeout=timeout)) == [OK, OK, [1]]


@pytest.mark.parametrize("device", ["spin", "other"])
def test_a_dag_that_takes_too_long_between_operations(wire: Wire, device: str) -> None:
    """The whole reply is TIMEDOUT, nothing is persisted; what had run is counted, what had not is not."""
    slow(wire, 0.3)
    assert (
        wire("AI.MODELSTORE", "sum", "ONNX", "CPU:1" if device == "other" else "CPU", "BLOB", models.identity("INT64"))
        == OK
    )
    ops = ["AI.TENSORSET t INT8 1", execute("spin", "slow", "x"), execute("sum", "x", "y"), "AI.TENSORGET t"]
    assert wire(*dag(*ops, load=["slow"], persist=["t", "y"], timeout=50)) == TIMEDOUT
    assert wire("EXISTS", "t", "y") == 0
    assert as_dict(wire("AI.INFO", "spin"))["calls"] == 1
    assert as_dict(wire("AI.INFO", "sum"))["calls"] == 0


def test_a_dag_that_waits_too_long_for_its_batch(wire: Wire) -> None:
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "batched", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    ops = [execute("m", "a a", "b"), execute("batched", "fast", "n"), "AI.TENSORGET b"]
    assert wire(*dag(*ops, load=["fast", "a"], persist=["b"], timeout=50)) == TIMEDOUT
    assert wire("EXISTS", "b") == 0


def test_a_timeout_behind_a_failure_does_not_matter(wire: Wire) -> None:
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "batched", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    assert wire("AI.MODELSTORE", "lookup", "ONNX", "CPU", "BLOB", models.lookup()) == OK
    ops = ["AI.TENSORSET i INT64 1 1 VALUES 9", execute("lookup", "i", "y"), execute("batched", "fast", "n")]
    reply = wire(*dag(*ops, load=["fast"], timeout=5000))
    assert reply[0] == OK and isinstance(reply[1], Error) and reply[2] == NA


# ---- clients that do not wait -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["disconnect", "kill", "unblock", "unblock with error"])
def test_a_client_that_does_not_wait(server: Server, wire: Wire, how: str) -> None:
    """What runs is ended, what waits is dropped, nothing is persisted."""
    ops = ["AI.TENSORSET t INT8 1", execute("spin", "endless", "x"), execute("other", "endless", "y")]
    ops += [execute("m", "a a", "c"), "AI.TENSORGET c"]
    with server.wire() as victim:
        identity = victim("CLIENT", "ID")
        begin(server, victim, dag(*ops, load=["endless", "a"], persist=["t", "c"]))
        wait_until(lambda: as_dict(wire("AI.INFO", "m"))["calls"] == 1)
        if how == "disconnect":
            victim.close()
        elif how == "kill":
            assert wire("CLIENT", "KILL", "ID", identity) == 1
        else:
            assert wire("CLIENT", "UNBLOCK", identity, *(["ERROR"] if how.endswith("error") else [])) == 1
            reply = victim.read()
            assert reply == TIMEDOUT or (isinstance(reply, Error) and reply.text.startswith("UNBLOCKED"))
            assert victim("PING") == Status("PONG")
            assert not victim.has_reply(0.05)
        server.wait_for_rest()
    assert wire("EXISTS", "t", "c") == 0
    assert wire(*dag(execute("spin", "fast", "x"), execute("other", "fast", "y"), load=["fast"])) == [OK, OK]


def test_a_client_that_leaves_before_anything_ran(server: Server, wire: Wire) -> None:
    slow(wire, 0.3)
    with server.wire() as one, server.wire() as two:
        for busy in (one, two):
            begin(server, busy, dag(execute("spin", "slow", "x"), load=["slow"]))
        leavers = [server.wire() for _ in range(20)]
        for leaver in leavers:
            leaver.send(*dag(execute("spin", "endless", "x"), execute("spin", "x", "y"), load=["endless"]))
        wait_until(lambda: server.blocked_clients() == 22)
        for leaver in leavers:
            leaver.close()
        assert one.read() == [OK] and two.read() == [OK]
    server.wait_for_rest()
    assert as_dict(wire("AI.INFO", "spin"))["calls"] == 2


# ---- while the world changes -------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", [("FLUSHALL",), ("FLUSHALL", "ASYNC"), ("DEL", "spin", "m", "slow", "a"), ("SWAPDB", 0, 1)]
)
def test_models_and_inputs_that_vanish_meanwhile_serve_to_the_end(
    server: Server, wire: Wire, what: tuple[str, ...]
) -> None:
    slow(wire, 0.2)
    with server.wire() as runner:
        ops = [
            execute("spin", "slow", "n"),
            execute("m", "a a", "c"),
            "AI.TENSORGET c VALUES",
            execute("spin", "slow", "k"),
        ]
        begin(server, runner, dag(*ops, load=["slow", "a"], persist=["c"]))
        assert not isinstance(wire(*what), Error)
        assert runner.read() == [OK, OK, [b"1", b"4"], OK]
    assert_tensor(wire, "c", np.array([1, 4], np.float32))
    wire("FLUSHALL")


def test_a_key_that_becomes_a_string_meanwhile_is_not_overwritten(server: Server, wire: Wire) -> None:
    slow(wire, 0.2)
    with server.wire() as runner:
        begin(
            server,
            runner,
            dag(execute("spin", "slow", "n"), "AI.TENSORSET t INT8 1", load=["slow"], persist=["t", "n"]),
        )
        wire("SET", "n", "v")
        reply = runner.read()
    assert reply[:2] == [OK, OK] and len(reply) == 3 and reply[2].text.startswith("WRONGTYPE")
    assert wire("GET", "n") == b"v" and wire("EXISTS", "t") == 0


def test_models_that_still_load_are_waited_for(server: Server, wire: Wire) -> None:
    """Several operations wait for one model at the same time, and for different ones."""
    for key in ("p", "q"):
        assert wire("AI.MODELSTORE", key, "ONNX", "CPU", "BLOB", models.slow_to_load(150)) == OK
    put(wire, "x", np.ones((1, 400), np.float32))
    ops = [execute(key, "x", f"{key}{i}") for i in range(3) for key in ("p", "q", "p")]
    command = dag(*ops, execute("p", "q2", "last"), load=["x"])
    for _ in range(2):
        assert wire("DEBUG", "RELOAD") == OK
        assert wire(*command) == [OK] * 10
    assert as_dict(wire("AI.INFO", "p"))["calls"] == 7


def test_counts_that_a_loading_model_does_not_have(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "p", "ONNX", "CPU", "BLOB", models.slow_to_load(150)) == OK
    put(wire, "x", np.ones((1, 400), np.float32))
    assert wire("DEBUG", "RELOAD") == OK
    reply = wire(*dag(execute("p", "x x", "y"), execute("p", "y", "z"), load=["x"]))
    if isinstance(reply, list):  # else it was loaded already
        reply, rest = reply
        assert rest == NA
    assert reply == Error("Number of keys given as INPUTS here does not match model definition")


def test_a_model_that_could_not_be_loaded(wire: Wire) -> None:
    ops = [execute("m", "a a", "c"), execute("broken", "c", "d"), execute("m", "c c", "e"), "AI.TENSORGET c VALUES"]
    assert wire("RESTORE", "broken", 0, rdb.model(4, b"no model")) == OK
    for _ in range(2):  # while it is loading, and when it is known to fail
        reply = wire(*dag(*ops, load=["a"], persist=["c"]))
        assert reply[0] == OK and isinstance(reply[1], Error) and reply[2:] == [NA, [b"1", b"4"]]
    assert wire("EXISTS", "c") == 0


def test_what_stands_behind_a_failure_is_dropped_before_it_reaches_its_queue(wire: Wire) -> None:
    """The first operation fails while the command is still being handed out; the second would wait for ever."""
    options = ("BATCHSIZE", 8, "MINBATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "batched", "ONNX", "CPU", *options, "BLOB", models.batch_size()) == OK
    assert wire("RESTORE", "broken", 0, rdb.model(4, b"no model")) == OK
    assert isinstance(wire("AI.MODELEXECUTE", "broken", "INPUTS", 1, "a", "OUTPUTS", 1, "b"), Error)
    for _ in range(20):
        reply = wire(*dag(execute("broken", "a", "b"), execute("batched", "fast", "n"), load=["a", "fast"]))
        assert isinstance(reply[0], Error) and reply[1] == NA
    assert as_dict(wire("AI.INFO", "batched"))["calls"] == 0


# ---- other servers --------------------------------------------------------------------------------


def test_persisted_tensors_reach_replicas_and_the_aof_as_tensors(make_server: Servers) -> None:
    server = make_server(appendonly="yes", save="")
    replica = make_server(replicaof=("127.0.0.1", server.port))
    server.wait_for_replica(replica)
    with server.wire() as wire, replica.wire() as mirror:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        put(wire, "a", np.array([1, 2], np.float32))
        ops = [execute("m", "a a", "c"), "AI.TENSORSET d STRING 2 VALUES x y", execute("m", "c c", "local")]
        assert wire(*dag(*ops, load=["a"], persist=["c", "d"])) == [OK] * 3
        assert wire(*dag(ops[1], "AI.TENSORGET d VALUES", persist=["d"])) == [OK, [b"x", b"y"]]
        server.wait_for_replica(replica)
        assert mirror("DEBUG", "DIGEST") == wire("DEBUG", "DIGEST")
        assert_tensor(mirror, "c", np.array([1, 4], np.float32))
        assert mirror("EXISTS", "local") == 0
        stats = mirror("INFO", "commandstats").decode().lower()
        assert "cmdstat_ai.tensorset:calls=4" in stats and "dagexecute" not in stats
    server.restart()
    with server.wire() as wire:
        assert_tensor(wire, "c", np.array([1, 4], np.float32))
        assert wire("AI.TENSORGET", "d", "VALUES") == [b"x", b"y"]
        assert wire("EXISTS", "local") == 0


def test_read_only_replicas_run_the_read_only_forms(make_server: Servers) -> None:
    server = make_server()
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        assert wire("AI.SCRIPTSET", "s", "CPU", "SOURCE", SOURCE) == OK
        put(wire, "a", np.array([1, 2], np.float32))
    replica = make_server(replicaof=("127.0.0.1", server.port))
    server.wait_for_replica(replica)
    with replica.wire() as mirror:
        show = "AI.TENSORGET c VALUES"
        for command in COMMANDS:
            op = execute("m", "a a", "c") if "EXECUTE" in command else "AI.MODELRUN m INPUTS a a OUTPUTS c"
            reply = mirror(*dag(op, show, load=["a"], command=command))
            if command.endswith("_RO"):
                assert reply == [OK, [b"1", b"4"]]
            else:
                assert isinstance(reply, Error) and reply.text.startswith("READONLY")
        script = dag("AI.SCRIPTRUN s add INPUTS a a OUTPUTS c", show, load=["a"], command="AI.DAGRUN_RO")
        assert mirror(*script) == [OK, [b"2", b"4"]]


def test_shutdown_in_the_middle(make_server: Servers) -> None:
    server = make_server("MODEL_EXECUTION_TIMEOUT", 600_000)
    with server.wire() as wire, server.wire() as runner:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        begin(server, runner, dag(execute("spin", "endless", "x"), execute("spin", "x", "y"), load=["endless"]))
        server.stop()
