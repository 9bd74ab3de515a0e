"""Random argument vectors: always exactly one reply, and a server that lives on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from harness import OK, Error, Server, Status, Wire, put
from harness import payload as rdb
from harness.tensors import DTYPES, SAMPLES

COMMANDS = [
    "AI.TENSORSET",
    "AI.TENSORGET",
    "AI.MODELSTORE",
    "AI.MODELGET",
    "AI.MODELDEL",
    "AI.MODELEXECUTE",
    "AI._MODELSCAN",
    "AI.INFO",
    "AI.CONFIG",
]
KEYS = ["model", "batched", "tensor", "string", "absent", "out", ""]
KEYWORDS = [
    *("META", "BLOB", "VALUES", "TAG", "BATCHSIZE", "MINBATCHSIZE", "MINBATCHTIMEOUT", "INPUTS", "OUTPUTS"),
    *("TIMEOUT", "RESETSTAT", "GET", "MODEL_CHUNK_SIZE", "ONNX", "TF", "TFLITE", "TORCH", "CPU", "GPU", "CPU:1"),
]
EXECUTE = ["AI.MODELEXECUTE", "model", "INPUTS", "1", "tensor", "OUTPUTS", "1", "out"]
TEMPLATES: list[list[str | bytes]] = [
    ["AI.TENSORSET", "out", "FLOAT", "2", "2", "VALUES", "1", "2", "3", "4"],
    ["AI.TENSORSET", "out", "STRING", "2", "BLOB", b"a\0b\0"],
    ["AI.TENSORGET", "tensor", "META", "VALUES"],
    ["AI.MODELSTORE", "out", "ONNX", "CPU", "TAG", "t", "BATCHSIZE", "2", "BLOB", models.identity()],
    ["AI.MODELSTORE", "out", "TF", "CPU", "INPUTS", "1", "a", "OUTPUTS", "1", "b", "BLOB", "x"],
    ["AI.MODELGET", "model", "META", "BLOB"],
    [*EXECUTE],
    [*EXECUTE, "TIMEOUT", "1000"],
    ["AI.INFO", "model", "RESETSTAT"],
    ["AI.CONFIG", "GET", "MODEL_CHUNK_SIZE"],
]

numbers = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1]),
    st.floats(),
).map(lambda number: str(number).encode())
junk = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"\0", b"BLOB\0", b"\xff" * 8, b"a\r\nb", b"%s%n", b"1" * 400, b"x" * 100_000, b" 1", b"+1"]),
)
words = st.one_of(
    st.sampled_from([word.encode() for word in (*KEYS, *KEYWORDS, *DTYPES)]),
    st.sampled_from([word.lower().encode() for word in KEYWORDS]),
    numbers,
    junk,
    st.just(models.identity()),
)
random_vectors = st.tuples(st.sampled_from(COMMANDS), st.lists(words, max_size=14)).map(
    lambda drawn: [drawn[0].encode(), *drawn[1]]
)


@st.composite
def mutated_templates(draw: st.DrawFn) -> list[bytes]:
    """A valid command with a few arguments replaced, dropped, doubled or added."""
    template = draw(st.sampled_from(TEMPLATES))
    vector = [word if isinstance(word, bytes) else word.encode() for word in template]
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(1, len(vector)))
        change = draw(st.sampled_from(["replace", "drop", "double", "insert", "cut"]))
        if change == "insert" or position >= len(vector):
            vector.insert(position, draw(words))
        elif change == "replace":
            vector[position] = draw(words)
        elif change == "drop":
            del vector[position]
        elif change == "double":
            vector.insert(position, vector[position])
        else:
            del vector[position:]
    return vector


def harmless(vector: list[bytes]) -> bool:
    """Not a request that may rightly take for ever, or change the server for the other examples."""
    upper = [word.upper() for word in vector]
    waits_for_company = b"MINBATCHSIZE" in upper
    changes_settings = upper[0] == b"AI.CONFIG" and len(upper) > 1 and upper[1] in (b"BACKENDSPATH", b"LOADBACKEND")
    return not waits_for_company and not changes_settings


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Wire]:
    with server.wire(timeout=20) as wire:
        yield wire


def prepare(wire: Wire) -> None:
    """The keys that the vectors speak of; most examples leave them as they are."""
    if wire("EXISTS", "model", "batched", "tensor", "string") == 4 and wire("TYPE", "model").text == "AI__MODEL":
        return
    wire("FLUSHALL")
    wire("SET", "string", "v")
    put(wire, "tensor", SAMPLES["FLOAT"])
    for key, options in (("model", ()), ("batched", ("BATCHSIZE", 4))):
        assert wire("AI.MODELSTORE", key, "ONNX", "CPU", *options, "BLOB", models.identity()) == OK


def one_reply(wire: Wire, vector: list[bytes]) -> object:
    prepare(wire)
    reply, pong = wire.pipeline(tuple(vector), ("PING",))
    assert pong == Status("PONG"), "exactly one reply"
    return reply


relaxed = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@settings(relaxed, max_examples=1500)
@given(random_vectors.filter(harmless))
def test_random_arguments(connection: Wire, vector: list[bytes]) -> None:
    one_reply(connection, vector)


@settings(relaxed, max_examples=2000)
@given(mutated_templates().filter(harmless))
def test_mutated_commands(connection: Wire, vector: list[bytes]) -> None:
    one_reply(connection, vector)


@settings(relaxed, max_examples=300)
@given(mutated_templates().filter(harmless))
def test_mutated_commands_in_transactions_and_lua(connection: Wire, vector: list[bytes]) -> None:
    prepare(connection)
    replies = connection.pipeline(("MULTI",), tuple(vector), ("EXEC",), ("PING",))
    assert replies[0] == OK
    assert isinstance(replies[2], list | Error)
    assert replies[3] == Status("PONG")
    prepare(connection)
    _, pong = connection.pipeline(("EVAL", "return redis.pcall(unpack(ARGV))", 0, *vector), ("PING",))
    assert pong == Status("PONG")


@settings(relaxed, max_examples=500)
@given(mutated_templates())
def test_getkeys_of_anything(connection: Wire, vector: list[bytes]) -> None:
    reply = connection("COMMAND", "GETKEYS", *vector)
    if isinstance(reply, Error):
        return
    assert reply
    assert set(reply) <= set(vector[1:])


@settings(relaxed, max_examples=800)
@given(st.lists(st.one_of(st.integers(-1, 2**64 - 1), st.integers(0, 70), st.binary(max_size=40)), max_size=14),
       st.sampled_from([rdb.TENSOR, rdb.MODEL]), st.integers(0, 4))  # fmt: skip
def test_random_values_from_rdb(connection: Wire, items: list[int | bytes], type_id: int, version: int) -> None:
    payload = rdb.module_value(type_id, version, items)
    reply, pong = connection.pipeline(("RESTORE", "restored", 0, payload, "REPLACE"), ("PING",))
    assert reply == OK or isinstance(reply, Error)
    assert pong == Status("PONG")


def test_the_server_works_after_all_that(server: Server, connection: Wire) -> None:
    connection("FLUSHALL")
    prepare(connection)
    put(connection, "tensor", np.array([1, 2], np.float32))
    assert connection(*EXECUTE) == OK
    assert connection("AI.TENSORGET", "out", "VALUES") == [b"1", b"2"]
    server.check_health()
