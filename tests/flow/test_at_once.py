"""Very short ONNX models: run on the event loop, where nobody can tell but by the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Wire, as_dict, get, put
from harness.workers import becomes_short, cpu_of_workers, is_short_too, runs_at_once, tried

Servers = Callable[..., Server]

X = np.array([[1, 2, 3, 4]], np.float32)
WEIGHTS = np.add.outer(np.arange(4), np.arange(3) / 10).astype(np.float32)
EXECUTE = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")


@pytest.fixture
def short(server: Server, wire: Wire) -> Iterator[None]:
    """A model ``m`` that has shown to be short, on its input ``x``."""
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK
    put(wire, "x", X)
    becomes_short(server, wire, "m", *EXECUTE)
    yield


@pytest.mark.usefixtures("short")
def test_outputs_are_those_of_a_worker(wire: Wire) -> None:
    assert wire(*EXECUTE) == OK
    assert np.allclose(get(wire, "y"), X @ WEIGHTS)


@pytest.mark.usefixtures("short")
def test_an_error_is_that_of_a_worker(server: Server, wire: Wire) -> None:
    put(wire, "wrong", np.zeros((1, 3), np.float32))
    put(wire, "wrong_type", np.zeros((1, 1), np.float64))
    commands = [("AI.MODELEXECUTE", "m", "INPUTS", 1, key, "OUTPUTS", 1, "y") for key in ("wrong", "wrong_type")]
    here = [wire(*command) for command in commands]
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear()) == OK  # nothing is known of it yet
    assert here == [wire(*command) for command in commands]
    assert all(isinstance(error, Error) for error in here)


@pytest.mark.usefixtures("short")
def test_a_string_input_is_refused(wire: Wire) -> None:
    assert wire("AI.TENSORSET", "s", "STRING", 1, "VALUES", "a") == OK
    error = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "s", "OUTPUTS", 1, "y")
    assert isinstance(error, Error) and "Unexpected input data type" in error.text


@pytest.mark.usefixtures("short")
def test_an_input_larger_than_any_before_goes_to_a_worker(server: Server, wire: Wire) -> None:
    put(wire, "large", np.ones((100_000, 4), np.float32))
    before = cpu_of_workers(server)
    assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "large", "OUTPUTS", 1, "y") == OK
    assert get(wire, "y").shape == (100_000, 3)
    server.wait_for_rest()
    assert cpu_of_workers(server) != before


@pytest.mark.usefixtures("short")
def test_a_wrong_output_key_gets_one_reply(wire: Wire) -> None:
    wire("SET", "text", "x")
    error = wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "text")
    assert isinstance(error, Error) and error.text.startswith("WRONGTYPE")
    assert wire("PING").text == "PONG"


@pytest.mark.usefixtures("short")
def test_runs_are_counted(wire: Wire) -> None:
    assert wire("AI.INFO", "m", "RESETSTAT") == OK
    put(wire, "wrong", np.zeros((1, 3), np.float32))
    for _ in range(10):
        wire(*EXECUTE)
    wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "wrong", "OUTPUTS", 1, "y")
    info = as_dict(wire("AI.INFO", "m"))
    assert (info["calls"], info["errors"], info["samples"]) == (11, 1, 10)
    assert info["duration"] > 0


@pytest.mark.parametrize(("options", "short"), [(("BATCHSIZE", 4), True), (("BATCHSIZE", 4, "MINBATCHSIZE", 2), False)])
def test_a_model_with_batches(server: Server, wire: Wire, options: tuple[str | int, ...], short: bool) -> None:
    """It needs no batch while few requests come, unless it has been told to wait for others."""
    waits = () if short else ("MINBATCHTIMEOUT", 1)
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *options, *waits, "BLOB", models.linear()) == OK
    put(wire, "x", X)
    if short:
        becomes_short(server, wire, "m", *EXECUTE)
    else:
        before = tried(server)
        for _ in range(4):
            assert not runs_at_once(server, wire, *EXECUTE)
        assert tried(server) == before
    assert np.allclose(get(wire, "y"), X @ WEIGHTS)


@pytest.mark.usefixtures("short")
def test_outputs_reach_a_replica(server: Server, module_servers: Servers, wire: Wire) -> None:
    replica = module_servers(replicaof=("127.0.0.1", server.port))
    server.wait_for_replica(replica)
    put(wire, "x", 2 * X)
    assert wire(*EXECUTE) == OK
    server.wait_for_replica(replica)
    with replica.wire() as mirror:
        assert np.allclose(get(mirror, "y"), 2 * X @ WEIGHTS)


@pytest.mark.usefixtures("short")
def test_a_dag_of_short_models_needs_no_worker(server: Server, wire: Wire) -> None:
    run = "|> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b |> AI.TENSORGET b VALUES"
    command = f"AI.DAGEXECUTE ROUTING m |> AI.TENSORSET a FLOAT 1 4 VALUES 1 2 3 4 {run}".split()
    becomes_short(server, wire, "m", *command)  # a busy machine may look slow for a while
    reply = wire(*command)
    assert reply[:2] == [OK, OK]
    assert np.allclose([float(text) for text in reply[2]], (X @ WEIGHTS)[0])


@pytest.mark.usefixtures("short")
def test_a_dag_reports_the_failure_of_a_short_model_as_any_other(wire: Wire) -> None:
    first = "|> AI.TENSORSET a FLOAT 1 3 |> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b"
    rest = "|> AI.TENSORSET c FLOAT 1 4 |> AI.MODELEXECUTE m INPUTS 1 c OUTPUTS 1 d |> AI.TENSORGET d META"
    reply = wire(*f"AI.DAGEXECUTE ROUTING m {first} {rest}".split())
    assert reply[0] == OK
    assert isinstance(reply[1], Error)
    assert [item if isinstance(item, str) else item.text for item in reply[2:]] == ["OK", "NA", "NA"]


@pytest.mark.usefixtures("short")
def test_a_dag_may_mix_short_and_long_models(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "sum", "ONNX", "CPU", "BLOB", models.sum_of(2)) == OK
    short = "|> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 b"
    both = f"{short} |> AI.MODELEXECUTE sum INPUTS 2 b b OUTPUTS 1 c |> AI.TENSORGET c VALUES"
    reply = wire(*f"AI.DAGEXECUTE LOAD 1 x ROUTING x {both}".split())
    assert np.allclose([float(text) for text in reply[2]], 2 * (X @ WEIGHTS)[0])


@pytest.mark.usefixtures("short")
def test_a_long_chain_of_short_models_is_not_run_in_one_go(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "i", "ONNX", "CPU", "BLOB", models.identity()) == OK
    put(wire, "v", np.arange(3, dtype=np.float32))
    becomes_short(server, wire, "i", "AI.MODELEXECUTE", "i", "INPUTS", 1, "v", "OUTPUTS", 1, "w")
    chain = " ".join(f"|> AI.MODELEXECUTE i INPUTS 1 v{n} OUTPUTS 1 v{n + 1}" for n in range(100))
    command = f"AI.DAGEXECUTE ROUTING v |> AI.TENSORSET v0 FLOAT 3 VALUES 0 1 2 {chain} |> AI.TENSORGET v100 VALUES"
    before = cpu_of_workers(server)
    reply = wire(*command.split())
    assert [float(text) for text in reply[-1]] == [0, 1, 2]
    assert cpu_of_workers(server) != before


@pytest.mark.usefixtures("short")
def test_an_input_of_as_many_bytes_but_another_shape_goes_to_a_worker(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "gram", "ONNX", "CPU", "BLOB", models.gram()) == OK
    put(wire, "row", np.ones((1, 1024), np.float32))
    command = ("AI.MODELEXECUTE", "gram", "INPUTS", 1, "row", "OUTPUTS", 1, "y")
    becomes_short(server, wire, "gram", *command)
    put(wire, "column", np.ones((1024, 1), np.float32))
    before = cpu_of_workers(server)
    assert wire("AI.MODELEXECUTE", "gram", "INPUTS", 1, "column", "OUTPUTS", 1, "y") == OK
    assert get(wire, "y").shape == (1024, 1024)
    server.wait_for_rest()
    assert cpu_of_workers(server) != before
    becomes_short(server, wire, "gram", *command)


@pytest.mark.usefixtures("short")
def test_smaller_inputs_are_short_too(server: Server, wire: Wire) -> None:
    put(wire, "rows", np.ones((8, 4), np.float32))
    rows = ("AI.MODELEXECUTE", "m", "INPUTS", 1, "rows", "OUTPUTS", 1, "y")
    becomes_short(server, wire, "m", *rows)
    is_short_too(server, wire, EXECUTE, rows)


@pytest.mark.usefixtures("short")
def test_executions_that_a_failure_leaves_out_were_never_waiting(server: Server, wire: Wire) -> None:
    first = "|> AI.TENSORSET a FLOAT 1 3 |> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 b"
    rest = " ".join(f"|> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 b{n}" for n in range(4))
    for _ in range(10):
        reply = wire(*f"AI.DAGEXECUTE LOAD 1 x ROUTING m {first} {rest}".split())
        assert isinstance(reply[1], Error)
    assert server.info("ai")["ai_queue_CPU"].split(",")[0] == "waiting=0"


def test_a_model_whose_time_depends_on_values_never_runs_there(server: Server, wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "x", np.zeros((1, 1), np.float32))
    for _ in range(5):
        assert not runs_at_once(server, wire, *EXECUTE)


@pytest.mark.usefixtures("short")
def test_replacing_and_deleting_a_model_between_its_runs(server: Server, wire: Wire) -> None:
    ended = threading.Event()

    def replace() -> None:
        with server.wire() as other:
            for _ in range(30):
                other("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.linear())
                other("COPY", "m", "copy", "REPLACE")
                other("UNLINK", "copy")
        ended.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not ended.is_set():
        assert wire(*EXECUTE) == OK
    thread.join()
    assert np.allclose(get(wire, "y"), X @ WEIGHTS)
