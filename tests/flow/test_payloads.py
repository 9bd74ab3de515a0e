"""DUMP and RESTORE: every encoding version of tensors and models, and bad payloads."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, assert_tensor, put, wait_until
from harness import payload as rdb
from harness.tensors import DTYPES, NUMPY_TYPES, SAMPLES, blob_of

BAD_FORMAT = Error("ERR Bad data format")


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    """A server that does not compress strings, so that payloads can be compared."""
    return module_servers(rdbcompression="no")


FLOATS = np.array([1.0, -2.5, 3.0], np.float32)

# Payloads as RedisAI wrote them, with the tensor that they hold.
PUBLISHED = {
    "v4 FLOAT": (
        "0781008fd310d48e44040202022002010203050c0000803f000020c000004040000900d2ea047f45bb4f26",
        FLOATS,
    ),
    "v4 INT64 scalar": (
        "0781008fd310d48e440402000240400200050807000000000000000009003d1322624b511442",
        np.array(7, np.int64),
    ),
    "v4 BOOL": (
        "0781008fd310d48e4404020602080201020205020100000900a28695cf11834a45",
        np.array([True, False]),
    ),
    "v4 STRING": (
        "0781008fd310d48e440402070208020102020507686900796f21000200020300090053a90ad74192ce2c",
        np.array([b"hi", b"yo!"], object),
    ),
    "v0 FLOAT": (
        "0781008fd310d48e4400020102000220020202010201020302010200050c0000803f000020c00000404000090039afee4862719bb6",
        FLOATS,
    ),
    "v3 UINT8": (
        "0781008fd310d48e440302010281ffffffffffffffff02080201020102020202020202020201020005040102"
        "03040009007be3d58f22a23be9",
        np.array([[1, 2], [3, 4]], np.uint8),
    ),
}


def restore(wire: Wire, key: str, payload: bytes) -> object:
    return wire("RESTORE", key, 0, payload)


@pytest.mark.parametrize(("payload", "array"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_published_payloads_restore(wire: Wire, payload: str, array: np.ndarray) -> None:
    assert restore(wire, "k", bytes.fromhex(payload)) == OK
    assert_tensor(wire, "k", array)


@pytest.mark.parametrize(
    ("payload", "array"),
    [entry for name, entry in PUBLISHED.items() if name.startswith("v4")],
    ids=[name for name in PUBLISHED if name.startswith("v4")],
)
def test_dump_is_the_published_payload(wire: Wire, payload: str, array: np.ndarray) -> None:
    put(wire, "k", array)
    assert rdb.body_of(wire("DUMP", "k")) == rdb.body_of(bytes.fromhex(payload))


def string_offsets(array: np.ndarray) -> list[int]:
    offsets, position = [], 0
    for element in array.ravel():
        offsets.append(position)
        position += len(element) + 1
    return offsets


def as_payload(version: int, dtype: str, array: np.ndarray) -> bytes:
    offsets = string_offsets(array) if dtype == "STRING" else []
    return rdb.tensor(version, dtype, array.shape, blob_of(array), offsets)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", [False, True], ids=["matrix", "scalar"])
def test_current_encoding_of_every_dtype(wire: Wire, dtype: str, scalar: bool) -> None:
    array = SAMPLES[dtype][1, 1].reshape(()) if scalar and dtype != "STRING" else SAMPLES[dtype]
    if scalar and dtype == "STRING":
        array = np.array(b"one", object)
    put(wire, "k", array)
    dump = wire("DUMP", "k")
    assert rdb.body_of(dump) == rdb.body_of(as_payload(4, dtype, array))
    assert restore(wire, "other", dump) == OK
    assert_tensor(wire, "other", array)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", NUMPY_TYPES)
@pytest.mark.parametrize("scalar", [False, True], ids=["matrix", "scalar"])
def test_older_encodings_of_every_dtype(wire: Wire, version: int, dtype: str, scalar: bool) -> None:
    array = SAMPLES[dtype][1, 1].reshape(()) if scalar else SAMPLES[dtype]
    assert restore(wire, "k", as_payload(version, dtype, array)) == OK
    assert_tensor(wire, "k", array)


FLOAT3 = struct.pack("<3f", 1, 2, 3)
BAD_TENSORS = {
    "data too short": rdb.tensor(4, "FLOAT", [3], FLOAT3[:-1]),
    "data too long": rdb.tensor(4, "FLOAT", [3], FLOAT3 + b"\0"),
    "no data": rdb.tensor(4, "FLOAT", [3], b""),
    "old data too short": rdb.tensor(2, "FLOAT", [3], FLOAT3[:-1]),
    "negative dim": rdb.tensor(4, "FLOAT", [-3], FLOAT3),
    "overflowing dims": rdb.tensor(4, "INT8", [2**32, 2**32], b""),
    "overflowing bytes": rdb.tensor(4, "DOUBLE", [2**61], b""),
    "negative rank": rdb.module_value(rdb.TENSOR, 4, [2, 32, -1, FLOAT3]),
    "huge rank": rdb.module_value(rdb.TENSOR, 4, [2, 32, 2**62, 3, FLOAT3]),
    "rank beyond the items": rdb.module_value(rdb.TENSOR, 4, [2, 32, 2, 3, FLOAT3]),
    "unknown code": rdb.module_value(rdb.TENSOR, 4, [3, 32, 1, 3, FLOAT3]),
    "unknown bits": rdb.module_value(rdb.TENSOR, 4, [2, 24, 1, 3, FLOAT3[:9]]),
    "unsigned 128": rdb.module_value(rdb.TENSOR, 4, [1, 128, 1, 3, 4 * FLOAT3]),
    "GPU tensor": rdb.module_value(rdb.TENSOR, 2, [2, 0, 32, 2, 1, 1, 3, 1, 0, FLOAT3]),
    "a string for a number": rdb.module_value(rdb.TENSOR, 4, [b"2", 32, 1, 3, FLOAT3]),
    "a number for a string": rdb.module_value(rdb.TENSOR, 4, [2, 32, 1, 3, 12]),
    "nothing": rdb.module_value(rdb.TENSOR, 4, []),
    "offset beyond the data": rdb.tensor(4, "STRING", [2], b"a\0b\0", [0, 40]),
    "offset inside a string": rdb.tensor(4, "STRING", [2], b"ab\0c\0", [0, 1]),
    "negative offset": rdb.tensor(4, "STRING", [2], b"a\0b\0", [0, -2]),
    "offsets missing": rdb.tensor(4, "STRING", [2], b"a\0b\0"),
    "strings without end": rdb.tensor(4, "STRING", [2], b"a\0b", [0, 2]),
    "too few strings": rdb.tensor(4, "STRING", [3], b"a\0b\0", [0, 2, 2]),
    "too many items": rdb.module_value(rdb.TENSOR, 4, [2, 32, 1, 3, FLOAT3, 7]),
}


@pytest.mark.parametrize("payload", BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_bad_tensor_payloads_are_refused(wire: Wire, payload: bytes) -> None:
    assert restore(wire, "k", payload) == BAD_FORMAT
    assert wire("EXISTS", "k") == 0


def test_refused_payload_is_explained_in_the_log(server: Server, wire: Wire) -> None:
    restore(wire, "k", BAD_TENSORS["data too short"])
    assert "Experienced a short read while reading a tensor from RDB" in server.log


@pytest.mark.parametrize(("type_id", "name"), [(rdb.TENSOR, "tensor"), (rdb.MODEL, "model")])
@pytest.mark.parametrize("version", [5, 1023])
def test_encodings_of_the_future_are_refused(server: Server, wire: Wire, type_id: int, name: str, version: int) -> None:
    assert restore(wire, "k", rdb.module_value(type_id, version, [2, 32, 1, 3, FLOAT3])) == BAD_FORMAT
    assert re.search(rf"Failed loading {name}, RedisAI version \(\d+\) is not forward compatible\.", server.log)


BLOB = models.two_outputs()
NAMES = {"inputs": ["a", "b"], "outputs": ["sum", "difference"]}


def model_meta(wire: Wire, key: str) -> dict[str, object]:
    return as_dict(wire("AI.MODELGET", key))


def execute_two(wire: Wire, key: str) -> object:
    put(wire, "a", np.array([3, 4], np.float32))
    reply = wire("AI.MODELEXECUTE", key, "INPUTS", 2, "a", "a", "OUTPUTS", 2, "c", "d")
    if reply == OK:
        assert_tensor(wire, "c", np.array([6, 8], np.float32))
        assert_tensor(wire, "d", np.array([0, 0], np.float32))
    return reply


@pytest.mark.parametrize("names", [NAMES, {}], ids=["names", "no names"])
@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_every_encoding_of_a_model(wire: Wire, version: int, names: dict[str, list[str]]) -> None:
    payload = rdb.model(version, BLOB, device="Cpu", tag="v1", batch=(2, 2, 50), **names)
    assert restore(wire, "m", payload) == OK
    assert execute_two(wire, "m") == OK
    assert model_meta(wire, "m") == {
        "backend": b"ONNX",
        "device": b"Cpu",
        "tag": b"v1",
        "batchsize": 2,
        "minbatchsize": 2,
        "inputs": [b"a", b"b"],
        "outputs": [b"sum", b"difference"],
        "minbatchtimeout": 50 if version >= 2 else 0,
        "blob": BLOB,
    }
    assert wire("AI._MODELSCAN") == [[b"m", b"v1"]]


def test_an_execution_right_after_restore_waits_for_the_model(wire: Wire) -> None:
    for round_ in range(5):
        assert restore(wire, f"m{round_}", rdb.model(0, BLOB)) == OK
        assert execute_two(wire, f"m{round_}") == OK


@pytest.mark.parametrize("chunk", [1, 50, len(BLOB)])
def test_chunks_of_any_size_are_joined(wire: Wire, chunk: int) -> None:
    assert restore(wire, "m", rdb.model(4, BLOB, chunk=chunk, **NAMES)) == OK
    assert wire("AI.MODELGET", "m", "BLOB") == BLOB
    assert execute_two(wire, "m") == OK


@pytest.mark.parametrize("tag", ["", "v1"])
def test_dump_of_a_model_is_the_documented_layout(wire: Wire, tag: str) -> None:
    options = ("TAG", tag, "BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50)
    assert wire("AI.MODELSTORE", "m", "ONNX", "cpu", *options, "BLOB", BLOB) == OK
    expected = rdb.model(4, BLOB, device="cpu", tag=tag, batch=(8, 2, 50), **NAMES)
    assert rdb.body_of(wire("DUMP", "m")) == rdb.body_of(expected)


@pytest.fixture
def small_chunks(wire: Wire) -> Iterator[int]:
    default = wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE")
    wire("AI.CONFIG", "MODEL_CHUNK_SIZE", 40)
    yield 40
    wire("AI.CONFIG", "MODEL_CHUNK_SIZE", default)


def test_a_long_blob_is_dumped_in_chunks(wire: Wire, small_chunks: int) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", BLOB) == OK
    dump = wire("DUMP", "m")
    assert rdb.item(len(BLOB)) + rdb.item(len(BLOB) // small_chunks + 1) + rdb.item(BLOB[:small_chunks]) in dump
    assert restore(wire, "n", dump) == OK
    assert b"".join(wire("AI.MODELGET", "n", "BLOB")) == BLOB


BAD_MODELS = {
    "huge number of chunks": [rdb.ONNX, b"CPU\0", b"", 0, 0, 0, 0, 0, len(BLOB), 2**62, BLOB],
    "chunks missing": [rdb.ONNX, b"CPU\0", b"", 0, 0, 0, 0, 0, len(BLOB), 2, BLOB],
    "unknown backend": [9, b"CPU\0", b"", 0, 0, 0, 0, 0, len(BLOB), 1, BLOB],
    "huge number of inputs": [rdb.ONNX, b"CPU\0", b"", 0, 0, 0, 2**62, 0, len(BLOB), 1, BLOB],
    "nothing after the device": [rdb.ONNX, b"CPU\0"],
    "nothing": [],
}


@pytest.mark.parametrize("items", BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_bad_model_payloads_are_refused(server: Server, wire: Wire, items: list[int | bytes]) -> None:
    assert restore(wire, "m", rdb.module_value(rdb.MODEL, 4, items)) == BAD_FORMAT
    assert wire("EXISTS", "m") == 0
    assert wire("AI._MODELSCAN") == []
    assert "Experienced a short read while reading a model from RDB" in server.log


@pytest.mark.parametrize("length", [len(BLOB) + 1, len(BLOB) - 1, 2**62, 0])
def test_a_wrong_total_length_is_refused_or_ignored(wire: Wire, length: int) -> None:
    items: list[int | bytes] = [rdb.ONNX, b"CPU\0", b"", 0, 0, 0, 0, 0, length, 1, BLOB]
    if restore(wire, "m", rdb.module_value(rdb.MODEL, 4, items)) != BAD_FORMAT:
        assert wire("AI.MODELGET", "m", "BLOB") == BLOB
        assert execute_two(wire, "m") == OK


NO_MODEL = b"bytes that no framework takes"
BROKEN = {
    "no model": rdb.model(4, NO_MODEL, tag="t", inputs=["a", "b"], outputs=["sum", "difference"]),
    "no framework": rdb.model(4, NO_MODEL, backend=0, tag="t", inputs=["a", "b"], outputs=["sum", "difference"]),
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN.keys())
def test_a_model_that_does_not_compile_keeps_its_bytes_and_answers_with_the_error(wire: Wire, payload: bytes) -> None:
    assert restore(wire, "m", payload) == OK
    error = execute_two(wire, "m")
    assert isinstance(error, Error)
    assert "does not match model definition" not in error.text
    assert wire("AI.MODELGET", "m", "BLOB") == NO_MODEL
    assert wire("AI.MODELGET", "m", "META")[4:6] == [b"tag", b"t"]
    assert rdb.body_of(wire("DUMP", "m")) == rdb.body_of(payload)
    assert execute_two(wire, "m") == error


@pytest.mark.parametrize("kind", ["tensor", "model"])
def test_every_truncation_is_refused_without_harm(wire: Wire, kind: str) -> None:
    if kind == "tensor":
        body = rdb.body_of(rdb.tensor(4, "STRING", [2, 1], b"hi\0yo!\0", [0, 3]))
    else:
        body = rdb.body_of(rdb.model(4, BLOB, tag="t", batch=(8, 2, 5), chunk=40, **NAMES))
    footer = 10  # Redis reads on into the footer, whose bytes may happen to complete the value
    for length in range(1, len(body)):
        reply = restore(wire, "k", rdb.sealed(body[:length]))
        assert isinstance(reply, Error) or length >= len(body) - footer, length
        wire("DEL", "k")
    assert restore(wire, "k", rdb.sealed(body)) == OK


@pytest.mark.parametrize("kind", ["tensor", "model"])
def test_damaged_bytes_never_harm_the_server(server: Server, wire: Wire, kind: str) -> None:
    if kind == "tensor":
        body = rdb.body_of(rdb.tensor(4, "STRING", [2, 1], b"hi\0yo!\0", [0, 3]))
    else:
        body = rdb.body_of(rdb.model(4, BLOB, tag="t", batch=(8, 2, 5), chunk=40, **NAMES))
    identity = 10
    for position in range(identity, min(len(body), 90)):
        for damage in (0x01, 0x80, 0xFF):
            damaged = bytearray(body)
            damaged[position] ^= damage
            reply = restore(wire, "k", rdb.sealed(bytes(damaged)))
            assert reply == OK or isinstance(reply, Error)
            if reply == OK:
                wire("AI.TENSORGET", "k") if kind == "tensor" else wire("AI.MODELGET", "k")
                wire("AI.TENSORGET", "k", "VALUES")
                wire("DUMP", "k")
                wire("DEL", "k")
    wait_until(lambda: server.blocked_clients() == 0)


def test_restore_with_ttl_and_replace(wire: Wire) -> None:
    put(wire, "k", FLOATS)
    dump = wire("DUMP", "k")
    assert wire("RESTORE", "k", 0, dump).text.startswith("BUSYKEY")
    put(wire, "k", SAMPLES["INT8"])
    assert wire("RESTORE", "k", 100_000, dump, "REPLACE") == OK
    assert 0 < wire("PTTL", "k") <= 100_000
    assert_tensor(wire, "k", FLOATS)
