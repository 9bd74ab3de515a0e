"""The fixtures that the package brings for users' own tests, in a pytest of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redisai_py.pytest_plugin import RedisAIServer

PLUGIN = ("-p", "redisai_py.pytest_plugin", "-p", "no:cacheprovider")

TESTS = """
import numpy as np

ports = set()

def test_one(redisai_client, redisai_server):
    ports.add(redisai_server.port)
    redisai_client.tensorset("x", np.array([1, 2], np.float32))
    assert redisai_client.tensorget("x").tolist() == [1, 2]
    assert redisai_server.url == f"redis://127.0.0.1:{redisai_server.port}/0"

def test_two(redisai_client, redisai_server):
    ports.add(redisai_server.port)
    assert len(ports) == 1, "one server for the whole session"
    assert redisai_client.dbsize() == 0, "and each test begins with empty databases"
    with open("pid", "w") as file:
        file.write(str(redisai_client.info("server")["process_id"]))
"""


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_tests_share_a_server_and_begin_with_empty_databases(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=2)
    assert ended(int((pytester.path / "pid").read_text())), "the server ends with the session"


def test_the_configuration_gives_load_arguments_and_options(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nredisai_load_arguments = MODEL_CHUNK_SIZE 4096\nredisai_options = --maxmemory 1gb --databases 3\n"
    )
    pytester.makepyfile(
        """
        def test_settings(redisai_client):
            assert int(redisai_client.execute_command("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE")) == 4096
            assert redisai_client.config_get("maxmemory") == {"maxmemory": str(2**30)}
            assert redisai_client.config_get("databases") == {"databases": "3"}
        """
    )
    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_a_server_that_does_not_start_is_an_error_with_its_log(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nredisai_load_arguments = NO_SUCH_ARGUMENT 1\n")
    pytester.makepyfile("def test_nothing(redisai_client): pass")
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: redis-server did not start:*", "*NO_SUCH_ARGUMENT*"])


def test_a_server_that_died_fails_the_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, signal
        def test_kill(redisai_server):
            os.kill(redisai_server.process.pid, signal.SIGKILL)
            redisai_server.process.wait()
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*RuntimeError: redis-server had ended, with status -9:*"])


def test_several_servers_at_once(tmp_path: Path) -> None:
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir()
    with RedisAIServer(directories[0]) as one, RedisAIServer(directories[1]) as two:
        one.client().set("key", "value")
        assert two.client().get("key") is None
    assert "Ready to accept connections" in one.log
