"""DAGs through the unchanged PyPI client, and a whole image pipeline in one command."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import redis
import redisai
import torch

import models
import torch_models
from harness import Server

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SCRIPT = """
def entry(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * int(args[0]) + len(keys)

def add(a, b):
    return a + b
"""

PICTURES = """
def prepare(image):
    scaled = image.permute(2, 0, 1).unsqueeze(0).float() / 255.0
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    return (scaled - mean) / 0.225

def best(scores):
    return torch.softmax(scores, 1).argmax(1)
"""


@pytest.fixture
def con(server: Server) -> Iterator[redisai.Client]:
    client = redisai.Client(host="127.0.0.1", port=server.port)
    client.flushall()
    client.modelstore("multiply", "ONNX", "CPU", models.multiply())
    client.scriptstore("script", "CPU", SCRIPT, "entry")
    client.tensorset("a", np.array([1, 2], np.float32))
    yield client
    client.close()
    server.check_health()
    server.wait_for_rest()


def test_load_persist_and_the_arrays_that_come_back(con: redisai.Client) -> None:
    dag = con.dag(load=["a"], persist=["c", "d"], routing="a", timeout=10_000)
    dag.tensorset("b", np.array([10, 20], np.float32))
    dag.modelexecute("multiply", ["a", "b"], ["c"])
    dag.scriptexecute("script", "entry", keys=["k"], inputs=["c"], args=["3"], outputs=["d"])
    dag.tensorget("c").tensorget("d").tensorget("d", meta_only=True)
    *statuses, c, d, meta = dag.execute()
    assert statuses == ["OK", "OK", "OK"]
    np.testing.assert_array_equal(c, np.array([10, 40], np.float32))
    np.testing.assert_array_equal(d, np.array([31, 121], np.float32))
    assert meta["shape"] == [2]  # the client asks for the blob all the same
    np.testing.assert_array_equal(con.tensorget("d"), d)
    np.testing.assert_array_equal(con.tensorget("c"), c)
    assert con.exists("b") == 0


@pytest.mark.parametrize("sections", [{"load": "a"}, {"load": ["a"], "routing": "a"}])
def test_read_only(con: redisai.Client, sections: dict[str, object]) -> None:
    dag = con.dag(readonly=True, **sections)
    dag.modelexecute("multiply", ["a", "a"], "a").modelexecute("multiply", ["a", "a"], "a").tensorget("a")
    assert dag.execute()[2].tolist() == [1, 16]
    np.testing.assert_array_equal(con.tensorget("a"), np.array([1, 2], np.float32))


@pytest.mark.parametrize("readonly", [False, True])
def test_the_deprecated_form(con: redisai.Client, readonly: bool) -> None:
    dag = con.dag(readonly=readonly)
    dag.tensorset("x", [2, 3, 2, 3], shape=(2, 2), dtype="float")
    dag.modelrun("multiply", ["x", "x"], ["y"])
    dag.tensorget("y")
    *statuses, y = dag.run()
    assert statuses == ["OK", "OK"]
    np.testing.assert_array_equal(y, np.array([[4, 9], [4, 9]], np.float32))


def test_errors_of_the_command_are_raised(con: redisai.Client) -> None:
    with pytest.raises(redis.ResponseError, match="tensor key is empty"):
        con.dag(load=["absent"]).tensorget("absent").execute()


class Pictures(torch.nn.Module):
    """Five scores of x[1, 3, 32, 32]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2, bias=False),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8, 5, 3, bias=False),
            torch.nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).flatten(1)


def test_an_image_pipeline_gives_one_integer_back(con: redisai.Client) -> None:
    """UINT8 image, TorchScript, a convolutional network, TorchScript: the same as PyTorch called directly."""
    network = Pictures().eval()
    con.modelstore("network", "TORCH", "CPU", torch_models.saved(network))
    con.scriptset("pictures", "CPU", PICTURES)
    random = np.random.default_rng(5)
    labels = set()
    for _ in range(12):
        tint = random.integers(0, 256, 3)
        image = (random.integers(0, 60, (32, 32, 3)) + tint).clip(0, 255).astype(np.uint8)
        dag = con.dag(routing="network")
        dag.tensorset("image", image)
        dag.scriptexecute("pictures", "prepare", inputs="image", outputs="prepared")
        dag.modelexecute("network", "prepared", "scores")
        dag.scriptexecute("pictures", "best", inputs="scores", outputs="label")
        dag.tensorget("label")
        *statuses, label = dag.execute()
        assert statuses == ["OK"] * 4
        with torch.no_grad():
            scaled = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).float() / 255.0
            mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
            expected = int(network((scaled - mean) / 0.225).argmax())
        assert label.dtype == np.int64 and label.tolist() == [expected]
        labels.add(expected)
    assert con.keys("*image*") == [] and con.exists("prepared", "scores", "label") == 0
    assert con.infoget("network")["calls"] == 12
    assert len(labels) > 1, "the pictures should differ"
