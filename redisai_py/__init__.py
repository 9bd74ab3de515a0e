"""Tensors and models inside Redis.

The interpreter inside redis-server imports this package at start, so it imports nothing itself.
"""

__version__ = "2.0.0"
