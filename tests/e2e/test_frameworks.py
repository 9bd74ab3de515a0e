"""The unchanged PyPI client ``redisai`` with models and scripts of PyTorch, TensorFlow and TFLite.

Results must equal those of the frameworks called directly.
"""

from __future__ import annotations

import subprocess
import threading

import numpy as np
import pytest
import redis
import redisai
import torch

import sentence_encoder
import tensorflow_models as tf_models
import torch_models
from harness import Server
from packaged import packaged_file
from transcripts import needs_redis_cli, redis_cli

pytestmark = pytest.mark.e2e

X = np.arange(8, dtype=np.float32).reshape(2, 4)
OFFSET = np.full((2, 2), 0.5, np.float32)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


# ---- PyTorch -----------------------------------------------------------------------------


def chunks_of_sound(count: int) -> np.ndarray:
    """Something that buzzes and stops, at 16 kHz."""
    time = np.arange(count * 512) / 16000
    buzz = sum(np.sin(2 * np.pi * 150 * harmonic * time) / harmonic for harmonic in range(1, 10))
    return (0.2 * buzz * (np.sin(2 * np.pi * 4 * time) > 0)).astype(np.float32).reshape(count, 1, 512)


@pytest.fixture(params=["CPU", "GPU"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "GPU" and not torch.cuda.is_available():
        pytest.skip("this PyTorch finds no GPU")
    return request.param


def on(device: str) -> torch.device:
    return torch.device("cuda" if device == "GPU" else "cpu")


def test_silero_vad_keeps_its_state_between_requests_and_begins_anew_after_a_restart(
    con: redisai.Client, device: str
) -> None:
    blob = packaged_file("silero_vad", "data/silero_vad.jit").read_bytes()
    assert con.modelstore("vad", "TORCH", device, blob, tag="v6") == "OK"
    con.tensorset("rate", np.array(16000, np.int64))
    sound = chunks_of_sound(20)
    for restarted in (False, True):
        if restarted:
            con.execute_command("DEBUG", "RELOAD")
            assert con.modelget("vad")["blob"] == blob
        model = torch_models.loaded(blob).to(on(device))
        probabilities = []
        for chunk in sound:
            con.tensorset("chunk", chunk)
            assert con.modelexecute("vad", ["chunk", "rate"], ["probability"]) == "OK"
            with torch.no_grad():
                expected = model(torch.from_numpy(chunk).to(on(device)), 16000).cpu().numpy()
            assert_close(con.tensorget("probability"), expected)
            probabilities.append(float(expected[0, 0]))
        assert max(probabilities) - min(probabilities) > 0.01, "the network saw a difference"
    assert con.infoget("vad")["calls"] == 20, "counted since the restart"


# The first two are known to have the cosine 0.7553 in this network.
SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The prices of shares fell on Monday.",
    "Shares lost value at the beginning of the week!",
    "Naïve cats, unbelievably, purr...",
    "Redis stores tensors",
]
WORDS = 16


def put_sentences(client: redisai.Client, sentences: list[str], length: int | None = None, suffix: str = "") -> None:
    ids, mask = sentence_encoder.tokenize(sentences, length)
    client.tensorset("ids" + suffix, ids)
    client.tensorset("mask" + suffix, mask)


def test_sentences_are_encoded_as_pytorch_does_it_and_make_sense(con: redisai.Client, device: str) -> None:
    assert con.modelstore("encoder", "TORCH", device, sentence_encoder.traced()) == "OK"
    put_sentences(con, SENTENCES)
    assert con.modelexecute("encoder", ["ids", "mask"], ["vectors"]) == "OK"
    vectors = con.tensorget("vectors")
    assert_close(vectors, sentence_encoder.encode(SENTENCES))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] == pytest.approx(0.7553, abs=1e-3)
    assert min(cosines[0, 1], cosines[2, 3]) > 0.5
    assert max(cosines[0, 2], cosines[0, 3], cosines[1, 2], cosines[1, 3]) < 0.2


