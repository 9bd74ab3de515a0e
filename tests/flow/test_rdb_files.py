"""RDB files as people have them today: every encoding opens, and is written again as RedisAI 1.2.7 does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import models
import tensorflow_models
import torch_models
from harness import OK, RedisBinary, Server, Wire, as_dict, assert_tensor, get, put
from harness import payload as rdb
from harness.tensors import DTYPES, SAMPLES, blob_of

Servers = Callable[..., Server]

SOURCE = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0] * 2\n"
BEST_EFFORT = "def total(a, b):\n    return a + b\n"
TWO = models.two_outputs()
TORCH = torch_models.traced(torch_models.nn.Linear(4, 3), torch_models.torch.ones(1, 4))
TF = tensorflow_models.two_outputs()
TF_NAMES = {"inputs": ["a", "b"], "outputs": ["sum", "difference"]}
BATCH = (8, 2, 50)


def file_of_version(version: int) -> dict[str, bytes]:
    """What a server of the release that wrote this encoding saved."""
    values = {}
    for dtype in DTYPES:
        if (dtype == "STRING" and version < 4) or (dtype == "BOOL" and version < 3):
            continue
        array = SAMPLES[dtype]
        offsets = [0, 1, 3, 10] if dtype == "STRING" else []
        values[f"tensor:{dtype}"] = rdb.tensor(version, dtype, array.shape, blob_of(array), offsets)
    values["scalar"] = rdb.tensor(version, "FLOAT", [], np.float32(3).tobytes())
    names = {"inputs": ["a", "b"], "outputs": ["sum", "difference"]} if version >= 2 else {}
    values["onnx"] = rdb.model(version, TWO, tag="v1", batch=BATCH, **names)
    values["torch"] = rdb.model(version, TORCH, backend=rdb.TORCH, inputs=[] if version < 2 else ["x"], outputs=[""])
    values["tf"] = rdb.model(version, TF, backend=rdb.TF, **TF_NAMES)
    values["script"] = rdb.script(version, SOURCE, tag="s", entry_points=["f"] if version >= 3 else [])
    values["best effort"] = rdb.script(version, BEST_EFFORT, device="cpu")
    return values


def start_from(make_server: Servers, values: dict[str, bytes], **options: object) -> Server:
    server = make_server(start=False, rdbcompression="no", **options)
    server.directory.mkdir(parents=True)
    (server.directory / "dump.rdb").write_bytes(rdb.rdb_file(values))
    return server.start()


def check_tensors(wire: Wire, version: int) -> None:
    for dtype in DTYPES:
        if wire("EXISTS", f"tensor:{dtype}"):
            assert_tensor(wire, f"tensor:{dtype}", SAMPLES[dtype])
    assert wire("EXISTS", "tensor:STRING") == (version == 4)
    assert_tensor(wire, "scalar", np.float32(3))


def check_models(wire: Wire, version: int) -> None:
    put(wire, "pair", np.array([3, 4], np.float32))
    assert wire("AI.MODELEXECUTE", "onnx", "INPUTS", 2, "pair", "pair", "OUTPUTS", 2, "y", "z") == OK
    assert_tensor(wire, "y", np.array([6, 8], np.float32))
    fields = as_dict(wire("AI.MODELGET", "onnx"))
    assert (fields["tag"], fields["batchsize"], fields["minbatchsize"]) == (b"v1", 8, 2)
    assert fields["minbatchtimeout"] == (50 if version >= 2 else 0)
    assert (fields["inputs"], fields["outputs"]) == ([b"a", b"b"], [b"sum", b"difference"])
    put(wire, "row", np.ones((1, 4), np.float32))
    assert wire("AI.MODELEXECUTE", "torch", "INPUTS", 1, "row", "OUTPUTS", 1, "y") == OK
    assert get(wire, "y").shape == (1, 3)
    put(wire, "square", np.array([[1, 2], [3, 4]], np.float32))
    assert wire("AI.MODELEXECUTE", "tf", "INPUTS", 2, "square", "square", "OUTPUTS", 2, "y", "z") == OK


def check_scripts(wire: Wire, version: int) -> None:
    put(wire, "x", np.array([1, 2], np.float32))
    if version >= 3:
        assert wire("AI.SCRIPTEXECUTE", "script", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        assert_tensor(wire, "y", np.array([2, 4], np.float32))
    assert wire("AI.SCRIPTRUN", "best effort", "total", "INPUTS", "x", "x", "OUTPUTS", "y") == OK
    assert_tensor(wire, "y", np.array([2, 4], np.float32))
    fields = as_dict(wire("AI.SCRIPTGET", "script"))
    assert (fields["tag"], fields["source"]) == (b"s", SOURCE.encode())
    assert fields["Entry Points"] == ([b"f"] if version >= 3 else [])


def as_written_now(version: int) -> dict[str, bytes]:
    """The same values in encoding 4: names that a file does not have come from the model, other fields are empty."""
    values = file_of_version(4)
    for key in ("tensor:STRING", "tensor:BOOL"):
        if key not in file_of_version(version):
            del values[key]
    timeout = BATCH[2] if version >= 2 else 0
    values["onnx"] = rdb.model(
        4, TWO, tag="v1", batch=(8, 2, timeout), inputs=["a", "b"], outputs=["sum", "difference"]
    )
    values["script"] = rdb.script(4, SOURCE, tag="s", entry_points=["f"] if version >= 3 else [])
    return values


@pytest.mark.parametrize("version", range(5))
def test_a_file_of_every_release_works_and_is_saved_as_encoding_4(make_server: Servers, version: int) -> None:
    """Byte for byte; the names of the TORCH model are its own, whatever the file said."""
    server = start_from(make_server, file_of_version(version))
    expected = as_written_now(version)
    with server.wire() as wire:
        check_tensors(wire, version)
        check_models(wire, version)  # from here on all names are known
        check_scripts(wire, version)
        for key, payload in expected.items():
            if key != "torch":
                assert rdb.body_of(wire("DUMP", key)) == rdb.body_of(payload), key
        assert wire("SAVE") == OK
    saved = (server.directory / "dump.rdb").read_bytes()
    for key, payload in expected.items():
        if key != "torch":
            assert rdb.body_of(payload)[1:] in saved, key


@pytest.mark.parametrize("size", [len(TWO), len(TWO) // 2, len(TWO) - 1, len(TWO) + 1, 7, 1])
def test_chunks_of_a_saved_model_are_those_of_redisai(make_server: Servers, size: int) -> None:
    """Also where the length is a multiple of MODEL_CHUNK_SIZE: then the last chunk is empty."""
    blob = TWO[: len(TWO) // 2 * 2]
    server = make_server("MODEL_CHUNK_SIZE", size, rdbcompression="no")
    expected = rdb.model(4, blob, chunk=size, tag="t", inputs=["a", "b"], outputs=["sum", "difference"])
    with server.wire() as wire:
        assert (
            wire("RESTORE", "m", 0, rdb.model(4, blob, tag="t", inputs=["a", "b"], outputs=["sum", "difference"])) == OK
        )
        assert rdb.body_of(wire("DUMP", "m")) == rdb.body_of(expected)
        reply = wire("AI.MODELGET", "m", "BLOB")
        assert reply == (rdb.chunks_of(blob, size) if size <= len(blob) else blob)
        assert wire("SAVE") == OK
    with server.restart().wire() as wire:
        assert rdb.body_of(wire("DUMP", "m")) == rdb.body_of(expected)


def test_a_file_without_checksum_and_with_another_database(make_server: Servers) -> None:
    server = make_server(start=False)
    server.directory.mkdir(parents=True)
    data = rdb.rdb_file(file_of_version(0), checksum=False).replace(b"\xfe\x00", b"\xfe\x03", 1)
    (server.directory / "dump.rdb").write_bytes(data)
    with server.start().wire(db=3) as wire:
        check_tensors(wire, 0)
        assert wire("AI._MODELSCAN") != []


def test_the_same_file_on_every_redis(redis_binary: RedisBinary, make_server: Servers) -> None:
    with start_from(make_server, file_of_version(2), binary=redis_binary).wire() as wire:
        check_tensors(wire, 2)
        check_models(wire, 2)
        check_scripts(wire, 2)
