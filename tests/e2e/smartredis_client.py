"""What SmartRedis' client does with a server, run by test_smartredis.py with the Python that has it.

``SSDB`` and ``SR_DB_TYPE`` in the environment say where. Argument: a directory with model.pt (y = x W + b), weight.npy
and bias.npy of it, and model.pb (c = a * b). Raises AssertionError, or ends without a word.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from smartredis import Client, Dataset
from smartredis.error import RedisReplyError, RedisRuntimeError

X = np.arange(12, dtype=np.float32).reshape(3, 4)
DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16")
SOURCE = """
def double(x):
    return 2 * x

def both(a, b):
    return a + b, a - b
"""


def thrice(x):  # whose source is sent
    return 3 * x


def tensors(client: Client) -> None:
    for dtype in DTYPES:
        client.put_tensor(dtype, X.astype(dtype))
        found = client.get_tensor(dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, X.astype(dtype))
    client.copy_tensor("float32", "copy")
    client.rename_tensor("copy", "renamed")
    assert (client.tensor_exists("copy"), client.tensor_exists("renamed")) == (False, True)
    np.testing.assert_array_equal(client.get_tensor("renamed"), X)
    client.delete_tensor("renamed")
    assert not client.key_exists("renamed")
    assert client.poll_tensor("float32", 10, 3)


def datasets(client: Client) -> None:
    dataset = Dataset("dataset")
    dataset.add_tensor("field", X)
    dataset.add_meta_scalar("time", 3.5)
    dataset.add_meta_string("unit", "m/s")
    client.put_dataset(dataset)
    client.copy_dataset("dataset", "copied")
    client.rename_dataset("copied", "renamed")
    client.delete_dataset("dataset")
    found = client.get_dataset("renamed")
    np.testing.assert_array_equal(found.get_tensor("field"), X)
    assert (found.get_meta_scalars("time"), found.get_meta_strings("unit")) == ([3.5], ["m/s"])
    client.append_to_list("datasets", found)
    (listed,) = client.get_datasets_from_list("datasets")
    np.testing.assert_array_equal(listed.get_tensor("field"), X)


def scripts(client: Client) -> None:
    client.put_tensor("x", X)
    client.set_script("script", SOURCE, device="CPU")
    assert client.get_script("script") == SOURCE
    client.run_script("script", "double", ["x"], ["doubled"])
    np.testing.assert_array_equal(client.get_tensor("doubled"), 2 * X)
    client.run_script("script", "both", ["x", "doubled"], ["sum", "difference"])
    np.testing.assert_array_equal(client.get_tensor("sum"), 3 * X)
    np.testing.assert_array_equal(client.get_tensor("difference"), -X)
    client.set_function("function", thrice, device="CPU")
    client.run_script("function", "thrice", ["x"], ["tripled"])
    np.testing.assert_array_equal(client.get_tensor("tripled"), 3 * X)
    client.delete_script("script")
    assert not client.model_exists("script")


def models(client: Client, directory: Path) -> None:
    expected = X @ np.load(directory / "weight.npy").T + np.load(directory / "bias.npy")
    client.put_tensor("x", X)
    blob = (directory / "model.pt").read_bytes()
    client.set_model("torch", blob, "TORCH", device="CPU")
    client.set_model_from_file("batched", str(directory / "model.pt"), "TORCH", "CPU", 8, 2, 10, tag="v1")
    assert client.get_model("torch") == blob
    for name in ("torch", "batched"):
        assert client.model_exists(name)
        client.run_model(name, inputs=["x"], outputs=["y"])
        np.testing.assert_allclose(client.get_tensor("y"), expected, rtol=1e-5)
    # What it gets back of a model in several pieces it joins wrongly: each is copied to the beginning.
    client.set_model_chunk_size(1000)
    client.set_model("chunks", blob, "TORCH")
    client.run_model("chunks", inputs=["x"], outputs=["z"])
    np.testing.assert_allclose(client.get_tensor("z"), expected, rtol=1e-5)
    graph = (directory / "model.pb").read_bytes()
    client.set_model("graph", graph, "TF", device="CPU", inputs=["a", "b"], outputs=["c"])
    for name in "ab":
        client.put_tensor(name, np.full(2, 3, np.float32))
    client.run_model("graph", inputs=["a", "b"], outputs=["c"])
    assert client.get_tensor("c").tolist() == [9, 9]
    client.delete_model("graph")
    assert not client.model_exists("graph")


def information(client: Client, address: str) -> None:
    (info,) = client.get_ai_info([address], "torch")
    assert (info["type"], info["backend"], info["device"], info["errors"]) == ("MODEL", "TORCH", "CPU", "0")
    assert int(info["calls"]) <= 1, "in a cluster another shard may have run it"
    (node,) = client.get_db_node_info([address])
    assert "ai_versions" in node


def errors(client: Client) -> None:
    refused: dict[str, Callable[[], object]] = {
        "a model that is not there": lambda: client.run_model("none", ["x"], ["y"]),
        "an input that is not there": lambda: client.run_model("torch", ["none"], ["y"]),
        "a function that is not there": lambda: client.run_script("function", "none", ["x"], ["y"]),
        "a source that is none": lambda: client.set_script("broken", "def f(:"),
        "a blob that is no model": lambda: client.set_model("broken", b"junk", "TORCH"),
        "a tensor that is not there": lambda: client.get_tensor("none"),
    }
    for what, call in refused.items():
        try:
            call()
        except (RedisReplyError, RedisRuntimeError):
            continue
        raise AssertionError(f"{what} was no error")


def main(directory: Path) -> None:
    client = Client(cluster=os.environ["SR_DB_TYPE"] == "Clustered")
    tensors(client)
    datasets(client)
    scripts(client)
    models(client, directory)
    information(client, os.environ["SSDB"].split(",")[0])
    errors(client)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
