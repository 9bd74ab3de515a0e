"""Requests that end early: clients that leave, timeouts, and the watchdog."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, put, wait_until

TERMINATED = "Exiting due to terminate flag being set to true"


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers("THREADS_PER_QUEUE", 1, "MODEL_EXECUTION_TIMEOUT", 600_000)


@pytest.fixture(autouse=True)
def model(wire: Wire) -> None:
    assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
    put(wire, "fast", np.zeros((1, 1), np.float32))
    put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))


def send(wire: Wire, source: str, output: str, *options: str | int) -> None:
    wire.send("AI.MODELEXECUTE", "spin", "INPUTS", 1, source, "OUTPUTS", 1, output, *options)


def execute(wire: Wire, source: str, output: str) -> object:
    send(wire, source, output)
    return wire.read()


@pytest.fixture
def victim(server: Server, wire: Wire) -> Iterator[Wire]:
    """A client whose request will end early."""
    with server.wire() as connection:
        connection("CLIENT", "SETNAME", "victim")
        yield connection


def client_id(wire: Wire) -> int:
    identity = wire("CLIENT", "ID")
    assert isinstance(identity, int)
    return identity


def start(server: Server, victim: Wire, source: str, output: str = "y") -> None:
    """Sends the victim's request and waits until it is on its way."""
    before = server.blocked_clients()
    send(victim, source, output)
    wait_until(lambda: server.blocked_clients() > before)


def leave(how: str, wire: Wire, victim: Wire, identity: int) -> None:
    if how == "disconnect":
        victim.close()
    else:
        assert wire("CLIENT", "KILL", "ID", identity) == 1


@pytest.mark.parametrize("how", ["disconnect", "kill"])
def test_a_running_model_is_terminated_when_its_client_leaves(
    server: Server, wire: Wire, victim: Wire, how: str
) -> None:
    identity = client_id(victim)
    start(server, victim, "endless")
    time.sleep(0.1)
    leave(how, wire, victim, identity)
    # The only worker would be busy for ever if the run went on.
    assert execute(wire, "fast", "z") == OK
    assert wire("EXISTS", "y") == 0
    assert server.blocked_clients() == 0


@pytest.mark.parametrize("how", ["disconnect", "kill"])
def test_a_queued_request_is_dropped_when_its_client_leaves(server: Server, wire: Wire, victim: Wire, how: str) -> None:
    put(wire, "slow", np.full((1, 1), models.turns_for(0.4), np.float32))
    identity = client_id(victim)
    with server.wire() as busy:
        start(server, busy, "slow", "busy")
        start(server, victim, "endless")
        leave(how, wire, victim, identity)
        assert busy.read() == OK
    assert execute(wire, "fast", "z") == OK
    assert wire("EXISTS", "y") == 0
    assert as_dict(wire("AI.INFO", "spin"))["calls"] == 2, "what never ran is not counted"


@pytest.mark.parametrize("how", ["disconnect", "kill"])
def test_a_request_that_waits_for_company_is_dropped_when_its_client_leaves(
    server: Server, wire: Wire, victim: Wire, how: str
) -> None:
    store = ("AI.MODELSTORE", "spin", "ONNX", "CPU", "BATCHSIZE", 8, "MINBATCHSIZE", 2, "BLOB", models.spin())
    assert wire(*store) == OK
    identity = client_id(victim)
    start(server, victim, "fast")
    leave(how, wire, victim, identity)
    wait_until(lambda: server.blocked_clients() == 0)
    with server.wire() as next_one:
        start(server, next_one, "fast", "z")
        assert not next_one.has_reply(0.2), "the one that left must not count"
        assert execute(wire, "fast", "last") == OK
        assert next_one.read() == OK
    assert wire("EXISTS", "y") == 0


def test_one_that_leaves_does_not_disturb_its_batch(server: Server, wire: Wire, victim: Wire) -> None:
    store = ("AI.MODELSTORE", "spin", "ONNX", "CPU", "BATCHSIZE", 2, "MINBATCHSIZE", 2, "BLOB", models.spin())
    assert wire(*store) == OK
    put(wire, "slow", np.full((1, 1), models.turns_for(0.4), np.float32))
    with server.wire() as stays:
        start(server, victim, "slow", "y")
        start(server, stays, "fast", "z")
        # Before the batch runs, the victim would only leave the other without company.
        wait_until(lambda: server.info("ai")["ai_queue_CPU"].startswith("waiting=0,"))
        victim.close()
        assert stays.read() == OK
    assert wire("AI.TENSORGET", "z", "VALUES") == [2]
    assert wire("EXISTS", "y") == 0


@pytest.mark.parametrize("source", ["endless", "queued"])
def test_client_unblock_ends_the_request_with_one_reply(server: Server, wire: Wire, victim: Wire, source: str) -> None:
    identity = client_id(victim)
    with server.wire() as busy:
        if source == "queued":
            put(wire, "slow", np.full((1, 1), models.turns_for(0.4), np.float32))
            start(server, busy, "slow", "busy")
        start(server, victim, "fast" if source == "queued" else "endless")
        assert wire("CLIENT", "UNBLOCK", identity) == 1
        assert victim.read() == Status("TIMEDOUT")
        assert victim("PING") == Status("PONG")
        if source == "queued":
            assert busy.read() == OK
    assert execute(wire, "fast", "z") == OK
    assert not victim.has_reply()
    assert wire("EXISTS", "y") == 0


