"""What may be loaded: TorchScript archives, and nothing that runs code of the file while it is read.

torch.jit.load has an unpickler of its own, which knows TorchScript's types only
and calls nothing; a pickle of Python objects would be refused by it. It is not
asked: anything else than a TorchScript archive is refused here, with a reason.
"""

from __future__ import annotations

import io
import re

import torch

from redisai_py.backend import BackendError

from .nesting import refuse_deep_nesting
from .pickles import refuse_deep_pickle

PICKLE = b"\x80"
NEEDED = "a model for TORCH is a TorchScript archive, as torch.jit.save writes it"

# Operators of TorchScript that read or write files of the server.
FILE_OPERATORS = frozenset({"aten::from_file", "aten::save"})
USES_FILES = "ERR TorchScript that reads or writes files is not supported: a model must be self-contained"

# The only code that runs while an archive is loaded. The words below are how it could reach a file; a getattr of
# anything but a plain name could hide them.
RUNS_AT_LOAD = re.compile(r"\b__setstate__\b")
FILE_WORDS = re.compile(r"\b(from_file|save)\b")
GETATTR = re.compile(r"\bgetattr\b")
PLAIN_GETATTR = re.compile(r"\bgetattr\([\w.]+, \"\w+\"\)")


def check(blob: bytes) -> None:
    """Raises BackendError, or PyTorch's error for a broken archive, unless the bytes are a TorchScript archive."""
    if blob.startswith(PICKLE):
        raise BackendError(f"ERR {NEEDED}; this is a pickle, and pickles are never loaded")
    reader = torch._C.PyTorchFileReader(io.BytesIO(blob))
    records = set(reader.get_all_records())
    code = [name for name in records if name.startswith("code/") and name.endswith(".py")]
    if "constants.pkl" not in records or "data.pkl" not in records or not code:
        raise BackendError(f"ERR {NEEDED}; this is {kind(records)}")
    for name in records:
        if name.endswith("pkl"):
            refuse_deep_pickle(reader.get_record(name))
    for name in code:
        check_code(reader.get_record(name).decode(errors="replace"))


def kind(records: set[str]) -> str:
    """What an archive that is none of TorchScript seems to be."""
    if ".data/extern_modules" in records:
        return "one of torch.package"
    if any(name.startswith("models/") or name == "archive_format" for name in records):
        return "one of torch.export"
    if "data.pkl" in records:
        return "a pickle that torch.save wrote, and pickles are never loaded"
    return "another archive"


def check_code(code: str) -> None:
    """Refuses deep nesting, and code that might use files while it is loaded; its graphs show what it does later."""
    refuse_deep_nesting(code)
    if not RUNS_AT_LOAD.search(code):
        return
    if FILE_WORDS.search(code) or len(GETATTR.findall(code)) != len(PLAIN_GETATTR.findall(code)):
        raise BackendError(USES_FILES)
