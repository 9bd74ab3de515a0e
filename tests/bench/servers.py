"""redis-server processes of the benchmark, and what the kernel says about them."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from redisai_py import locate

LARGE = 1 << 16  # bytes of a word that is sent without a copy

Reply = bytes | int | list["Reply"] | None


class ReplyError(Exception):
    """The server answered with an error."""


class Connection:
    """A blocking RESP2 connection, for set-up and for single long commands."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def __call__(self, *words: str | int | bytes) -> Reply:
        """Sends one command and returns its reply."""
        self.send(*words)
        return self.receive()

    def send(self, *words: str | int | bytes) -> None:
        small = [b"*%d\r\n" % len(words)]  # what was not sent yet
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            small.append(b"$%d\r\n" % len(data))
            if len(data) > LARGE:
                self.socket.sendall(b"".join(small))
                self.socket.sendall(data)
                small = []
            else:
                small.append(data)
            small.append(b"\r\n")
        self.socket.sendall(b"".join(small))

    def receive(self) -> Reply:
        line = self.reader.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.reader.read(length + 2)[:-2]
        return [self.receive() for _ in range(int(rest))]

    def wait_until_received(self) -> None:
        """Returns when the server has read every byte sent; true to about 0.1 ms.

        The kernel's table of sockets shows both ends: nothing may wait in our send queue or in the server's receive
        queue.
        """
        own = f"0100007F:{self.socket.getsockname()[1]:04X}"
        while True:
            waiting = 0
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                _, local, remote, _, queues, *_ = line.split()
                sent, received = queues.split(":")
                if local == own:
                    waiting += int(sent, 16)
                elif remote == own:
                    waiting += int(received, 16)
            if waiting == 0:
                return

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds and context switches so far: of the event loop's thread, and of all threads."""

    event_loop: float
    process: float
    switches: int

    def __sub__(self, other: CpuTime) -> CpuTime:
        return CpuTime(self.event_loop - other.event_loop, self.process - other.process, self.switches - other.switches)


class Server:
    """A redis-server on a free port of 127.0.0.1, without persistence, with the module unless told otherwise.

    A context manager: leaving it stops the process. ``ready_seconds`` is the time from start to the first PONG.
    ``data`` is an RDB file to start from, on the same file system as temporary files.
    """

    def __init__(self, *module_arguments: str, module: bool = True, data: Path | None = None) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="redisai-bench-")
        if data is not None:
            os.link(data, Path(self.directory.name) / "dump.rdb")
        self.port = free_port()
        self.log_path = Path(self.directory.name) / "log"
        options = {"bind": "127.0.0.1", "port": self.port, "dir": self.directory.name, "save": ""}
        options |= {"logfile": self.log_path, "appendonly": "no"}
        command = [str(locate.find_redis_server())]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        if module:
            command += ["--loadmodule", str(locate.find_module()), *module_arguments]
        start = time.monotonic()
        # Frameworks greet on stderr; what matters is in the log.
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.connection = self._connect(start + 60)
        except BaseException:
            self._end()
            raise
        self.ready_seconds = time.monotonic() - start

    def _connect(self, deadline: float) -> Connection:
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                connection = Connection(self.port)
                connection("PING")
                return connection
            except ConnectionRefusedError:
                time.sleep(0.0002)
            except ReplyError as error:
                if not str(error).startswith("LOADING"):
                    raise
                connection.close()
                time.sleep(0.001)
        log = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        raise RuntimeError(f"redis-server did not start:\n{log}")

    def __call__(self, *words: str | int | bytes) -> Reply:
        return self.connection(*words)

    def connect(self) -> Connection:
        return Connection(self.port)

    def cpu_time(self) -> CpuTime:
        event_loop, process, switches = 0.0, 0.0, 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
            process += seconds
            if task.name == str(self.process.pid):
                event_loop = seconds
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
        return CpuTime(event_loop, process, switches)

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def microseconds_per_call(self, command: str) -> float:
        """The time inside a command since CONFIG RESETSTAT, from INFO commandstats."""
        text = self("INFO", "commandstats")
        assert isinstance(text, bytes)
        for line in text.decode().splitlines():
            name, _, fields = line.partition(":")
            if name.lower() == f"cmdstat_{command.lower()}":
                values = dict(field.split("=") for field in fields.split(","))
                return int(values["usec"]) / int(values["calls"])
        raise RuntimeError(f"{command} was not called")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.process.poll()
        self.connection.close()
        if status is not None and error is None:
            log = self.log_path.read_text(errors="replace")[-4000:]
            self._end()
            raise RuntimeError(f"redis-server ended with status {status}:\n{log}")
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.directory.cleanup()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
