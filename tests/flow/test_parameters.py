"""The options as configuration parameters of the server (Redis 7.0), and as load arguments everywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import models
from harness import OK, Error, RedisBinary, Server, Status, Wire, default_binary, module_path, put, wait_until

Servers = Callable[..., Server]

DEFAULTS = {
    "ai.threads-per-queue": 0,
    "ai.intra-op-parallelism": 0,
    "ai.inter-op-parallelism": 0,
    "ai.model-chunk-size": 511 << 20,
    "ai.model-execution-timeout": 5000,
    "ai.backend-memory-limit": 0,
    "ai.max-queue-depth": 0,
    "ai.default-batch-delay": 0,
}
CHANGEABLE = {
    "ai.model-chunk-size": 1000,
    "ai.model-execution-timeout": 2000,
    "ai.max-queue-depth": 7,
    "ai.default-batch-delay": 500,
}


@pytest.fixture(scope="module")
def server(redis_binary: RedisBinary, module_servers: Servers) -> Server:
    return module_servers(binary=redis_binary)


@pytest.fixture
def redis7(redis_binary: RedisBinary) -> RedisBinary:
    if redis_binary.version < (7, 0, 0):
        pytest.skip("this redis-server has no parameters of modules")
    return redis_binary


def parameters(wire: Wire, pattern: str = "ai.*") -> dict[str, str]:
    reply = [part.decode() for part in wire("CONFIG", "GET", pattern)]
    return dict(zip(reply[::2], reply[1::2], strict=True))


def test_all_options_are_parameters(redis7: RedisBinary, wire: Wire) -> None:
    found = parameters(wire)
    assert found.pop("ai.backends-path") == wire("AI.CONFIG", "GET", "BACKENDSPATH").decode()
    assert found == {name: str(value) for name, value in DEFAULTS.items()}


@pytest.mark.parametrize("name", [*DEFAULTS, "ai.backends-path"])
def test_what_can_change_at_run_time_does(redis7: RedisBinary, wire: Wire, name: str) -> None:
    if name not in CHANGEABLE:
        assert isinstance(wire("CONFIG", "SET", name, 3), Error)
        return
    try:
        assert wire("CONFIG", "SET", name, CHANGEABLE[name]) == OK
        assert parameters(wire, name) == {name: str(CHANGEABLE[name])}
        assert isinstance(wire("CONFIG", "SET", name, -1), Error)
    finally:
        assert wire("CONFIG", "SET", name, DEFAULTS[name]) == OK


def test_ai_config_and_config_are_the_same(redis7: RedisBinary, wire: Wire) -> None:
    wire("AI.CONFIG", "MODEL_CHUNK_SIZE", 77)
    assert parameters(wire, "ai.model-chunk-size") == {"ai.model-chunk-size": "77"}
    wire("CONFIG", "SET", "ai.model-chunk-size", "1mb")
    assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 1 << 20
    wire("CONFIG", "SET", "ai.model-chunk-size", DEFAULTS["ai.model-chunk-size"])


def test_load_arguments_are_taken(redis_binary: RedisBinary, make_server: Servers) -> None:
    arguments = ("THREADS_PER_QUEUE", 3, "model_chunk_size", 77, "MAX_QUEUE_DEPTH", 5, "DEFAULT_BATCH_DELAY", 10)
    server = make_server(*arguments, binary=redis_binary)
    with server.wire() as wire:
        assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 77
    assert server.info("ai")["ai_threads_per_queue"] == "3"
    assert "Setting MAX_QUEUE_DEPTH parameter to: 5" in server.log


def test_load_arguments_are_the_defaults(redis7: RedisBinary, make_server: Servers) -> None:
    server = make_server("MODEL_CHUNK_SIZE", 500, "THREADS_PER_QUEUE", 2, binary=redis7)
    with server.wire() as wire:
        assert parameters(wire)["ai.model-chunk-size"] == "500"
        assert parameters(wire)["ai.threads-per-queue"] == "2"
        assert server.info("ai")["ai_threads_per_queue"] == "2"


def test_a_rewritten_configuration_outlives_the_load_arguments(
    redis7: RedisBinary, make_server: Servers, tmp_path: Path
) -> None:
    file = tmp_path / "own.conf"
    lines = [f"loadmodule {module_path()} MODEL_CHUNK_SIZE 500", "ai.max-queue-depth 8", "ai.intra-op-parallelism 2"]
    file.write_text("\n".join(lines) + "\n")
    own = make_server(binary=redis7, module=False, start=False)
    own.config_file = file
    own.start()
    with own.wire() as wire:
        assert parameters(wire)["ai.max-queue-depth"] == "8"
        assert own.info("ai")["ai_intra_op_parallelism"] == "2"
        wire("CONFIG", "SET", "ai.max-queue-depth", 9)
        wire("CONFIG", "SET", "ai.model-chunk-size", 600)
        assert wire("CONFIG", "REWRITE") == OK
    lines = file.read_text().splitlines()
    assert "ai.max-queue-depth 9" in lines and "ai.model-chunk-size 600" in lines
    own.stop()
    own.start()
    with own.wire() as wire:
        assert parameters(wire)["ai.max-queue-depth"] == "9"
        assert parameters(wire)["ai.model-chunk-size"] == "600"


def test_module_loadex(redis7: RedisBinary, make_server: Servers) -> None:
    server = make_server(binary=redis7, module=False)
    with server.wire() as wire:
        path = str(module_path())
        configs = ("CONFIG", "ai.max-queue-depth", 5, "CONFIG", "ai.threads-per-queue", 2)
        assert wire("MODULE", "LOADEX", path, *configs, "ARGS", "MODEL_CHUNK_SIZE", 400) == OK
        found = parameters(wire)
        assert (found["ai.max-queue-depth"], found["ai.threads-per-queue"]) == ("5", "2")
        assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 400
        put(wire, "x", np.ones(2, np.float32))
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
        assert wire("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y") == OK


def test_a_value_that_is_not_valid_stops_the_load_and_nothing_else(redis7: RedisBinary, make_server: Servers) -> None:
    server = make_server(binary=redis7, module=False)
    with server.wire() as wire:
        loaded = wire("MODULE", "LOADEX", str(module_path()), "CONFIG", "ai.max-queue-depth", "-3")
        assert isinstance(loaded, Error)
        assert wire("PING") == Status("PONG")
        assert wire("MODULE", "LOADEX", str(module_path()), "CONFIG", "ai.max-queue-depth", 3) == OK
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK


# ---- bounded queues ----------------------------------------------------------------


FULL = Error("QUEUEFULL 2 requests wait for device CPU already (MAX_QUEUE_DEPTH)")
EXECUTE = ("AI.MODELEXECUTE", "spin", "INPUTS", 1, "turns", "OUTPUTS", 1)


@pytest.fixture
def busy(redis_binary: RedisBinary, make_server: Servers) -> Iterator[tuple[Server, Wire]]:
    """A server that runs one request until it is killed, with another two that wait; no more may."""
    arguments = ("MAX_QUEUE_DEPTH", 2, "THREADS_PER_QUEUE", 1, "MODEL_EXECUTION_TIMEOUT", 60_000)
    server = make_server(*arguments, binary=redis_binary)
    with contextlib.ExitStack() as stack, server.wire() as wire:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "turns", np.full((1, 1), models.FOREVER, np.float32))
        for waiting in range(3):
            client = stack.enter_context(server.wire())
            client.send(*EXECUTE, f"y{waiting}")
            wait_until(lambda n=waiting: figures(server)[:2] == (n, 1))
        yield server, wire


def figures(server: Server) -> tuple[int, int, int]:
    """Waiting, running and begun requests of the CPU."""
    line = dict(field.split("=") for field in server.info("ai").get("ai_queue_CPU", "waiting=0").split(","))
    return int(line["waiting"]), int(line.get("running", 0)), int(line.get("requests", 0))


SCRIPT = "def f(tensors: List[Tensor], keys: List[str], args: List[str]):\n    return tensors[0]\n"


def test_a_full_queue_is_an_error_at_once(busy: tuple[Server, Wire]) -> None:
    server, wire = busy
    dag = "AI.DAGEXECUTE LOAD 1 turns |> AI.MODELEXECUTE spin INPUTS 1 turns OUTPUTS 1 y"
    commands = [(*EXECUTE, "y"), dag.split(), ["AI.MODELRUN", "spin", "INPUTS", "turns", "OUTPUTS", "y"]]
    if server.binary == default_binary():  # PyTorch takes its time
        assert wire("AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", SCRIPT) == OK
        commands += [["AI.SCRIPTEXECUTE", "s", "f", "INPUTS", "1", "turns", "OUTPUTS", "1", "y"]]
        commands += [["AI.SCRIPTRUN", "s", "f", "INPUTS", "turns", "OUTPUTS", "y"]]
    for command in commands:
        assert wire(*command) == FULL
    assert figures(server)[:2] == (2, 1), "what was refused does not wait"


def test_a_place_that_becomes_free_is_taken(busy: tuple[Server, Wire]) -> None:
    server, wire = busy
    victim = [line for line in wire("CLIENT", "LIST").decode().splitlines() if "cmd=ai.modelexecute" in line][-1]
    wire("CLIENT", "KILL", "ID", victim.split()[0].removeprefix("id="))
    wait_until(lambda: figures(server)[:2] == (1, 1))
    with server.wire() as client:
        client.send(*EXECUTE, "y")
        wait_until(lambda: figures(server)[:2] == (2, 1))
        assert wire(*EXECUTE, "z") == FULL


# ---- the default delay of batches -----------------------------------------------------


def test_a_delay_collects_batches(redis_binary: RedisBinary, make_server: Servers) -> None:
    server = make_server("DEFAULT_BATCH_DELAY", 10_000_000, binary=redis_binary)
    request = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1)
    with server.wire() as wire, server.wire() as other:
        store = ("AI.MODELSTORE", "m", "ONNX", "CPU", "BATCHSIZE", 2)
        assert wire(*store, "BLOB", models.batch_size()) == OK
        put(wire, "x", np.zeros((1, 1), np.float32))
        other.send(*request, "y")
        assert not other.has_reply(0.1)
        assert wire(*request, "z") == OK
        assert other.read() == OK
        assert wire("AI.TENSORGET", "y", "VALUES") == [2]
        # What the user says about batches is not changed.
        assert wire("AI.MODELGET", "m", "META")[8:10] == [b"minbatchsize", 0]
        wire(*store, "MINBATCHSIZE", 1, "BLOB", models.batch_size())
        assert wire(*request, "y") == OK
        assert wire("AI.TENSORGET", "y", "VALUES") == [1]


def test_a_new_execution_timeout_counts_from_the_next_run(redis7: RedisBinary, make_server: Servers) -> None:
    server = make_server("MODEL_EXECUTION_TIMEOUT", 100_000, binary=redis7)
    with server.wire() as wire:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "turns", np.full((1, 1), models.FOREVER, np.float32))
        assert wire("CONFIG", "SET", "ai.model-execution-timeout", 1000) == OK
        assert isinstance(wire(*EXECUTE, "y"), Error)


def test_ai_config_knows_the_new_options(wire: Wire) -> None:
    for option in ("MAX_QUEUE_DEPTH", "DEFAULT_BATCH_DELAY"):
        assert wire("AI.CONFIG", "GET", option) == 0
        assert wire("AI.CONFIG", option, 12) == OK
        assert wire("AI.CONFIG", "GET", option.lower()) == 12
        for bad in (-1, "x"):
            assert wire("AI.CONFIG", option, bad) == Error("ERR invalid value for the option")
        assert wire("AI.CONFIG", option, 0) == OK
