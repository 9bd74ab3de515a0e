"""Flows under RLTest's environments: standalone, with AOF, with a replica.

RLTest collects failed assertions instead of raising; the ``env`` fixture turns
them into a failure, and checks the exit status of the servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from RLTest import Env

import models
from harness import default_binary, module_path, wait_until
from harness.server import CRASH
from harness.tensors import DTYPES, SAMPLES, array_of, blob_of, tensorset

MODES: dict[str, dict[str, Any]] = {
    "standalone": {},
    "aof": {"useAof": True},
    "aof without preamble": {"useAof": True, "useRdbPreamble": False},
    "replica": {"useSlaves": True},
}

LINEAR = models.linear(4, 3)


@pytest.fixture(scope="module", params=MODES.values(), ids=MODES.keys())
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """One RLTest environment for all tests of a mode."""
    directory: Path = tmp_path_factory.mktemp("rltest")
    env = Env(
        testName="flow",
        module=str(module_path()),
        redisBinaryPath=default_binary().path,
        logDir=str(directory),
        forceTcp=True,
        freshEnv=True,
        enableDebugCommand=True,
        **request.param,
    )
    assert env.isUp(), "redis-server did not start"
    env.getConnection().config_set("repl-diskless-sync-delay", 0)
    try:
        yield env
    finally:
        env.stop()
    assert env.checkExitCode()
    for log in directory.glob("*.log"):
        assert not CRASH.search(log.read_text(errors="replace"))


@pytest.fixture
def env(environment: Env) -> Iterator[Env]:
    environment.flush()
    environment.assertionFailedSummary.clear()
    yield environment
    assert not environment.getNumberOfFailedAssertion(), environment.assertionFailedSummary
    assert environment.getConnection().ping()


def settled(env: Env, check: Callable[[Any], None]) -> None:
    """Checks the master, and the replica once it has caught up."""
    master = env.getConnection()
    check(master)
    if env.useSlaves:
        assert master.wait(1, 10_000) == 1
        check(env.getSlaveConnection())


def wait_for_quiet(env: Env) -> None:
    """Waits until the replica is linked and nobody saves."""

    def quiet() -> bool:
        connections = [env.getConnection()]
        if env.useSlaves:
            connections.append(env.getSlaveConnection())
            if connections[-1].info("replication")["master_link_status"] != "up":
                return False
        return not any(connection.info("persistence")["rdb_bgsave_in_progress"] for connection in connections)

    wait_until(quiet)


def reload(env: Env, *, restart: bool) -> None:
    """Reloads from RDB, or rewrites the AOF and restarts; with SAVE's file where there is no AOF."""
    wait_for_quiet(env)
    env.dumpAndReload(restart=restart)
    wait_for_quiet(env)


@pytest.mark.parametrize("restart", [False, True], ids=["reload", "restart"])
def test_tensors_of_every_dtype_survive(env: Env, restart: bool) -> None:
    for dtype in DTYPES:
        env.assertEqual(env.cmd(*tensorset(dtype, SAMPLES[dtype])), b"OK")
    reload(env, restart=restart)

    def check(connection: Any) -> None:
        for dtype in DTYPES:
            array = array_of(connection.execute_command("AI.TENSORGET", dtype))
            env.assertEqual(blob_of(array), blob_of(SAMPLES[dtype]))

    settled(env, check)


