"""AI.MODELGET: fields, their order and types, and chunks of a long blob."""

from __future__ import annotations

import pytest

import models
from harness import OK, Error, Server, Wire, flat

BLOB = models.two_outputs()
META = [
    *(b"backend", b"ONNX"),
    *(b"device", b"cpu"),
    *(b"tag", b"v1"),
    *(b"batchsize", 8),
    *(b"minbatchsize", 4),
    *(b"inputs", [b"a", b"b"]),
    *(b"outputs", [b"sum", b"difference"]),
    *(b"minbatchtimeout", 50),
]
ALL = [*META, b"blob", BLOB]


@pytest.fixture(autouse=True)
def model(wire: Wire) -> None:
    options = ("TAG", "v1", "BATCHSIZE", 8, "MINBATCHSIZE", 4, "MINBATCHTIMEOUT", 50)
    assert wire("AI.MODELSTORE", "m", "ONNX", "cpu", *options, "BLOB", BLOB) == OK


@pytest.mark.parametrize("arguments", [(), ("m", "META", "BLOB", "BLOB")])
def test_wrong_number_of_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.MODELGET", *arguments) == server.arity_error("AI.MODELGET")


def test_missing_key(wire: Wire) -> None:
    assert wire("AI.MODELGET", "absent") == Error("ERR model key is empty")
    assert wire("AI.MODELGET", "absent", "JUNK") == Error("ERR model key is empty")


def test_key_of_another_type(wire: Wire) -> None:
    wire("SET", "k", "v")
    wire("AI.TENSORSET", "t", "FLOAT", 1)
    wrong_type = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert wire("AI.MODELGET", "k") == wrong_type
    assert wire("AI.MODELGET", "t", "META") == wrong_type
    assert wire("AI.TENSORGET", "m") == wrong_type


@pytest.mark.parametrize(
    ("options", "reply"),
    [
        ((), ALL),
        (("META",), META),
        (("meta",), META),
        (("BLOB",), BLOB),
        (("blob",), BLOB),
        (("META", "BLOB"), ALL),
        (("BLOB", "META"), ALL),
        (("META", "META"), META),
        (("JUNK",), ALL),
        (("JUNK", "META"), META),
        (("BLOB", "JUNK"), BLOB),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3])
def test_options(server: Server, wire: Wire, protocol: int, options: tuple[str, ...], reply: object) -> None:
    with server.wire(protocol=protocol) as connection:
        assert flat(connection("AI.MODELGET", "m", *options)) == reply


def test_tag_is_empty_when_none_was_given(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "untagged", "ONNX", "CPU", "BLOB", BLOB) == OK
    reply = wire("AI.MODELGET", "untagged", "META")
    assert reply[:10] == [b"backend", b"ONNX", b"device", b"CPU", b"tag", b"", b"batchsize", 0, b"minbatchsize", 0]
    assert reply[-2:] == [b"minbatchtimeout", 0]


@pytest.mark.parametrize("chunk_size", [10, 33, len(BLOB) - 1, len(BLOB), len(BLOB) + 1])
@pytest.mark.parametrize("stored_chunk", [7, 1000])
def test_blob_comes_in_chunks_of_the_configured_size(wire: Wire, chunk_size: int, stored_chunk: int) -> None:
    stored = [BLOB[start : start + stored_chunk] for start in range(0, len(BLOB), stored_chunk)]
    assert wire("AI.MODELSTORE", "chunked", "ONNX", "CPU", "BLOB", *stored) == OK
    default = wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE")
    try:
        assert wire("AI.CONFIG", "MODEL_CHUNK_SIZE", chunk_size) == OK
        count = len(BLOB) // chunk_size + 1
        chunks = [BLOB[n * chunk_size : (n + 1) * chunk_size] for n in range(count)]
        expected = chunks[0] if count == 1 else chunks
        assert wire("AI.MODELGET", "chunked", "BLOB") == expected
        assert wire("AI.MODELGET", "chunked")[-1] == expected
    finally:
        wire("AI.CONFIG", "MODEL_CHUNK_SIZE", default)
