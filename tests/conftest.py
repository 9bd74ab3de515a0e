"""Fixtures: a redis-server with the module, connections to it, and factories.

``server`` lives as long as the test module; a module that needs other load
arguments or settings overrides it. ``wire`` and ``client`` start from an empty
keyspace, and check after the test that the server is alive, that no stray
reply is left on the connection, that the log holds no crash report, and that
every job and tensor that is in no key was given back.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from harness import RedisBinary, Server, Status, Wire, all_binaries, some_binaries  # noqa: E402

ServerFactory = Callable[..., Server]


def _server_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    servers: list[Server] = []
    numbers = itertools.count()

    def make(*module_args: str | int, start: bool = True, **options: object) -> Server:
        directory = tmp_path_factory.mktemp("redis") / str(next(numbers))
        server = Server(directory, *module_args, **options)  # type: ignore[arg-type]
        servers.append(server)
        return server.start() if start else server

    try:
        yield make
        for server in reversed(servers):
            if server.process is not None:
                server.stop()
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """Starts servers that are stopped, and checked, when the test ends."""
    yield from _server_factory(tmp_path_factory)


@pytest.fixture(scope="module")
def module_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFactory]:
    """As ``make_server``, for servers that a whole test module shares."""
    yield from _server_factory(tmp_path_factory)


@pytest.fixture(scope="module")
def server(module_servers: ServerFactory) -> Server:
    return module_servers()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    connection = server.wire()
    connection("FLUSHALL")
    yield connection
    assert connection("PING") == Status("PONG"), "a stray reply was left on the connection"
    connection.close()
    server.check_health()
    server.wait_for_rest()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with server.client() as connection:
        connection.flushall()
        yield connection
    server.check_health()
    server.wait_for_rest()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a ``redis_binary`` argument runs on every server found; marked ``one_server``, on the default one."""
    if "redis_binary" in metafunc.fixturenames:
        takes_long = any(metafunc.definition.iter_markers("one_server"))
        binaries: tuple[RedisBinary, ...] = some_binaries() if takes_long else all_binaries()
        metafunc.parametrize("redis_binary", binaries, ids=[binary.name for binary in binaries], scope="module")
