"""Fixtures of pytest for programs that use redisai-py; pytest finds them where the package is installed.

``redisai_server`` is a redis-server with the module, for the whole session (``RedisAIServer``). ``redisai_client`` is
a connection to it that begins with empty databases. Options of pytest's configuration: ``redisai_load_arguments``
(such as ``THREADS_PER_QUEUE 2``) and ``redisai_options`` (of redis-server, such as ``--maxmemory 1gb``).
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

SECONDS_TO_START = 60.0
SECONDS_TO_STOP = 30.0


class RedisAIServer:
    """A redis-server with the module, on a free port of 127.0.0.1, without persistence; a context manager.

    ``load_arguments`` are the module's, ``options`` redis-server's. ``directory`` must exist; it is the working
    directory of the server and holds its log. ``start`` raises RuntimeError, with the log, where no server comes up.
    """

    host = "127.0.0.1"

    def __init__(self, directory: Path, load_arguments: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        self.directory = directory
        self.load_arguments = tuple(load_arguments)
        self.options = tuple(options)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``redis.Redis.from_url`` takes."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def log(self) -> str:
        """What the server wrote since its start."""
        return (self.directory / "redis.log").read_text(errors="replace")

    def start(self) -> RedisAIServer:
        """Returns when the server answers."""
        for _ in range(5):
            self.port = free_port()
            self._launch()
            if self._comes_up():
                return self
            # Somebody took the port between our look and the server's.
            if "Address already in use" not in self.log:
                break
        raise RuntimeError(f"redis-server did not start:\n{self.log}")

    def stop(self) -> None:
        """Ends the server; raises RuntimeError, with the log, when it had ended by itself or did so with an error."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is not None:
            raise RuntimeError(f"redis-server had ended, with status {process.returncode}:\n{self.log}")
        process.terminate()
        try:
            status = process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status != 0:
            raise RuntimeError(f"redis-server ended with status {status}:\n{self.log}")

    def client(self, **options: Any) -> Any:
        """A new client: ``redisai.Client`` where redisai is installed, else ``redis.Redis``, which it is made of."""
        try:
            from redisai import Client
        except ImportError:
            from redis import Redis as Client
        return Client(host=self.host, port=self.port, **options)

    def __enter__(self) -> RedisAIServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        settings = ["--port", str(self.port), "--bind", self.host, "--save", "", "--dir", str(self.directory)]
        line = [sys.executable, "-m", "redisai_py.server", *settings, *self.options, "--", *self.load_arguments]
        with (self.directory / "redis.log").open("wb") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _comes_up(self) -> bool:
        """Whether the process that was launched answers PING; False when it has ended."""
        assert self.process is not None
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            if self._answers():
                return True
            time.sleep(0.01)
        self.process.kill()
        self.process.wait()
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("redisai_load_arguments", "load arguments of the module in redisai_server", default="")
    parser.addini("redisai_options", "options of the redis-server in redisai_server", default="")


@pytest.fixture(scope="session")
def redisai_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RedisAIServer]:
    """A redis-server with redisai-py on a free port, for the whole session."""
    load_arguments = shlex.split(pytestconfig.getini("redisai_load_arguments"))
    options = shlex.split(pytestconfig.getini("redisai_options"))
    with RedisAIServer(tmp_path_factory.mktemp("redisai"), load_arguments, options) as server:
        yield server


@pytest.fixture
def redisai_client(redisai_server: RedisAIServer) -> Iterator[Any]:
    """A client of redisai_server, whose databases are empty when the test begins."""
    client = redisai_server.client()
    try:
        client.flushall()
        yield client
    finally:
        client.close()
