"""The flows of docs/flows.md, as they stand there: purchases that are judged, and semantic search."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch  # noqa: F401  (the sentence encoder needs it here and in the server)

import sentence_encoder
from harness import OK, Server, Wire, assert_tensor, put, wait_until
from models import build, value

Servers = Callable[..., Server]

ROOT = Path(__file__).resolve().parents[2]

FRAUD, SEARCH = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/flows.md").read_text(), re.DOTALL | re.MULTILINE)

SENTENCES = f"""
import sys

sys.path.append({str(ROOT / "examples" / "sentence_search")!r})
from sentence_encoder import tokenize
"""

TEXTS = [
    "The cat sleeps on the sofa.",
    "Stock prices fell sharply on Monday.",
    "A new bakery has opened in our street.",
    "The rocket reached its orbit after nine minutes.",
    "My sister plays the violin in an orchestra.",
    "It will rain in the north tomorrow.",
]


@pytest.fixture(scope="module")
def server(module_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Server:
    directory = tmp_path_factory.mktemp("flows")
    (directory / "fraud.py").write_text(FRAUD)
    (directory / "search.py").write_text(SEARCH)
    (directory / "_sentences.py").write_text(SENTENCES)
    return module_servers("FLOWS", directory, "MODEL_EXECUTION_TIMEOUT", 60_000)


def fraud_model() -> bytes:
    """The sum of all numbers of a purchase and a history, over 1000."""
    nodes = [
        onnx.helper.make_node("ReduceSum", ["purchase"], ["p"], keepdims=0),
        onnx.helper.make_node("ReduceSum", ["history"], ["h"], keepdims=0),
        onnx.helper.make_node("Add", ["p", "h"], ["total"]),
        onnx.helper.make_node("Constant", [], ["thousand"], value_float=1000.0),
        onnx.helper.make_node("Div", ["total", "thousand"], ["score"]),
    ]
    return build(nodes, [value("purchase", shape=[1, 2]), value("history")], [value("score")])


def test_purchases(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "fraud", "ONNX", "CPU", "BLOB", fraud_model()) == OK
    put(wire, "history:7", np.array([10, 20, 30], np.float32))
    wire("HSET", "purchase:17", "amount", 120, "hour", 3, "customer", 7)
    assert [float(value) for value in wire("AI.FLOW", "score", "purchase:17")] == [pytest.approx(0.183)]
    assert_tensor(wire, "score:purchase:17", np.float32(0.183))
    wire("HSET", "purchase:18", "amount", 900, "hour", 3, "customer", 7)
    wait_until(lambda: wire("EXISTS", "score:purchase:18"))
    wait_until(lambda: wire("XLEN", "suspects") == 1)
    assert wire("XRANGE", "suspects", "-", "+")[0][1] == [b"purchase", b"purchase:18"]
    wire("FLUSHALL")


def test_semantic_search(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "encoder", "TORCH", "CPU", "BLOB", sentence_encoder.traced()) == OK
    ids = [wire("XADD", "texts", "*", "text", text).decode() for text in TEXTS]
    wait_until(lambda: wire("EXISTS", *[f"embedding:{id}" for id in ids]) == len(TEXTS), 60)
    expected = sentence_encoder.encode(TEXTS)
    for id, vector in zip(ids, expected, strict=True):
        stored = np.frombuffer(wire("AI.TENSORGET", f"embedding:{id}", "BLOB"), np.float32)
        np.testing.assert_allclose(stored, vector, atol=1e-4)
    for query, found in (
        ("a pet that rests", TEXTS[0]),
        ("shares lost value", TEXTS[1]),
        ("where can I buy bread", TEXTS[2]),
        ("spacecraft", TEXTS[3]),
        ("classical music", TEXTS[4]),
        ("weather forecast", TEXTS[5]),
    ):
        ((text, similarity),) = wire("AI.FLOW", "search", query, 1)
        assert text.decode() == found and float(similarity) > 0.2
    assert len(wire("AI.FLOW", "search", "anything")) == 3
    wire("FLUSHALL")
