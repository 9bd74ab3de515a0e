"""Random DAGs do what the reference interpreter says, and random nonsense does no harm."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dag_reference as reference
import models
from dag_reference import FUNCTIONS, Get, Operation, Run, Set
from dags import COMMANDS, call, dag, execute
from harness import OK, Error, Server, Status, Wire, get, put
from harness.tensors import array_of

NAMES = ["a", "b", "c", "d", "text"]
KEYSPACE: dict[str, np.ndarray | str] = {
    "a": np.array([1, 2], np.float32),
    "b": np.array([-1, 3], np.float32),
    "text": "a string",
}


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers("THREADS_PER_QUEUE", 2)


@pytest.fixture(autouse=True)
def stored(server: Server, wire: Wire) -> None:
    """The functions of the reference, on two devices; ``multiply`` runs requests together."""
    batching = ("BATCHSIZE", 4)
    assert wire("AI.MODELSTORE", "multiply", "ONNX", "CPU", *batching, "BLOB", models.multiply()) == OK
    assert wire("AI.MODELSTORE", "two", "ONNX", "CPU:1", "BLOB", models.two_outputs()) == OK
    assert wire("AI.SCRIPTSET", "script", "CPU", "SOURCE", reference.SCRIPT) == OK


# ---- sensible ones ------------------------------------------------------------------------

names = st.sampled_from(NAMES)
values = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0]), min_size=2, max_size=2)
rare_values = st.lists(st.sampled_from([1.0, 2.0]), min_size=3, max_size=3)


@st.composite
def operations(draw: st.DrawFn) -> list[Operation]:
    """Mostly of names that are defined, seldom of any name, seldom of shapes that do not fit."""
    known = ["a", "b"]
    ops: list[Operation] = []

    def some(count: int) -> tuple[str, ...]:
        return tuple(draw(st.sampled_from(known if draw(st.integers(0, 25)) else NAMES)) for _ in range(count))

    for _ in range(draw(st.integers(2, 12))):
        kind = draw(st.sampled_from(["set", "get", *FUNCTIONS, "multiply", "two"]))
        if kind == "set":
            ops.append(Set(draw(names), tuple(draw(values if draw(st.integers(0, 8)) else rare_values))))
            known.append(ops[-1].name)
        elif kind == "get":
            ops.append(Get(*some(1)))
        else:
            inputs, outputs, _, _ = FUNCTIONS[kind]
            ops.append(Run(kind, some(inputs), tuple(draw(names) for _ in range(outputs))))
            known += ops[-1].outputs
    return ops


@st.composite
def whole_dags(draw: st.DrawFn) -> tuple[list[Operation], list[str], list[str]]:
    """Operations, LOAD and PERSIST: mostly of keys that exist, and of names that are defined."""
    load = draw(st.lists(names, max_size=3)) if not draw(st.integers(0, 12)) else ["a", "b"]
    return draw(operations()), load, draw(st.lists(names, unique=True, max_size=3))


def matches(actual: object, expected: reference.Element) -> bool:
    if isinstance(expected, np.ndarray):
        return isinstance(actual, list) and equal(array_of(actual), expected)
    if expected is reference.FAILURE:
        return isinstance(actual, Error) and actual.text != ""
    return actual == expected


def equal(actual: np.ndarray, expected: np.ndarray) -> bool:
    return actual.shape == expected.shape and np.array_equal(actual, expected, equal_nan=True)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=whole_dags())
def test_random_dags_do_what_the_reference_says(
    server: Server, wire: Wire, drawn: tuple[list[Operation], list[str], list[str]]
) -> None:
    ops, load, persist = drawn
    wire("DEL", *NAMES)
    for name, content in KEYSPACE.items():
        if isinstance(content, str):
            wire("SET", name, content)
        else:
            put(wire, name, content)
    actual = wire(*dag(*[op.words() for op in ops], load=load, persist=persist))
    expected, persisted = reference.interpret(ops, load, persist, KEYSPACE)
    if isinstance(expected, Error):
        assert actual == expected
    else:
        assert isinstance(actual, list) and len(actual) == len(expected), actual
        assert all(matches(*pair) for pair in zip(actual, expected, strict=True)), (actual, expected)
    assert wire("GET", "text") == b"a string"
    after = {**{name: array for name, array in KEYSPACE.items() if not isinstance(array, str)}, **persisted}
    assert wire("EXISTS", *NAMES) == len(after) + 1
    for name, array in after.items():
        assert equal(get(wire, name), array), name


def random_operations(chance: random.Random) -> list[Operation]:
    """As ``operations``, without hypothesis: all names are defined."""
    known = ["a", "b"]
    ops: list[Operation] = []
    for _ in range(chance.randint(2, 12)):
        kind = chance.choice(["get", *FUNCTIONS, "multiply", "two"])
        if kind == "get":
            ops.append(Get(chance.choice(known)))
        else:
            inputs, outputs, _, _ = FUNCTIONS[kind]
            made = tuple(chance.choice(NAMES) for _ in range(outputs))
            ops.append(Run(kind, tuple(chance.choice(known) for _ in range(inputs)), made))
            known += made
    return ops


@pytest.mark.parametrize("seed", range(4))
def test_dags_of_many_clients_do_not_mix(server: Server, wire: Wire, seed: int) -> None:
    """Pipelined by all, batched with each other, while other clients come, ask, and go without an answer."""
    chance = random.Random(seed)
    put(wire, "a", KEYSPACE["a"])
    put(wire, "b", KEYSPACE["b"])
    clients = [server.wire() for _ in range(8)]
    expected: list[list[list[reference.Element]]] = []
    for client in clients:
        drawn = [random_operations(chance) for _ in range(40)]
        expected.append([])
        for ops in drawn:
            client.send(*dag(*[op.words() for op in ops], load=["a", "b"]))
            reply, _ = reference.interpret(ops, ["a", "b"], [], KEYSPACE)
            assert isinstance(reply, list)
            expected[-1].append(reply)
        for ops in drawn[:10]:
            with server.wire() as impatient:
                impatient.send(*dag(*[op.words() for op in ops], load=["a", "b"]))
    for client, replies in zip(clients, expected, strict=True):
        for reply in replies:
            actual = client.read()
            assert len(actual) == len(reply) and all(matches(*pair) for pair in zip(actual, reply, strict=True))
        client.close()
    server.wait_for_rest()


# ---- nonsense -----------------------------------------------------------------------------------

EXECUTE = execute("multiply", "a b", "c")
SCRIPT = "AI.SCRIPTEXECUTE script swap KEYS 1 k INPUTS 2 a b ARGS 1 x OUTPUTS 2 d e"
SHOW = ["AI.TENSORGET a META VALUES", "AI.TENSORGET c"]
TEMPLATES = [
    dag("AI.TENSORSET t FLOAT 2 VALUES 1 2", EXECUTE, *SHOW, load=["a", "b"], persist=["c", "t"], timeout=10_000),
    dag(EXECUTE, SCRIPT, call("script", "check", "b", "f"), *SHOW, load=["a", "b"], persist=["d"]),
    dag(EXECUTE, execute("two", "c c", "c d"), *SHOW, load=["a", "b"], command="AI.DAGEXECUTE_RO"),
    dag("AI.TENSORSET t STRING 1 VALUES x", "AI.TENSORGET t", routing=None, timeout=0, command="AI.DAGRUN_RO"),
    dag(
        *("AI.MODELRUN multiply INPUTS a b OUTPUTS c", "AI.SCRIPTRUN script swap INPUTS a $ b OUTPUTS c d", *SHOW),
        load=["a", "b"],
        persist=["c", "d"],
        command="AI.DAGRUN",
    ),
    [
        "AI.DAGEXECUTE",
        "KEYS",
        1,
        "{tag}",
        "LOAD",
        1,
        "a",
        "|>",
        "AI.TENSORGET",
        "a",
        "|>",
        "AI.TENSORSET",
        "q",
        "INT8",
        1,
    ],
]
WORDS: list[bytes] = [
    *(b"LOAD PERSIST ROUTING TIMEOUT KEYS |> INPUTS OUTPUTS ARGS LIST_INPUTS $ BLOB VALUES META FLOAT".split()),
    *(b"AI.TENSORSET AI.TENSORGET AI.MODELEXECUTE AI.SCRIPTEXECUTE AI.MODELRUN AI.SCRIPTRUN AI.INFO GET".split()),
    *(b"a b c d t text multiply two script swap absent 0 1 2 3 -1 100 2147483647 2147483648 4294967297".split()),
    *(b"9223372036854775807 9223372036854775808 -9223372036854775808 1.0 1e3 +1 01 { {} {x} load |>| |".split()),
    *(b"", b"\0", b"a\0", b"\xff\xfe", b"a\r\nb", b"%s%n", b" 1", b"x" * 5000, b"|>\0"),
]


LARGE = {b"2147483647", b"2147483648", b"4294967297"}


def harmless(words: list[bytes]) -> bool:
    """Not a request for a tensor of gigabytes, which would rightly be made."""
    return LARGE.isdisjoint(words) or not any(word.upper() == b"AI.TENSORSET" for word in words)


def mutated(chance: random.Random) -> list[bytes]:
    """A valid command with some words dropped, doubled, swapped, replaced or added, or cut short."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in chance.choice(TEMPLATES)]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(1, len(words) + 1)
        other = chance.randrange(1, len(words) + 1)
        if at >= len(words) or other >= len(words):
            words.append(chance.choice(WORDS))
            continue
        how = chance.randrange(8)
        if how == 0:
            del words[at]
        elif how == 1:
            words.insert(at, words[at])
        elif how == 2:
            words[at], words[other] = words[other], words[at]
        elif how == 3:
            words.insert(at, chance.choice(WORDS))
        elif how == 4 and chance.random() < 0.3:
            del words[at:]
        elif how == 5:
            words[0] = chance.choice(COMMANDS).encode()
        else:
            words[at] = chance.choice(WORDS)
        if len(words) < 2:
            break
    return words if harmless(words) else mutated(chance)


def is_well_formed(reply: object) -> bool:
    """An error, TIMEDOUT, or an array whose elements are statuses, errors and tensors."""
    if isinstance(reply, Error) or reply == Status("TIMEDOUT"):
        return True
    if not isinstance(reply, list):
        return False
    for element in reply:
        allowed = element in (OK, Status("NA")) or isinstance(element, Error | list | bytes)
        if not allowed:
            return False
    return True


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_broken_commands_do_no_harm(server: Server, wire: Wire, seed: int) -> None:
    chance = random.Random(seed)
    arrays = 0
    for _ in range(10):
        put(wire, "a", np.array([1, 2], np.float32))
        put(wire, "b", np.array([3, 4], np.float32))
        commands: Sequence[tuple[bytes, ...]] = [tuple(mutated(chance)) for _ in range(100)]
        for command, reply in zip(commands, wire.pipeline(*commands), strict=True):
            assert is_well_formed(reply), (command, reply)
            arrays += isinstance(reply, list)
        assert wire("PING") == Status("PONG")
    assert 20 < arrays < 900, "the mutations should leave some commands valid, but not most"
    server.wait_for_rest()
    live = server.live_objects()
    assert (live["tensors"], live["jobs"]) == (server.tensors_in_keyspace(), 0)
