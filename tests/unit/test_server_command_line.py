"""``redisai-server``: whose argument is whose, and where the module goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from redisai_py import server

SERVER = Path("/bin/redis-server")
MODULE = Path("/lib/redisai.so")


def composed(*arguments: str) -> list[str]:
    line = server.parse(arguments)
    return server.compose(SERVER, MODULE, line.redis_arguments, line.module_arguments)[1:]


def test_without_arguments_only_the_module_is_added() -> None:
    assert composed() == ["--loadmodule", str(MODULE)]


def test_configuration_file_stays_first() -> None:
    assert composed("my.conf", "--port", "7000") == ["my.conf", "--port", "7000", "--loadmodule", str(MODULE)]


def test_configuration_from_standard_input_stays_last() -> None:
    assert composed("--port", "7000", "-") == ["--port", "7000", "--loadmodule", str(MODULE), "-"]


def test_module_arguments_follow_the_module() -> None:
    expected = ["--port", "7000", "--loadmodule", str(MODULE), "THREADS_PER_QUEUE", "2", "MODEL_CHUNK_SIZE", "9"]
    assert composed("--port", "7000", "--", "THREADS_PER_QUEUE", "2", "MODEL_CHUNK_SIZE", "9") == expected
    assert composed("--ai", "THREADS_PER_QUEUE", "2", "--port", "7000", "--ai", "MODEL_CHUNK_SIZE", "9") == expected


def test_redis_server_option_is_taken_out() -> None:
    line = server.parse(["--redis-server", "/x/redis-server", "--port", "7000"])
    assert line.redis_server == "/x/redis-server"
    assert line.redis_arguments == ("--port", "7000")


@pytest.mark.parametrize("arguments", [["--ai"], ["--ai", "KEY"], ["--redis-server"], ["--", "KEY"]])
def test_incomplete_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(server.UsageError):
        server.parse(arguments)


def test_help_and_version_start_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--help"]) == 0
    assert "--ai KEY VALUE" in capsys.readouterr().out


def test_missing_redis_server_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--redis-server", "/does/not/exist"]) == 1
    assert "/does/not/exist" in capsys.readouterr().err


def test_process_becomes_redis_server_with_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    module = tmp_path / "redisai.so"
    module.touch()
    monkeypatch.setenv("REDISAI_MODULE", str(module))
    calls = []
    monkeypatch.setattr(server.os, "execve", lambda *arguments: calls.append(arguments))
    server.main(["--redis-server", str(program), "--port", "7000"])
    [(path, vector, environment)] = calls
    assert path == program
    assert vector == [str(program), "--port", "7000", "--loadmodule", str(module)]
    assert environment["REDISAI_PYTHON"] == server.sys.executable
