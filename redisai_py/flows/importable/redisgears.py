"""What flow files that were written for RedisGears import from it besides redisAI: its exception."""

from __future__ import annotations

from redisai_py.flows.errors import GearsError

__all__ = ["GearsError"]
