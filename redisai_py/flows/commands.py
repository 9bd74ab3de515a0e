"""Redis commands of flows, each holding Redis' lock for itself alone."""

from __future__ import annotations

from typing import Any

from redisai_py.worker.calls import CommandError, Redis

from .rights import Rights

_redis = Redis()


def run(rights: Rights, *words: bytes) -> Any:
    """The reply: None, int, bytes, or lists of these; raises CommandError."""
    return _redis.execute(rights, list(words))  # type: ignore[arg-type]  # a call by its address


__all__ = ["CommandError", "run"]
