"""The unchanged PyPI client ``redisai``, with two real networks whose outputs
must equal those of onnxruntime called directly."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import redis
import redisai

import models
from harness import Server
from packaged import packaged_file

pytestmark = pytest.mark.e2e


SILERO = ["output", "stateN"]
PROVIDERS = {"CPU": "CPUExecutionProvider", "GPU": "CUDAExecutionProvider"}
RATE = np.array(16000, np.int64)


@pytest.fixture(scope="module")
def silero() -> bytes:
    return packaged_file("silero_vad", "data/silero_vad.onnx").read_bytes()


@pytest.fixture(scope="module")
def magika() -> bytes:
    return packaged_file("magika", "models/*/model.onnx").read_bytes()


@pytest.fixture(params=["CPU", "GPU"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "GPU" and PROVIDERS["GPU"] not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime knows no GPU")
    return request.param


def session_of(blob: bytes, device: str = "CPU") -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(blob, providers=[PROVIDERS[device]])


def speech(chunks: int, batch: int = 1) -> np.ndarray:
    """Chunks of something like a voice: harmonics that come and go."""
    time = np.arange(chunks * 512) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * harmonic * time) / harmonic for harmonic in range(1, 12))
    wave = 0.2 * voice * (np.sin(2 * np.pi * 3 * time) > 0)
    return np.tile(wave.astype(np.float32).reshape(chunks, 1, 512), (1, batch, 1))


def test_silero_vad_with_its_state_kept_on_the_server(con: redisai.Client, silero: bytes, device: str) -> None:
    assert con.modelstore("vad", "ONNX", device, silero, tag="v6") == "OK"
    con.tensorset("state", np.zeros((2, 1, 128), np.float32))
    con.tensorset("rate", RATE)
    session = session_of(silero, device)
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, 64), np.float32)
    probabilities = []
    for chunk in speech(20):
        window = np.concatenate([context, chunk], axis=1)
        context = chunk[:, -64:]
        con.tensorset("chunk", window)
        assert con.modelexecute("vad", ["chunk", "state", "rate"], ["probability", "state"]) == "OK"
        expected, state = session.run(SILERO, {"input": window, "state": state, "sr": RATE})
        np.testing.assert_allclose(con.tensorget("probability"), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(con.tensorget("state"), state, rtol=1e-4, atol=1e-5)
        probabilities.append(float(expected[0, 0]))
    assert con.tensorget("rate", meta_only=True) == {"dtype": "INT64", "shape": []}
    assert max(probabilities) - min(probabilities) > 0.01, "the network saw a difference"
    assert con.infoget("vad")["calls"] == 20


def test_magika_one_by_one_and_in_a_batch(con: redisai.Client, magika: bytes, device: str) -> None:
    session = session_of(magika, device)
    rows = np.random.default_rng(3).integers(0, 256, (8, 2048)).astype(np.int32)
    rows[1, :] = 256
    rows[2, :17] = list(b"import numpy as n")
    expected = session.run(["target_label"], {"bytes": rows})[0]
    assert con.modelstore("magika", "ONNX", device, magika, batch=8, minbatch=1) == "OK"
    con.tensorset("rows", rows)
    con.modelexecute("magika", "rows", "labels")
    labels = con.tensorget("labels")
    assert labels.shape == (8, 214)
    np.testing.assert_allclose(labels, expected, rtol=1e-3, atol=1e-5)  # cores add in other orders
    for number in range(3):
        row = rows[number : number + 1]
        con.tensorset("row", row)
        con.modelexecute("magika", ["row"], ["label"])
        (alone,) = session.run(["target_label"], {"bytes": row})
        np.testing.assert_allclose(con.tensorget("label"), alone, rtol=1e-4, atol=1e-6)
    info = con.infoget("magika")
    assert (info["calls"], info["errors"], info["samples"]) == (4, 0, 11)


def test_both_networks_survive_a_restart(server: Server, con: redisai.Client, silero: bytes, magika: bytes) -> None:
    con.modelstore("vad", "ONNX", "CPU", silero, tag="a")
    con.modelstore("magika", "ONNX", "CPU", magika, tag="b")
    con.execute_command("DEBUG", "RELOAD")
    assert con.modelget("vad")["blob"] == silero
    assert con.modelget("magika")["blob"] == magika
    row = np.zeros((1, 2048), np.int32)
    con.tensorset("row", row)
    con.modelexecute("magika", ["row"], ["label"])
    expected = session_of(magika).run(None, {"bytes": row})[0]
    np.testing.assert_allclose(con.tensorget("label"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "bool"])
def test_numeric_arrays(con: redisai.Client, dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 4, 100]]).astype(dtype)
    assert con.tensorset("t", array) == "OK"
    returned = con.tensorget("t")
    assert returned.dtype == array.dtype
    np.testing.assert_array_equal(returned, array)
    values = con.tensorget("t", as_numpy=False)
    assert values["shape"] == [2, 3]
    assert values["values"] == array.ravel().tolist()


def test_mutable_arrays(con: redisai.Client) -> None:
    con.tensorset("t", np.array([1, 2], np.float32))
    with pytest.raises(ValueError, match="read-only"):
        con.tensorget("t")[0] = 5


@pytest.mark.parametrize("dtype", ["uint32", "uint64"])
def test_dtypes_that_redisai_did_not_have(con: redisai.Client, dtype: str) -> None:
    array = np.array([1, np.iinfo(dtype).max], dtype)
    con.tensorset("t", array)
    found = con.tensorget("t")
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_lists_of_values(con: redisai.Client) -> None:
    con.tensorset("t", [1.5, -2, 3], dtype="float")
    assert con.tensorget("t").tolist() == [1.5, -2, 3]
    con.tensorset("t", [1, -2, 3, -4], shape=[2, 2], dtype="int64")
    assert con.tensorget("t").tolist() == [[1, -2], [3, -4]]
    assert con.tensorget("t", meta_only=True) == {"dtype": "INT64", "shape": [2, 2]}
    assert con.tensorget("t", as_numpy=False) == {"dtype": "INT64", "shape": [2, 2], "values": [1, -2, 3, -4]}
    con.tensorset("b", [1, 0], dtype="bool")
    assert con.tensorget("b").tolist() == [True, False]


def test_strings(con: redisai.Client) -> None:
    array = np.array([["one", "zwölf"], ["", "three words here"]])
    assert con.tensorset("t", array) == "OK"
    assert con.tensorget("t").tolist() == array.tolist()
    con.tensorset("u", ["a", "bc"], dtype="str")
    assert con.tensorget("u", as_numpy=False)["values"] == ["a", "bc"]
    assert con.modelstore("m", "ONNX", "CPU", models.identity("STRING")) == "OK"
    con.modelexecute("m", "t", "same")
    assert con.tensorget("same").tolist() == array.tolist()


def test_booleans_through_a_model(con: redisai.Client) -> None:
    array = np.array([[True, False], [False, False]])
    con.modelstore("m", "onnx", "cpu", models.identity("BOOL"))
    con.tensorset("t", array)
    con.modelexecute("m", ["t"], ["same"])
    np.testing.assert_array_equal(con.tensorget("same"), array)


def test_modelget(con: redisai.Client) -> None:
    blob = models.two_outputs()
    con.modelstore("m", "ONNX", "CPU", blob, batch=10, minbatch=2, minbatchtimeout=30, tag="v1")
    meta = {
        "backend": "ONNX",
        "device": "CPU",
        "tag": "v1",
        "batchsize": 10,
        "minbatchsize": 2,
        "inputs": ["a", "b"],
        "outputs": ["sum", "difference"],
        "minbatchtimeout": 30,
    }
    assert con.modelget("m", meta_only=True) == meta
    assert con.modelget("m") == {**meta, "blob": blob}


def test_modeldel_and_modelscan(con: redisai.Client) -> None:
    con.modelstore("m", "ONNX", "CPU", models.multiply(), tag="v1")
    con.modelstore("n", "ONNX", "CPU", models.multiply())
    assert sorted(con.modelscan()) == [["m", "v1"], ["n", ""]]
    assert con.modeldel("m") == "OK"
    assert con.modelscan() == [["n", ""]]
    with pytest.raises(redis.ResponseError, match="^model key is empty$"):
        con.modelget("m")


def test_infoget_and_inforeset(con: redisai.Client) -> None:
    con.modelstore("m", "ONNX", "CPU", models.linear(), tag="v1")
    con.tensorset("x", np.ones((5, 4), np.float32))
    for _ in range(3):
        con.modelexecute("m", "x", "y", timeout=60_000)
    info = con.infoget("m")
    assert info.pop("duration") > 0
    assert info == {
        "key": "m",
        "type": "MODEL",
        "backend": "ONNX",
        "device": "CPU",
        "tag": "v1",
        "samples": 15,
        "calls": 3,
        "errors": 0,
    }
    assert con.inforeset("m") == "OK"
    assert con.infoget("m")["calls"] == 0
    with pytest.raises(redis.ResponseError, match="^cannot find run info for key$"):
        con.infoget("x")


def test_config_and_a_model_in_chunks(con: redisai.Client) -> None:
    default = con.config("MODEL_CHUNK_SIZE")
    blob = models.linear()
    try:
        assert con.config("MODEL_CHUNK_SIZE", 50) == "OK"
        assert con.config("MODEL_CHUNK_SIZE") == 50
        assert con.modelstore("m", "ONNX", "CPU", blob) == "OK"
        assert b"".join(con.modelget("m")["blob"]) == blob
    finally:
        con.config("MODEL_CHUNK_SIZE", default)
    assert con.modelget("m")["blob"] == blob
    assert con.config("NO_SUCH_OPTION") is None


@pytest.mark.parametrize("transaction", [True, False])
def test_pipeline(con: redisai.Client, transaction: bool) -> None:
    array = np.array([[1, 2], [3, 4]], np.float32)
    pipe = con.pipeline(transaction=transaction)
    pipe = pipe.tensorset("t", array)
    pipe = pipe.set("native", 1)
    pipe = pipe.tensorget("t")
    pipe = pipe.tensorget("t", meta_only=True)
    stored, native, returned, meta = pipe.execute()
    assert (stored, native) == (b"OK", True)
    np.testing.assert_array_equal(returned, array)
    assert meta == {"dtype": "FLOAT", "shape": [2, 2]}


def test_errors_reach_the_caller_without_their_prefix(con: redisai.Client) -> None:
    con.modelstore("m", "ONNX", "CPU", models.multiply())
    con.tensorset("x", np.ones(2, np.float32))
    with pytest.raises(redis.ResponseError, match="^Number of keys given as INPUTS here does not match model"):
        con.modelexecute("m", ["x"], ["y"])
    with pytest.raises(redis.ResponseError, match="^tensor key is empty or in a different shard$"):
        con.modelexecute("m", ["x", "absent"], ["y"])
    with pytest.raises(redis.ResponseError, match="^unsupported backend$"):
        con.execute_command("AI.MODELSTORE", "m", "CAFFE", "CPU", "BLOB", "x")


def test_timeout(con: redisai.Client, server: Server) -> None:
    con.modelstore("m", "ONNX", "CPU", models.batch_size(), batch=4, minbatch=4)
    con.tensorset("x", np.ones((1, 1), np.float32))
    assert con.modelexecute("m", "x", "y", timeout=50) == "TIMEDOUT"
    assert con.exists("y") == 0
