"""BACKEND_MEMORY_LIMIT and what INFO shows of onnxruntime's memory.

onnxruntime's arena, shared by all sessions, is what runs allocate from, and it
holds their limit. Weights bypass it, so the limit for them is checked here, by
the size of the model. Both are held to the limit by themselves.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from redisai_py.backend import BackendError

LIMIT_EXCEEDED = "Onnxruntime memory limit exceeded, memory allocation failed."
# How onnxruntime says that its arena may not grow.
ARENA_IS_FULL = re.compile(
    r"Available memory of \d+ is smaller than requested bytes of \d+|Failed to allocate memory for requested buffer"
)
SAME_AS_REQUESTED = 1  # arena growth: by what is asked for, not in powers of two
SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")

# A ModelProto of one Identity node: running it is the only way to have the arena shrink.
IDENTITY = (
    b'\x08\x07:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


class Memory:
    """Counts, and limits to ``limit`` bytes when that is not 0."""

    def __init__(self, limit: int, report: Callable[[int, int], None]) -> None:
        self.limit = limit
        self._report = report
        self._lock = threading.Lock()
        self._used = 0
        self._accesses = 0
        self._identity: Any = None
        if limit:
            chunk = max(256, limit // 32 // 256 * 256)
            arena = ort.OrtArenaCfg(
                {"max_mem": limit, "arena_extend_strategy": SAME_AS_REQUESTED, "initial_chunk_size_bytes": chunk}
            )
            info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
            ort.create_and_register_allocator(info, arena)

    def configure(self, options: Any) -> None:
        """Has a session use the limited arena."""
        if self.limit:
            options.add_session_config_entry("session.use_env_allocators", "1")

    def reserve(self, size: int) -> None:
        """Accounts for a model that is about to be loaded; raises BackendError when it does not fit."""
        with self._lock:
            if self.limit and self._used + size > self.limit:
                raise BackendError(f"Exception during initialization: {LIMIT_EXCEEDED}")
        self.count(size, 1)

    def release(self, size: int) -> None:
        self.count(-size, 1)

    def count(self, size: int, accesses: int) -> None:
        with self._lock:
            self._used += size
            self._accesses += accesses
            self._report(self._used, self._accesses)

    def is_exceeded(self, error: Exception) -> bool:
        return bool(self.limit) and ARENA_IS_FULL.search(str(error)) is not None

    def shrink(self) -> None:
        """Has the arena give back what no run uses; pieces of the wrong size would count against the limit."""
        if self._identity is None:
            options = ort.SessionOptions()
            self.configure(options)
            self._identity = ort.InferenceSession(IDENTITY, options, providers=["CPUExecutionProvider"])
        run = ort.RunOptions()
        run.add_run_config_entry(*SHRINK)
        self._identity.run(None, {"x": np.zeros(1, np.float32)}, run)


def restate(text: str) -> str:
    """An error text with RedisAI's words for a full arena."""
    return ARENA_IS_FULL.sub(LIMIT_EXCEEDED, text)
