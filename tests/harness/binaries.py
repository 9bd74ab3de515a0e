"""The redis-server binaries and the module under test.

``REDISAI_REDIS_SERVER`` and ``REDISAI_MODULE`` override what is found.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

from redisai_py import locate

REPOSITORY = Path(__file__).resolve().parents[2]


class RedisBinary(NamedTuple):
    """A redis-server that can be started, with its version as three numbers."""

    path: str
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        return "redis-" + ".".join(map(str, self.version))


def module_path() -> Path:
    """The built ``redisai.so``; an error that says so when it was not built."""
    return locate.find_module()


def _binary(path: Path) -> RedisBinary:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", locate.redis_version(path))
    assert found, f"{path} tells no version"
    major, minor, patch = map(int, found.groups())
    return RedisBinary(str(path), (major, minor, patch))


@functools.cache
def default_binary() -> RedisBinary:
    return _binary(locate.find_redis_server())


@functools.cache
def all_binaries() -> tuple[RedisBinary, ...]:
    """Every redis-server of this machine, the default one first, one per version."""
    carried = [path for package in locate.CARRIER_PACKAGES if (path := locate.carried_redis_server(package))]
    by_version: dict[tuple[int, int, int], RedisBinary] = {}
    for binary in (default_binary(), *map(_binary, carried)):
        by_version.setdefault(binary.version, binary)
    return tuple(by_version.values())
