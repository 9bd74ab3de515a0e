"""SmartRedis' unchanged client, which simulations use, in Python on a core of C++: alone, and with a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

import tensorflow_models
import torch_models
from conftest import ServerFactory
from harness import Server
from harness.cluster import Cluster

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="the client has no package for this Python"),
]

PROGRAM = Path(__file__).with_name("smartredis_client.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the client, which wants a numpy before 2."""
    directory = tmp_path_factory.mktemp("smartredis")
    venv.create(directory, with_pip=True)
    pip = [directory / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    result = subprocess.run([*pip, "smartredis==0.6.1"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    layer = torch.nn.Linear(4, 3)
    (directory / "model.pt").write_bytes(torch_models.traced(layer, torch.ones(1, 4)))
    np.save(directory / "weight.npy", layer.weight.detach().numpy())
    np.save(directory / "bias.npy", layer.bias.detach().numpy())
    (directory / "model.pb").write_bytes(tensorflow_models.multiply())
    return directory


def run(python: Path, models: Path, kind: str, servers: list[Server]) -> None:
    addresses = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    environment = {**os.environ, "SSDB": addresses, "SR_DB_TYPE": kind, "SR_LOG_LEVEL": "QUIET"}
    result = subprocess.run([python, PROGRAM, models], env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    for server in servers:
        server.check_health()


def test_one_server(python: Path, models: Path, make_server: ServerFactory) -> None:
    run(python, models, "Standalone", [make_server()])


def test_a_cluster(python: Path, models: Path, make_server: ServerFactory) -> None:
    run(python, models, "Clustered", Cluster(make_server).masters)