def test_client_unblock_with_error(server: Server, wire: Wire, victim: Wire) -> None:
    identity = client_id(victim)
    start(server, victim, "endless")
    assert wire("CLIENT", "UNBLOCK", identity, "ERROR") == 1
    assert victim.read().text.startswith("UNBLOCKED")
    assert victim("PING") == Status("PONG")
    assert execute(wire, "fast", "z") == OK


def test_client_that_leaves_while_its_model_is_being_stored(server: Server, wire: Wire, victim: Wire) -> None:
    victim.send("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", models.slow_to_load(400))
    wait_until(lambda: server.blocked_clients() == 1)
    victim.close()
    wait_until(lambda: server.blocked_clients() == 0)
    assert wire("AI.MODELSTORE", "n", "ONNX", "CPU", "BLOB", models.multiply()) == OK


def test_a_hundred_clients_that_leave(server: Server, wire: Wire) -> None:
    put(wire, "slow", np.full((1, 1), models.turns_for(0.3), np.float32))
    with server.wire() as busy:
        start(server, busy, "slow", "busy")
        leavers = [server.wire() for _ in range(100)]
        for number, leaver in enumerate(leavers):
            send(leaver, "fast", f"y{number}")
        wait_until(lambda: server.blocked_clients() == 101)
        for leaver in leavers:
            leaver.close()
        assert busy.read() == OK
    wait_until(lambda: server.blocked_clients() == 0)
    assert execute(wire, "fast", "z") == OK
    assert wire("KEYS", "y*") == []


def test_a_timeout_is_answered_while_the_only_worker_is_busy(server: Server, wire: Wire, victim: Wire) -> None:
    start(server, victim, "endless")
    with server.wire() as patient:
        start(server, patient, "fast", "patient")
        clients = [server.wire() for _ in range(100)]
        for number, client in enumerate(clients):
            send(client, "fast", f"y{number}", "TIMEOUT", 50 + number % 3)
        assert [client.read() for client in clients] == [Status("TIMEDOUT")] * 100
        dag = "AI.DAGEXECUTE ROUTING spin TIMEOUT 50 |> AI.TENSORSET x FLOAT 1 1 VALUES 0"
        dag += " |> AI.MODELEXECUTE spin INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
        assert clients[0](*dag.split()) == Status("TIMEDOUT")
        assert not victim.has_reply() and not patient.has_reply()
        for client in clients:
            client.close()
        victim.close()
        assert patient.read() == OK, "who gave no TIMEOUT waits on"
    assert wire("KEYS", "y*") == []
    assert execute(wire, "fast", "z") == OK


def test_a_timeout_does_not_end_what_runs(server: Server, wire: Wire) -> None:
    put(wire, "slow", np.full((1, 1), models.turns_for(0.4), np.float32))
    send(wire, "slow", "y", "TIMEOUT", 100)
    assert wire.read() == OK


def test_the_watchdog_terminates_a_run_that_takes_too_long(make_server: Callable[..., Server]) -> None:
    server = make_server("MODEL_EXECUTION_TIMEOUT", 1000)
    with server.wire() as wire, server.wire() as other:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        put(wire, "fast", np.zeros((1, 1), np.float32))
        begin = time.monotonic()
        send(wire, "endless", "y")
        assert other("PING") == Status("PONG")
        error = wire.read()
        assert isinstance(error, Error)
        assert TERMINATED in error.text
        assert 0.9 < time.monotonic() - begin < 5
        assert wire("EXISTS", "y") == 0
        assert execute(wire, "fast", "y") == OK
        statistics = as_dict(wire("AI.INFO", "spin"))
        assert (statistics["calls"], statistics["errors"]) == (2, 1)


def test_the_watchdog_counts_from_the_start_of_the_run(make_server: Callable[..., Server]) -> None:
    """A short run that waited long for its worker is not terminated."""
    server = make_server("MODEL_EXECUTION_TIMEOUT", 1000, "THREADS_PER_QUEUE", 1)
    with server.wire() as wire, server.wire() as waiting:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        put(wire, "slow", np.full((1, 1), models.turns_for(0.3), np.float32))
        send(wire, "endless", "y")
        send(waiting, "slow", "z")
        assert isinstance(wire.read(), Error)
        assert waiting.read() == OK


def test_a_run_that_turns_out_long_does_not_hold_up_other_models(module_servers: Callable[..., Server]) -> None:
    """A model that was always quick, and then is not: its worker counted as attentive when the run began."""
    server = module_servers("THREADS_PER_QUEUE", 2, "MODEL_EXECUTION_TIMEOUT", 600_000)
    with server.wire() as wire, server.wire() as stuck:
        assert wire("AI.MODELSTORE", "spin", "ONNX", "CPU", "BLOB", models.spin()) == OK
        assert wire("AI.MODELSTORE", "other", "ONNX", "CPU", "BLOB", models.identity("FLOAT")) == OK
        put(wire, "fast", np.zeros((1, 1), np.float32))
        put(wire, "endless", np.full((1, 1), models.FOREVER, np.float32))
        for _ in range(100):
            assert execute(wire, "fast", "y") == OK
        start(server, stuck, "endless")
        assert wire("AI.MODELEXECUTE", "other", "INPUTS", 1, "fast", "OUTPUTS", 1, "z") == OK
        assert server.blocked_clients() == 1
