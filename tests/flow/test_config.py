"""AI.CONFIG: replies, errors, and what it may change at run time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import models
from harness import OK, Error, Server, Wire, module_path

UNSUPPORTED_SUBCOMMAND = Error("ERR unsupported subcommand")
UNSUPPORTED_BACKEND = Error("ERR unsupported backend")
LOAD_FAILED = Error("ERR error loading backend")
NO_PATH = Error("ERR BACKENDSPATH: missing path argument")
NO_CHUNK_SIZE = Error("ERR MODEL_CHUNK_SIZE: missing chunk size")
BAD_CHUNK_SIZE = Error("ERR MODEL_CHUNK_SIZE: invalid chunk size")

DEFAULT_CHUNK_SIZE = 535822336


@pytest.mark.parametrize(
    "arguments",
    [(), ("GET",), ("get",), ("LOADBACKEND",), ("LOADBACKEND", "ONNX"), ("LOADBACKEND", "NO_SUCH_BACKEND")],
)
def test_too_few_arguments(server: Server, wire: Wire, arguments: tuple[str, ...]) -> None:
    assert wire("AI.CONFIG", *arguments) == server.arity_error("AI.CONFIG")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("JUNK",), UNSUPPORTED_SUBCOMMAND),
        (("",), UNSUPPORTED_SUBCOMMAND),
        (("SET", "MODEL_CHUNK_SIZE", 5), UNSUPPORTED_SUBCOMMAND),
        (("THREADS_PER_QUEUE", 2), UNSUPPORTED_SUBCOMMAND),
        (("MODEL_EXECUTION_TIMEOUT", 2000), UNSUPPORTED_SUBCOMMAND),
        (("BACKENDSPATH",), NO_PATH),
        (("MODEL_CHUNK_SIZE",), NO_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", 0), BAD_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", -1), BAD_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", "x"), BAD_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", "1.0"), BAD_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", ""), BAD_CHUNK_SIZE),
        (("MODEL_CHUNK_SIZE", 2**64), BAD_CHUNK_SIZE),
        (("LOADBACKEND", "NO_SUCH_BACKEND", "x.so"), UNSUPPORTED_BACKEND),
        (("LOADBACKEND", "", "x.so"), UNSUPPORTED_BACKEND),
        (("LOADBACKEND", "ONNX", "no_such_folder/no_such_backend.so"), LOAD_FAILED),
        (("LOADBACKEND", "ONNX", ""), LOAD_FAILED),
    ],
)
def test_errors(wire: Wire, arguments: tuple[str | int, ...], error: Error) -> None:
    assert wire("AI.CONFIG", *arguments) == error
    assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == DEFAULT_CHUNK_SIZE


def test_live_objects(server: Server, wire: Wire) -> None:
    server.wait_for_rest()
    before = server.live_objects()
    wire("AI.TENSORSET", "x", "FLOAT", 1)
    wire("AI.TENSORSET", "y", "FLOAT", 1)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.identity()) == OK
    assert server.live_objects() == {**before, "tensors": before["tensors"] + 2, "models": before["models"] + 1}
    wire("DEL", "x", "y", "m")
    server.wait_for_rest()
    assert wire("AI.CONFIG", "get", "live_objects") == [b"tensors", 0, b"models", 0, b"jobs", 0]


@pytest.mark.parametrize("option", ["JUNK", "", "THREADS_PER_QUEUE", "ONNX"])
def test_get_of_anything_else_is_nil(wire: Wire, option: str) -> None:
    assert wire("AI.CONFIG", "GET", option) is None


@pytest.mark.parametrize("protocol", [2, 3])
def test_get_model_chunk_size_is_an_integer(server: Server, protocol: int) -> None:
    with server.wire(protocol=protocol) as connection:
        size = connection("ai.config", "get", "model_chunk_size")
    assert type(size) is int
    assert size == DEFAULT_CHUNK_SIZE


def test_extra_arguments_are_ignored(wire: Wire) -> None:
    assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE", "x", "y") == DEFAULT_CHUNK_SIZE
    assert wire("AI.CONFIG", "MODEL_CHUNK_SIZE", DEFAULT_CHUNK_SIZE, "x") == OK


def test_set_model_chunk_size(wire: Wire) -> None:
    try:
        assert wire("AI.CONFIG", "Model_Chunk_Size", 12345) == OK
        assert wire("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == 12345
    finally:
        assert wire("AI.CONFIG", "MODEL_CHUNK_SIZE", DEFAULT_CHUNK_SIZE) == OK


def test_default_backendspath_is_beside_the_module(wire: Wire) -> None:
    assert wire("AI.CONFIG", "GET", "BACKENDSPATH") == str(module_path().parent / "backends").encode()


def test_set_backendspath_takes_any_string(make_server: Callable[..., Server]) -> None:
    with make_server().wire() as wire:
        assert wire("AI.CONFIG", "backendspath", "no/such/folder") == OK
        assert wire("AI.CONFIG", "GET", "backendspath") == b"no/such/folder"
        store = ("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply())
        assert wire(*store) == Error("ERR Could not load backend")


DEFAULT_ONNX = "redisai_onnxruntime/redisai_onnxruntime.so"


def test_loadbackend_loads_once(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with server.wire() as wire:
        assert b"onnxruntime_version" not in wire("INFO", "ai")
        assert wire("AI.CONFIG", "loadbackend", "onnx", DEFAULT_ONNX) == OK
        assert b"onnxruntime_version" in wire("INFO", "ai")
        assert "ONNX backend loaded from" in server.log
        assert wire("AI.CONFIG", "LOADBACKEND", "ONNX", DEFAULT_ONNX) == LOAD_FAILED
        assert "Could not load ONNX backend: backend already loaded" in server.log
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK


def test_failed_loadbackend_can_be_repeated(make_server: Callable[..., Server]) -> None:
    with make_server().wire() as wire:
        assert wire("AI.CONFIG", "LOADBACKEND", "ONNX", "absent.so") == LOAD_FAILED
        assert wire("AI.CONFIG", "LOADBACKEND", "ONNX", DEFAULT_ONNX) == OK


def test_loadbackend_outside_backendspath_is_refused(make_server: Callable[..., Server], tmp_path: Path) -> None:
    outside, marker = tmp_path / "intruder.py", tmp_path / "executed"
    outside.write_text(f"open({str(marker)!r}, 'w').close()\n")
    with make_server().wire() as wire:
        for path in (str(outside), "../" * 20 + str(outside).lstrip("/")):
            assert isinstance(wire("AI.CONFIG", "LOADBACKEND", "ONNX", path), Error)
    assert not marker.exists()


def test_a_server_that_forbids_module_load_forbids_these_too(make_server: Callable[..., Server]) -> None:
    server = make_server(start=False)
    if server.binary.version < (7, 0, 0):
        pytest.skip("redis-server before 7.0 always allows MODULE LOAD")
    server.config["enable_module_command"] = "no"
    server.start()
    with server.wire() as wire:
        path = wire("AI.CONFIG", "GET", "BACKENDSPATH")
        assert isinstance(wire("AI.CONFIG", "BACKENDSPATH", "elsewhere"), Error)
        assert wire("AI.CONFIG", "GET", "BACKENDSPATH") == path
        assert isinstance(wire("AI.CONFIG", "LOADBACKEND", "ONNX", DEFAULT_ONNX), Error)
        assert b"onnxruntime_version" not in wire("INFO", "ai")
        assert wire("AI.CONFIG", "MODEL_CHUNK_SIZE", 1000) == OK
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.multiply()) == OK
