"""What DAGs compute, reply, and leave in the keyspace."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import models
from dags import COMMANDS, NA, call, dag, execute
from harness import OK, Error, Server, Status, Wire, as_dict, assert_tensor, get, put
from harness.tensors import DTYPES, SAMPLES, array_of, tensorset

WRONG_TYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
INCOMPLETE = Error("ERR Model did not generate the expected number of outputs")

SOURCE = """
def entry(tensors: List[Tensor], keys: List[str], args: List[str]):
    total = torch.zeros([2])
    for tensor in tensors:
        total = total + tensor
    return [total, torch.tensor([len(keys), len(args)])]

def remember(tensors: List[Tensor], keys: List[str], args: List[str]):
    redis.execute("SET", keys[0], args[0])
    return redisAI.model_execute(keys[1], tensors, 1)

def nothing(tensors: List[Tensor], keys: List[str], args: List[str]):
    pass

def add(a, b):
    return a + b

def pack(first, rest: List[Tensor]):
    return torch.stack([first] + rest).sum(0), torch.tensor(len(rest))

def fail(a):
    raise RuntimeError("on purpose")
    return a

def write(a):
    a.add_(100)
    return a
"""


@pytest.fixture(autouse=True)
def values(server: Server, wire: Wire) -> Iterator[None]:
    """``m`` multiplies, ``two`` adds and subtracts, ``s`` has functions; ``a`` and ``b`` are tensors.

    After the test everything that a DAG held must have been given back.
    """
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
    assert wire("AI.MODELSTORE", "two", "ONNX", "CPU:1", "BLOB", models.two_outputs()) == OK
    points = ("ENTRY_POINTS", 3, "entry", "remember", "nothing")
    assert wire("AI.SCRIPTSTORE", "s", "CPU", *points, "SOURCE", SOURCE) == OK
    put(wire, "a", np.array([1, 2], np.float32))
    put(wire, "b", np.array([10, 20], np.float32))
    yield
    server.wait_for_rest()
    assert server.live_objects()["tensors"] == server.tensors_in_keyspace()


# ---- names ------------------------------------------------------------------------------


def test_the_example_of_everybody(wire: Wire) -> None:
    ops = ["AI.TENSORSET c FLOAT 2 VALUES 3 4", execute("m", "a c", "d"), call("s", "add", "d b", "e")]
    assert wire(*dag(*ops, "AI.TENSORGET e VALUES", load=["a", "b"], persist=["e"])) == [OK, OK, OK, [b"13", b"28"]]
    assert_tensor(wire, "e", np.array([13, 28], np.float32))
    assert wire("EXISTS", "c", "d") == 0


def test_a_name_stands_for_its_latest_definition(wire: Wire) -> None:
    show = "AI.TENSORGET x VALUES"
    ops = ["AI.TENSORSET x FLOAT 2 VALUES 1 2", show, execute("m", "x x", "x"), show, execute("m", "x x", "x"), show]
    ops += ["AI.TENSORSET x INT8 1 VALUES 7", show]
    expected = [OK, [b"1", b"2"], OK, [b"1", b"4"], OK, [b"1", b"16"], OK, [7]]
    assert wire(*dag(*ops, persist=["x"])) == expected
    assert_tensor(wire, "x", np.array([7], np.int8))


def test_a_loaded_name_may_be_redefined_and_its_key_stays(wire: Wire) -> None:
    ops = ["AI.TENSORGET a VALUES", execute("m", "a a", "a"), "AI.TENSORGET a VALUES"]
    assert wire(*dag(*ops, load=["a"])) == [[b"1", b"2"], OK, [b"1", b"4"]]
    assert_tensor(wire, "a", np.array([1, 2], np.float32))
    assert wire(*dag(*ops, load=["a"], persist=["a"])) == [[b"1", b"2"], OK, [b"1", b"4"]]
    assert_tensor(wire, "a", np.array([1, 4], np.float32))


def test_one_operation_may_define_a_name_twice(wire: Wire) -> None:
    """The last of them wins, as in AI.MODELEXECUTE."""
    ops = [execute("two", "b a", "x x"), "AI.TENSORGET x VALUES"]
    assert wire(*dag(*ops, load=["a", "b"], persist=["x"])) == [OK, [b"9", b"18"]]
    assert_tensor(wire, "x", np.array([9, 18], np.float32))


def test_a_key_may_be_loaded_twice(wire: Wire) -> None:
    assert wire(*dag(execute("m", "a a", "c"), "AI.TENSORGET c VALUES", load=["a", "a", "b", "a"])) == [
        OK,
        [b"1", b"4"],
    ]


def test_a_loaded_tensor_may_be_persisted_and_that_of_another_database(server: Server, wire: Wire) -> None:
    with server.wire(db=3) as other:
        put(other, "a", np.array([5, 6], np.float32))
        assert other("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        ops = [execute("m", "a a", "c"), "AI.TENSORGET a VALUES"]
        assert other(*dag(*ops, load=["a"], persist=["c", "a"])) == [OK, [b"5", b"6"]]
        assert_tensor(other, "c", np.array([25, 36], np.float32))
        assert wire("EXISTS", "c") == 0
        other("DEL", "m")
        assert other(*dag(*ops, load=["a"])) == Error("ERR model key is empty")
    assert_tensor(wire, "a", np.array([1, 2], np.float32))


def test_operations_cannot_change_tensors_that_others_see(wire: Wire) -> None:
    ops = [call("s", "write", "a", "c"), "AI.TENSORGET a VALUES", "AI.TENSORGET c VALUES"]
    assert wire(*dag(*ops, load=["a"])) == [OK, [b"1", b"2"], [b"101", b"102"]]
    assert_tensor(wire, "a", np.array([1, 2], np.float32))


# ---- values ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_pass_through(wire: Wire, command: str, dtype: str) -> None:
    sample = SAMPLES[dtype]
    put(wire, "loaded", sample)
    gets = ["AI.TENSORGET set", "AI.TENSORGET loaded BLOB", "AI.TENSORGET set META VALUES", "AI.TENSORGET set META"]
    persist = [] if command.endswith("_RO") else ["set"]
    reply = wire(*dag(tensorset("set", sample), *gets, load=["loaded"], persist=persist, command=command))
    assert array_of(reply[1]).tobytes() == array_of(wire("AI.TENSORGET", "loaded")).tobytes() or dtype == "STRING"
    assert reply[1:] == [wire("AI.TENSORGET", "loaded", *get.split()[2:]) for get in gets]
    if persist:
        assert_tensor(wire, "set", sample)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_pass_through_models(wire: Wire, dtype: str) -> None:
    sample = np.array([b"", "h\u00e9".encode()], object) if dtype == "STRING" else SAMPLES[dtype]
    assert wire("AI.MODELSTORE", "same", "ONNX", "CPU", "BLOB", models.identity(dtype)) == OK
    ops = [tensorset("x", sample), execute("same", "x", "y"), execute("same", "y", "z"), "AI.TENSORGET z"]
    reply = wire(*dag(*ops))
    assert reply[:3] == [OK] * 3
    assert np.array_equal(array_of(reply[3]), sample)


def test_scalars(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "sum", "ONNX", "CPU", "BLOB", models.scalar_sum()) == OK
    ops = [
        "AI.TENSORSET x FLOAT VALUES 2",
        execute("sum", "x", "y"),
        execute("sum", "a", "z"),
        execute("m", "y z", "p"),
    ]
    reply = wire(*dag(*ops, "AI.TENSORGET p", "AI.TENSORGET y VALUES", load=["a"], persist=["p"]))
    assert reply[:4] == [OK] * 4
    assert as_dict(reply[4])["shape"] == []
    assert_tensor(wire, "p", np.array(6, np.float32))
    assert reply[5] == [b"2"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dag_without_executions(wire: Wire, command: str) -> None:
    ops = ["AI.TENSORSET x INT8 2 VALUES 1 -2", "AI.TENSORGET x VALUES", "AI.TENSORGET a VALUES"]
    assert wire(*dag(*ops, load=["a"], command=command)) == [OK, [1, -2], [b"1", b"2"]]
    if not command.endswith("_RO"):
        assert wire(*dag(*ops, load=["a"], persist=["x", "a"], timeout=1, command=command))[0] == OK
        assert_tensor(wire, "x", np.array([1, -2], np.int8))


def test_resp3(server: Server) -> None:
    with server.wire(protocol=3) as wire:
        ops = [execute("m", "a a", "c"), "AI.TENSORGET c VALUES", "AI.TENSORGET c META", call("s", "fail", "c", "d")]
        reply = wire(*dag(*ops, "AI.TENSORGET d", load=["a"]))
    meta = {b"dtype": b"FLOAT", b"shape": [2]}
    if server.binary.version < (7, 0, 0):  # no maps of modules
        meta = [b"dtype", b"FLOAT", b"shape", [2]]
    assert reply[:3] == [OK, [1.0, 4.0], meta]
    assert isinstance(reply[3], Error) and reply[4] == NA


# ---- scripts -------------------------------------------------------------------------------


def test_scripts_get_keys_and_arguments(wire: Wire) -> None:
    script = "AI.SCRIPTEXECUTE s entry OUTPUTS 2 x y KEYS 1 k ARGS 3 p q r INPUTS 2 a b"
    assert wire(*dag(script, "AI.TENSORGET x VALUES", "AI.TENSORGET y VALUES", load=["a", "b"])) == [
        OK,
        [b"11", b"22"],
        [1, 3],
    ]


def test_scripts_use_redis_and_models(wire: Wire) -> None:
    script = "AI.SCRIPTEXECUTE s remember KEYS 2 note m ARGS 1 hello INPUTS 2 a b OUTPUTS 1 c"
    assert wire(*dag(script, "AI.TENSORGET c VALUES", load=["a", "b"])) == [OK, [b"10", b"40"]]
    assert wire("GET", "note") == b"hello"


def test_scripts_with_no_outputs_and_with_lists(wire: Wire) -> None:
    lists = "AI.SCRIPTEXECUTE s pack INPUTS 1 a LIST_INPUTS 2 b a OUTPUTS 2 x y"
    ops = [call("s", "nothing", "a"), lists, "AI.TENSORGET x VALUES", "AI.TENSORGET y VALUES"]
    assert wire(*dag(*ops, load=["a", "b"])) == [OK, OK, [b"12", b"24"], [2]]
    run = "AI.SCRIPTRUN s pack INPUTS a $ b a OUTPUTS x y"
    assert wire(*dag(run, *ops[2:], load=["a", "b"], command="AI.DAGRUN")) == [OK, [b"12", b"24"], [2]]


# ---- failures ------------------------------------------------------------------------------


def is_on_purpose(reply: object) -> bool:
    return isinstance(reply, Error) and "on purpose" in reply.text


def test_what_stands_behind_a_failure_is_not_run_or_does_not_count(wire: Wire) -> None:
    ops = [execute("m", "a a", "c"), call("s", "fail", "c", "d"), execute("two", "a b", "e f")]
    gets = [f"AI.TENSORGET {name} VALUES" for name in ("a", "c", "d", "e", "t")]
    reply = wire(*dag(*ops, "AI.TENSORSET t INT8 1 VALUES 5", *gets, load=["a", "b"], persist=["c", "t"]))
    assert reply[0] == OK and is_on_purpose(reply[1])
    assert reply[2:] == [NA, OK, [b"1", b"2"], [b"1", b"4"], NA, NA, [5]]
    assert wire("EXISTS", "c", "t") == 0, "nothing is persisted when an operation failed"


def test_the_first_failure_in_the_order_of_the_command_is_reported(wire: Wire) -> None:
    """Also when another one is over first."""
    assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU:1", "BLOB", models.spin()) == OK
    put(wire, "slow", np.full((1, 1), models.turns_for(0.2), np.float32))
    put(wire, "wide", np.ones(3, np.float32))
    ops = [
        execute("spin", "slow", "n"),
        execute("two", "n wide", "x y"),
        call("s", "fail", "a", "z"),
        "AI.TENSORGET n VALUES",
    ]
    reply = wire(*dag(*ops, load=["slow", "wide", "a"]))
    assert reply[0] == OK and reply[2] == NA and reply[3] == [1]
    assert isinstance(reply[1], Error) and not is_on_purpose(reply[1])


def test_an_earlier_value_of_a_name_is_seen_where_a_later_one_failed(wire: Wire) -> None:
    show = "AI.TENSORGET x VALUES"
    ops = [
        "AI.TENSORSET x INT8 1 VALUES 1",
        show,
        call("s", "fail", "a", "x"),
        show,
        "AI.TENSORSET x INT8 1 VALUES 2",
        show,
    ]
    reply = wire(*dag(*ops, load=["a"], persist=["x"]))
    assert reply[:2] == [OK, [1]] and is_on_purpose(reply[2]) and reply[3:] == [NA, OK, [2]]
    assert wire("EXISTS", "x") == 0


def test_an_output_that_is_no_tensor_fails_its_operation(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "list", "ONNX", "CPU", "BLOB", models.sequence_and_tensor()) == OK
    ops = [execute("list", "a", "x y"), "AI.TENSORGET x", "AI.TENSORGET y", execute("m", "y y", "z")]
    assert wire(*dag(*ops, load=["a"], persist=["y"])) == [INCOMPLETE, NA, NA, NA]
    assert wire("EXISTS", "y") == 0


def test_info_counts_every_operation_that_ran(wire: Wire) -> None:
    ops = [execute("m", "a a", "c"), execute("m", "c c", "d"), call("s", "fail", "d", "e"), execute("m", "e e", "f")]
    wire(*dag(*ops, load=["a"]))

    def counts(key: str) -> tuple[int, int, int]:
        info = as_dict(wire("AI.INFO", key))
        return info["calls"], info["errors"], info["samples"]

    assert counts("m") == (2, 0, 4)
    assert counts("s")[:2] == (1, 1)


# ---- PERSIST ---------------------------------------------------------------------------------


def test_persist_writes_all_or_nothing(wire: Wire) -> None:
    wire("SET", "k", "v")
    ops = ["AI.TENSORSET x INT8 1 VALUES 1", execute("m", "a a", "k"), "AI.TENSORGET k VALUES"]
    for names in (["x", "k"], ["k", "x"]):
        assert wire(*dag(*ops, load=["a"], persist=names)) == [OK, OK, [b"1", b"4"], WRONG_TYPE]
        assert wire("EXISTS", "x") == 0
        assert wire("GET", "k") == b"v"
    assert wire(*dag(ops[0], "AI.TENSORSET m INT8 1", persist=["x", "m"])) == [OK, OK, WRONG_TYPE]
    assert wire("EXISTS", "x") == 0


def test_persist_clears_the_time_to_live(wire: Wire) -> None:
    put(wire, "x", np.zeros(1, np.float32))
    for ops in (["AI.TENSORSET x INT8 1 VALUES 3"], [execute("m", "a a", "x")]):
        wire("EXPIRE", "x", 1000)
        assert wire(*dag(*ops, load=["a"], persist=["x"])) == [OK]
        assert wire("TTL", "x") == -1


def test_a_persisted_tensor_is_its_key_s_own(wire: Wire) -> None:
    assert wire(*dag("AI.TENSORGET a", load=["a"], persist=["a"])) == [wire("AI.TENSORGET", "a")]
    wire("DEL", "a")
    assert wire(*dag("AI.TENSORSET x INT8 1 VALUES 3", persist=["x"])) == [OK]
    wire("COPY", "x", "y")
    wire("DEL", "x")
    assert get(wire, "y").tolist() == [3]


def test_memory_is_bounded_over_many_dags(server: Server, wire: Wire) -> None:
    command = dag(execute("m", "a b", "c"), call("s", "fail", "c", "d"), "AI.TENSORGET c VALUES", load=["a", "b"])
    replies = wire.pipeline(*[tuple(command)] * 300)
    assert all(reply[0] == OK and is_on_purpose(reply[1]) and reply[2] == [b"10", b"40"] for reply in replies)
    assert server.live_objects()["models"] == 3
    assert wire("PING") == Status("PONG")


def test_doubles_of_a_dag_are_of_the_protocol_of_its_client(server: Server) -> None:
    """Whether a worker runs it, as the first ones, or the event loop."""
    words = dag(execute("m", "a b", "c"), "AI.TENSORGET c VALUES", load=["a", "b"], command="AI.DAGEXECUTE_RO")
    with server.wire() as resp2, server.wire() as resp3:
        resp3("HELLO", 3)
        for _ in range(150):
            assert resp2(*words) == [OK, [b"10", b"40"]]
            reply = resp3(*words)
            assert reply == [OK, [10.0, 40.0]] and all(isinstance(value, float) for value in reply[1])
