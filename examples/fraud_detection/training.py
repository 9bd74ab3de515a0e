"""Made-up cards and purchases, and a small network that tells fraud from what is usual, as ONNX."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

FEATURES = Path(__file__).with_name("features.py").read_text()
DECISIONS = Path(__file__).with_name("decisions.py").read_text()

PAST = 16
"""How many amounts a history holds."""


def card(random):
    """A history, and the mean of the logarithm of its amounts."""
    usual = random.uniform(2, 5)
    return np.exp(random.normal(usual, 0.5, PAST)).astype(np.float32), usual


def purchase(random, usual, fraud):
    """float32[3]: amount, hour, kilometres."""
    if fraud:
        amount, hour, distance = random.normal(usual + 2, 0.7), random.normal(3, 3) % 24, random.exponential(2000)
    else:
        amount, hour, distance = random.normal(usual, 0.5), random.normal(14, 4) % 24, random.exponential(20)
    return np.array([np.exp(amount), hour, distance], np.float32)


def examples(count):
    """Features float32[count, 3], and float32[count, 1]: 1 for fraud.

    The function that makes the features here is the one that will make them inside Redis.
    """
    random = np.random.default_rng(0)
    features = torch.jit.CompilationUnit(FEATURES).features
    rows, frauds = [], []
    for _ in range(count):
        history, usual = card(random)
        fraud = random.random() < 0.5
        bought = purchase(random, usual, fraud)
        rows.append(features([torch.from_numpy(history), torch.from_numpy(bought)], [], []))
        frauds.append(float(fraud))
    return torch.cat(rows), torch.tensor(frauds)[:, None]


def train():
    """A network that makes the probability of fraud of each row of features."""
    torch.manual_seed(0)
    features, frauds = examples(1000)
    network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy(network(features), frauds).backward()
        optimizer.step()
    return network.eval()


def as_onnx(network):
    """The bytes of an ONNX file."""
    file = io.BytesIO()
    names = {"input_names": ["features"], "output_names": ["fraud"]}
    any_number = {"features": {0: "n"}, "fraud": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3),), file, **names, dynamic_axes=any_number, dynamo=False)
    return file.getvalue()
