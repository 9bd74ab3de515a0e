"""A redis-server process of a test, in its own directory, on its own port."""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from .binaries import RedisBinary, default_binary, module_path
from .wire import Error, Status, Wire, as_dict

ConfigValue = str | int | tuple[str | int, ...]

# Any of these in a log or on stderr means that the server broke.
CRASH = re.compile(
    r"BUG REPORT|crashed by signal|ASSERTION FAILED|Fatal Python error|ERROR: AddressSanitizer|LeakSanitizer"
    r"|terminate called|double free|corrupted size|malloc\(\): "
)

_processes: set[subprocess.Popen[bytes]] = set()


@atexit.register
def _kill_leftovers() -> None:
    for process in _processes:
        if process.poll() is None:
            process.kill()


def free_port() -> int:
    """A port that is free now, with room for a cluster bus 10000 above it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55536:
            return port


def wait_until(condition: Callable[[], Any], seconds: float = 20.0, *, every: float = 0.01) -> Any:
    """The first true value of ``condition()``; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"condition not met within {seconds} s"
        time.sleep(every)
    return value


class ServerExited(Exception):
    """redis-server ended before it was online; the text holds its log."""


class Server:
    """Starts, stops and watches one redis-server.

    ``config`` holds redis.conf settings with ``_`` for ``-``; a tuple gives a
    setting several words. No persistence unless asked for. ``stop`` and
    ``check_health`` assert that nothing crashed.
    """

    def __init__(
        self,
        directory: Path,
        *module_args: str | int,
        binary: RedisBinary | None = None,
        module: bool = True,
        **config: ConfigValue,
    ) -> None:
        self.directory = directory
        self.binary = binary or default_binary()
        self.module_args = [str(argument) for argument in module_args]
        self.module = module
        self.config: dict[str, ConfigValue] = {
            "save": "",
            "repl_diskless_sync_delay": 0,
            **self._version_config(),
            **config,
        }
        self.config_file: Path | None = None
        """A redis.conf for it, which what is said on the command line goes before."""
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def _version_config(self) -> Mapping[str, ConfigValue]:
        if self.binary.version < (7, 0, 0):
            return {}
        return {"enable_debug_command": "yes", "enable_module_command": "local"}

    # -- life ------------------------------------------------------------------

    @property
    def log_file(self) -> Path:
        return self.directory / "redis.log"

    @property
    def log(self) -> str:
        """What all runs in this directory logged, and wrote to stdout and stderr."""
        return "".join(
            path.read_text(errors="replace") for path in (self.log_file, self.directory / "output.log") if path.exists()
        )

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was not started"
        return self.process.pid

    def peak_memory(self) -> int:
        """The most bytes of memory that the process ever had."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) << 10

    def command_line(self) -> list[str]:
        config = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "logfile": str(self.log_file),
            **self.config,
        }
        line = [self.binary.path, *([str(self.config_file)] if self.config_file else [])]
        for name, value in config.items():
            words = value if isinstance(value, tuple) else (value,)
            line += ["--" + name.replace("_", "-"), *map(str, words)]
        if self.module:
            line += ["--loadmodule", str(module_path()), *self.module_args]
        return line

    def start(self, *, online: bool = True, environment: Mapping[str, str] | None = None) -> Server:
        """Starts the process; on another free port when somebody took ours."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            self.port = self.port or free_port()
            log_size = len(self.log)
            with (self.directory / "output.log").open("ab") as output:
                self.process = subprocess.Popen(
                    self.command_line(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.directory,
                    env={**os.environ, **(environment or {})},
                )
            _processes.add(self.process)
            if not online:
                return self
            try:
                self.wait_for_online()
                return self
            except ServerExited:
                if "Address already in use" not in self.log[log_size:]:
                    raise
                self.port = 0
        raise AssertionError("no free port found")

    def start_refused(self) -> str:
        """Starts a server that must give up by itself, and returns its log."""
        self.start(online=False)
        assert self.process is not None
        status = self.process.wait(timeout=20)
        self.process = None
        assert status != 0, "the server was expected to refuse to start"
        assert not CRASH.search(self.log), self.log
        return self.log

    def wait_for_online(self, seconds: float = 30.0) -> None:
        """Returns when the server answers PING, after any loading."""

        def online() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise ServerExited(f"redis-server exited with {self.process.returncode}:\n{self.log[-4000:]}")
            try:
                with Wire(self.port) as wire:
                    return wire("PING") == Status("PONG")
            except (ConnectionError, OSError):
                return False

        wait_until(online, seconds, every=0.005)

    def stop(self, *, by: str = "SHUTDOWN", save: bool = False) -> None:
        """Ends the server with SHUTDOWN or SIGTERM; asserts exit status 0 and a clean log."""
        assert self.process is not None
        self.check_health()
        if by == "SHUTDOWN":
            wire = self.wire()
            wire.send("SHUTDOWN", "SAVE" if save else "NOSAVE")
            self._wait_for_exit()
            wire.close()
        else:
            self.process.send_signal(getattr(signal, by))
            self._wait_for_exit()
        assert self.process.returncode == 0, f"exit status {self.process.returncode}:\n{self.log[-4000:]}"
        self._check_log()
        self.process = None

    def _wait_for_exit(self) -> None:
        assert self.process is not None
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within 30 s:\n{self.log[-4000:]}") from None

    def kill(self) -> None:
        """``kill -9``, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self, **stop: Any) -> Server:
        self.stop(**stop)
        return self.start()

    def __enter__(self) -> Server:
        return self if self.process is not None else self.start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.process is None:
            return
        if kind is None:
            self.stop()
        else:
            self.kill()

    # -- health ----------------------------------------------------------------

    def check_health(self) -> None:
        """Asserts that the process runs, answers, and logged no crash."""
        assert self.process is not None, "the server is not running"
        status = self.process.poll()
        assert status is None, f"the server died with status {status}:\n{self.log[-6000:]}"
        self._check_log()
        with self.wire(timeout=20) as wire:
            reply = wire("PING")
        assert reply == Status("PONG"), reply

    def _check_log(self) -> None:
        found = CRASH.search(self.log)
        assert not found, f"crash in the log:\n{self.log[-6000:]}"

    # -- talk ------------------------------------------------------------------

    def wire(self, **options: Any) -> Wire:
        return Wire(self.port, **options)

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis("127.0.0.1", self.port, **options)

    def arity_error(self, command: str) -> Error:
        """What redis-server says about a wrong number of arguments: 7.0 lowers the name."""
        name = command if self.binary.version < (7, 0, 0) else command.lower()
        return Error(f"ERR wrong number of arguments for '{name}' command")

    def info(self, section: str = "everything") -> dict[str, str]:
        """INFO's ``name:value`` lines."""
        with self.wire() as wire:
            text = wire("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))

    def blocked_clients(self) -> int:
        return int(self.info("clients")["blocked_clients"])

    def live_objects(self) -> dict[str, int]:
        """How many tensors, models and jobs the module holds."""
        with self.wire() as wire:
            return as_dict(wire("AI.CONFIG", "GET", "LIVE_OBJECTS"))

    def tensors_in_keyspace(self) -> int:
        databases = [int(name[2:]) for name in self.info("keyspace") if name.startswith("db")]
        return sum(self._tensors_in(db) for db in databases)

    def _tensors_in(self, db: int) -> int:
        with self.wire(db=db) as wire:
            cursor, found = b"0", 0
            while True:
                cursor, keys = wire("SCAN", cursor, "COUNT", 10_000, "TYPE", "AI_TENSOR")
                found += len(keys)
                if cursor == b"0":
                    return found

    def wait_for_rest(self) -> None:
        """Returns when no job is left, and no tensor but those of the keyspace (which COPY may share)."""

        deadline = time.monotonic() + 5.0
        while True:
            live, stored = self.live_objects(), self.tensors_in_keyspace()
            if live["jobs"] == 0 and live["tensors"] <= stored:
                return
            assert time.monotonic() < deadline, f"not at rest: {live}, {stored} tensors in the keyspace"
            time.sleep(0.01)

    def wait_for_replica(self, replica: Server) -> None:
        """Returns when the replica has everything that this server wrote."""
        wait_until(lambda: replica.info("replication").get("master_link_status") == "up")

        def offset(server: Server, field: str) -> int:
            return int(server.info("replication")[field])

        target = offset(self, "master_repl_offset")
        wait_until(lambda: offset(replica, "slave_repl_offset") >= target)