def test_sentences_of_different_clients_in_one_batch(server: Server, con: redisai.Client, device: str) -> None:
    # Nothing runs before there are six rows.
    con.modelstore("encoder", "TORCH", device, sentence_encoder.traced(), batch=6, minbatch=6)
    expected = sentence_encoder.encode(SENTENCES)
    replies: list[str] = []

    def encode(number: int) -> None:
        with redisai.Client(host="127.0.0.1", port=server.port) as own:
            put_sentences(own, SENTENCES[number : number + 1], WORDS, str(number))
            replies.append(own.modelexecute("encoder", [f"ids{number}", f"mask{number}"], [f"vectors{number}"]))

    threads = [threading.Thread(target=encode, args=(number,)) for number in range(len(SENTENCES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert replies == ["OK"] * len(SENTENCES)
    for number in range(len(SENTENCES)):
        assert_close(con.tensorget(f"vectors{number}"), expected[number : number + 1])
    info = con.infoget("encoder")
    assert (info["calls"], info["samples"]) == (6, 6)


# ---- TensorFlow and TFLite ---------------------------------------------------------------


def test_a_graph_of_tensorflow(con: redisai.Client) -> None:
    blob = tf_models.two_outputs()
    names = {"inputs": ["a", "b"], "outputs": ["sum", "difference"]}
    assert con.modelstore("m", "TF", "CPU", blob, batch=4, minbatch=1, tag="v1", **names) == "OK"
    con.tensorset("x", X)
    con.tensorset("y", 2 * X)
    assert con.modelexecute("m", ["x", "y"], ["s", "d"]) == "OK"
    for name, expected in zip("sd", tf_models.run_graph(blob, {"a": X, "b": 2 * X}, names["outputs"]), strict=True):
        np.testing.assert_array_equal(con.tensorget(name), expected)
    got = con.modelget("m")
    assert (got["backend"], got["blob"], got["inputs"], got["outputs"]) == ("TF", blob, *names.values())


def test_strings_through_a_graph(con: redisai.Client) -> None:
    con.modelstore("m", "tf", "cpu", tf_models.string_lengths(), inputs="x", outputs=["y", "z", "s"])
    con.tensorset("words", np.array(["one", "", "zwölf"]))
    con.modelexecute("m", "words", ["lengths", "marked", "joined"])
    assert con.tensorget("lengths").tolist() == [3, 0, 6]
    assert con.tensorget("marked").tolist() == ["one!", "!", "zwölf!"]
    assert con.tensorget("joined", as_numpy=False)["values"] == ["one,,zwölf"]


def test_an_archive_of_a_saved_model_with_and_without_names(con: redisai.Client) -> None:
    files = tf_models.saved_model(tf_models.Affine)
    blob = tf_models.zipped(files)
    expected = tf_models.run_saved_model(files, {"offset": OFFSET, "x": X})
    con.tensorset("x", X)
    con.tensorset("offset", OFFSET)
    # The client does not send a TF model without names; this one has them inside.
    assert con.execute_command("AI.MODELSTORE", "bare", "TF", "CPU", "BLOB", blob) == b"OK"
    assert con.modelget("bare", meta_only=True)["inputs"] == ["offset", "x"]
    con.modelexecute("bare", ["offset", "x"], ["largest", "y"])
    assert_close(con.tensorget("largest"), expected["largest"])
    assert con.modelstore("named", "TF", "CPU", blob, inputs=["x", "offset"], outputs="y") == "OK"
    con.modelexecute("named", ["x", "offset"], ["z"])
    assert_close(con.tensorget("z"), expected["y"])
    with pytest.raises(redis.ResponseError, match='Input node named "q" not found'):
        con.modelstore("bad", "TF", "CPU", blob, inputs=["q"], outputs=["y"])


def test_a_keras_file(con: redisai.Client) -> None:
    blob = tf_models.zipped(tf_models.keras_files())
    assert con.modelstore("m", "TF", "CPU", blob, inputs=["left", "right"], outputs=["p", "q"]) == "OK"
    con.tensorset("left", X)
    con.tensorset("right", X + 1)
    con.modelexecute("m", ["left", "right"], ["p", "q"])
    for name, expected in zip("pq", tf_models.keras_model()([X, X + 1], training=False), strict=True):
        assert_close(con.tensorget(name), expected.numpy())


def test_a_tflite_model(con: redisai.Client) -> None:
    blob = tf_models.lite_linear()
    assert con.modelstore("m", "TFLITE", "CPU", blob, tag="lite") == "OK"
    for x in (X, X[:1]):
        con.tensorset("x", x)
        con.modelexecute("m", ["x"], ["first", "second"])
        for name, expected in zip(["first", "second"], tf_models.run_lite(blob, [x]), strict=True):
            assert_close(con.tensorget(name), expected)
    assert con.modelget("m")["blob"] == blob
    with pytest.raises(redis.ResponseError, match="^Number of keys given as INPUTS here does not match"):
        con.modelexecute("m", ["x", "x"], ["first", "second"])


@needs_redis_cli
def test_a_tflite_model_through_redis_cli(server: Server, con: redisai.Client) -> None:
    def cli(*arguments: str, stdin: bytes | None = None) -> list[bytes]:
        line = [str(redis_cli()), "-p", str(server.port), *(["-x"] if stdin is not None else []), *arguments]
        return subprocess.run(line, input=stdin or b"", capture_output=True, check=True, timeout=60).stdout.split()

    assert cli("AI.MODELSTORE", "m", "TFLITE", "CPU", "BLOB", stdin=tf_models.lite_multiply()) == [b"OK"]
    assert cli(*["AI.TENSORSET", "a", "FLOAT", "3", "VALUES", "1", "2", "3"]) == [b"OK"]
    assert cli(*["AI.TENSORSET", "b", "FLOAT", "3", "VALUES", "10", "20", "30"]) == [b"OK"]
    assert cli(*["AI.MODELEXECUTE", "m", "INPUTS", "2", "a", "b", "OUTPUTS", "1", "c"]) == [b"OK"]
    assert cli(*["AI.TENSORGET", "c", "VALUES"]) == [b"10", b"40", b"90"]
    assert con.modelscan() == [["m", ""]]


# ---- scripts -----------------------------------------------------------------------------

SOURCE = """
def scale(pixels):
    return pixels.float() / 255

def classify(tensors: List[Tensor], keys: List[str], args: List[str]):
    # Runs the model keys[0] on pixels, counts the classes in the hash keys[1]; args[0] is a prefix of its fields.
    scores = redisAI.model_execute(keys[0], [scale(tensors[0])], 1)[0]
    classes = scores.argmax(1)
    for number in range(classes.size(0)):
        redis.execute("HINCRBY", keys[1], args[0] + str(int(classes[number])), "1")
    return [torch.softmax(scores, 1), classes]
"""
PIXELS = np.array([[255, 0, 128, 3], [1, 2, 3, 4]], np.uint8)


def test_a_script_prepares_runs_a_tensorflow_model_and_counts(con: redisai.Client) -> None:
    blob = tf_models.linear()
    con.modelstore("{s}model", "TF", "CPU", blob, inputs="x", outputs="y")
    assert con.scriptstore("{s}script", "CPU", SOURCE, ["classify"], tag="v1") == "OK"
    con.tensorset("{s}pixels", PIXELS)
    for _ in range(2):
        reply = con.scriptexecute(
            "{s}script",
            "classify",
            keys=["{s}model", "{s}counts"],
            inputs=["{s}pixels"],
            args=["class "],
            outputs=["{s}scores", "{s}classes"],
            timeout=60_000,
        )
        assert reply == "OK"
    (scores,) = tf_models.run_graph(blob, {"x": PIXELS.astype(np.float32) / 255}, ["y"])
    assert_close(con.tensorget("{s}scores"), torch.softmax(torch.from_numpy(scores), 1).numpy())
    np.testing.assert_array_equal(con.tensorget("{s}classes"), scores.argmax(1))
    assert con.hgetall("{s}counts") == {b"class 2": b"4"}
    info = con.infoget("{s}script")
    assert (info["type"], info["calls"], info["errors"], info["samples"]) == ("SCRIPT", 2, 0, -1)
    con.modeldel("{s}model")
    with pytest.raises(redis.ResponseError, match="model key is empty"):
        con.scriptexecute("{s}script", "classify", ["{s}model", "{s}counts"], "{s}pixels", "x", ["{s}a", "{s}b"])


def test_scripts_are_listed_read_and_deleted(con: redisai.Client) -> None:
    con.scriptstore("s", "cpu", SOURCE, "classify", tag="v1")
    meta = {"device": "cpu", "tag": "v1", "entry points": [b"classify"]}
    assert con.scriptget("s", meta_only=True) == meta
    assert con.scriptget("s") == {**meta, "source": SOURCE}
    with pytest.warns(UserWarning, match="Experimental"):
        assert con.scriptscan() == [["s", "v1"]]
    assert con.scriptdel("s") == "OK"
    with pytest.raises(redis.ResponseError, match="^script key is empty$"):
        con.scriptget("s")


# ---- what is deprecated ------------------------------------------------------------------


def test_scriptset_and_scriptrun(con: redisai.Client) -> None:
    with pytest.deprecated_call():
        assert con.scriptset("s", "CPU", SOURCE, tag="old") == "OK"
    con.tensorset("pixels", PIXELS)
    with pytest.deprecated_call():
        assert con.scriptrun("s", "scale", ["pixels"], ["scaled"]) == "OK"
    assert_close(con.tensorget("scaled"), PIXELS.astype(np.float32) / 255)


MODELSET = {
    "TF": (tf_models.two_outputs, {"inputs": ["a", "b"], "outputs": ["sum", "difference"]}),
    "TORCH": (lambda: torch_models.saved(torch_models.Pair()), {}),
}


@pytest.mark.parametrize("backend", MODELSET)
def test_modelset_and_modelrun(con: redisai.Client, backend: str) -> None:
    make, names = MODELSET[backend]
    with pytest.deprecated_call():
        assert con.modelset("m", backend, "cpu", make(), batch=4, minbatch=1, tag="old", **names) == "OK"
    con.tensorset("x", X)
    con.tensorset("y", 3 * X)
    with pytest.deprecated_call():
        assert con.modelrun("m", ["x", "y"], ["s", "d"]) == "OK"
    np.testing.assert_array_equal(con.tensorget("s"), 4 * X)
    np.testing.assert_array_equal(con.tensorget("d"), -2 * X)