@pytest.mark.parametrize("restart", [False, True], ids=["reload", "restart"])
def test_models_and_outputs_survive(env: Env, restart: bool) -> None:
    env.expect("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "v1", "BATCHSIZE", 4, "BLOB", LINEAR).equal(b"OK")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    env.cmd(*tensorset("x", x))
    env.expect("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y").equal(b"OK")
    output = env.cmd("AI.TENSORGET", "y", "BLOB")
    reload(env, restart=restart)

    def check(connection: Any) -> None:
        env.assertEqual(connection.execute_command("AI.TENSORGET", "y", "BLOB"), output)
        env.assertEqual(connection.execute_command("AI.MODELGET", "m", "BLOB"), LINEAR)
        env.assertEqual(connection.execute_command("AI._MODELSCAN"), [[b"m", b"v1"]])

    settled(env, check)
    env.expect("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "again").equal(b"OK")
    env.expect("AI.TENSORGET", "again", "BLOB").equal(output)


@pytest.mark.parametrize("restart", [False, True], ids=["reload", "restart"])
def test_deleted_values_stay_deleted(env: Env, restart: bool) -> None:
    for key in ("kept", "gone"):
        env.expect("AI.MODELSTORE", key, "ONNX", "CPU", "BLOB", LINEAR).equal(b"OK")
        env.cmd(*tensorset(f"{key}:t", SAMPLES["INT8"]))
    env.expect("AI.MODELDEL", "gone").equal(b"OK")
    env.expect("UNLINK", "gone:t").equal(1)
    reload(env, restart=restart)
    settled(env, lambda connection: env.assertEqual(sorted(connection.keys()), [b"kept", b"kept:t"]))


def test_overwriting_outputs(env: Env) -> None:
    env.expect("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.two_outputs()).equal(b"OK")
    env.cmd(*tensorset("a", np.array([1], np.float32)))
    for _ in range(10):
        env.expect("AI.MODELEXECUTE", "m", "INPUTS", 2, "a", "a", "OUTPUTS", 2, "a", "zero").equal(b"OK")

    def check(connection: Any) -> None:
        array = array_of(connection.execute_command("AI.TENSORGET", "a"))
        env.assertEqual(array.tolist(), [1024.0])

    settled(env, check)
    reload(env, restart=True)
    settled(env, check)


def test_values_move_between_databases(env: Env) -> None:
    env.expect("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", LINEAR).equal(b"OK")
    env.cmd(*tensorset("t", SAMPLES["DOUBLE"]))
    env.expect("MOVE", "m", 3).equal(1)
    env.expect("MOVE", "t", 3).equal(1)
    env.expect("SWAPDB", 3, 4).equal(True)
    reload(env, restart=True)

    def check(connection: Any) -> None:
        connection.execute_command("SELECT", 4)
        env.assertEqual(sorted(connection.execute_command("KEYS", "*")), [b"m", b"t"])
        connection.execute_command("SELECT", 0)

    for connection in (env.getConnection(), *([env.getSlaveConnection()] if env.useSlaves else [])):
        connection.connection_pool.max_connections = 1
        check(connection)


def test_errors_change_nothing(env: Env) -> None:
    env.cmd(*tensorset("t", SAMPLES["INT8"]))
    env.expect("SET", "string", "v").equal(True)
    env.expect("AI.TENSORSET", "t", "FLOAT", 2, "VALUES", 1).error().contains("wrong number of values")
    env.expect("AI.TENSORSET", "string", "FLOAT", 1).error().contains("WRONGTYPE")
    env.expect("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", "junk").error()
    env.expect("AI.MODELEXECUTE", "m", "INPUTS", 1, "t", "OUTPUTS", 1, "y").error().contains("model key is empty")
    reload(env, restart=True)
    settled(env, lambda connection: env.assertEqual(sorted(connection.keys()), [b"string", b"t"]))


def test_statistics_are_local_and_not_persisted(env: Env) -> None:
    env.expect("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", LINEAR).equal(b"OK")
    env.cmd(*tensorset("x", np.ones((2, 4), np.float32)))
    env.expect("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y").equal(b"OK")
    env.assertEqual(env.cmd("AI.INFO", "m")[14:16], [b"calls", 1])
    if env.useSlaves:
        assert env.getConnection().wait(1, 10_000) == 1
        env.assertEqual(env.getSlaveConnection().execute_command("AI.INFO", "m")[14:16], [b"calls", 0])
    reload(env, restart=True)
    settled(env, lambda connection: env.assertEqual(connection.execute_command("AI.INFO", "m")[15], 0))
