"""BATCHSIZE, MINBATCHSIZE, MINBATCHTIMEOUT and TIMEOUT, seen through a model
whose output tells how many rows ran together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

import models
from harness import OK, Error, Server, Status, Wire, as_dict, get, put, wait_until

TIMED_OUT = Status("TIMEDOUT")
NEVER = 3_600_000


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    """One worker, so that a busy worker means a queue."""
    return module_servers("THREADS_PER_QUEUE", 1, "MODEL_EXECUTION_TIMEOUT", 60_000)


class Clients:
    """Clients that send executions at once and collect their replies."""

    def __init__(self, server: Server, wire: Wire, stack: ExitStack) -> None:
        self.server = server
        self.wire = wire
        self.stack = stack
        self.requests: list[tuple[Wire, str]] = []

    def store(self, *options: str | int, blob: bytes = b"", key: str = "m") -> None:
        blob = blob or models.spin()
        assert self.wire("AI.MODELSTORE", key, "ONNX", "CPU", *options, "BLOB", blob) == OK

    def send(self, x: np.ndarray | int, *options: str | int, key: str = "m") -> Wire:
        """Starts one execution; a number asks for so many fast rows."""
        array = np.zeros((x, 1), np.float32) if isinstance(x, int) else x
        return self.send_inputs([array], *options, key=key)

    def send_inputs(self, arrays: Sequence[np.ndarray], *options: str | int, key: str = "m") -> Wire:
        number = len(self.requests)
        names = []
        for position, array in enumerate(arrays):
            names.append(f"x{number}.{position}")
            put(self.wire, names[-1], array)
        connection = self.stack.enter_context(self.server.wire())
        blocked = self.server.blocked_clients()
        connection.send("AI.MODELEXECUTE", key, "INPUTS", len(names), *names, "OUTPUTS", 1, f"y{number}", *options)
        wait_until(lambda: connection.has_reply() or self.server.blocked_clients() > blocked, every=0.001)
        self.requests.append((connection, f"y{number}"))
        return connection

    def occupy_worker(self, seconds: float = 0.4) -> None:
        """A request that keeps the only worker busy for a while, of another model."""
        self.store(blob=models.spin(), key="busy")
        self.send(np.full((1, 1), models.turns_for(seconds), np.float32), key="busy")

    def replies(self, *, skip: int = 0) -> list[object]:
        """Each client's error or status, or the batch that its rows ran in."""
        results: list[object] = []
        for connection, output in self.requests[skip:]:
            reply = connection.read()
            if reply != OK:
                results.append(reply)
                continue
            rows = get(self.wire, output)
            assert len(set(rows.ravel().tolist())) == 1, "all rows of a request run in one batch"
            results.append(int(rows.flat[0]))
        return results

    def counters(self, key: str = "m") -> dict[str, int]:
        return as_dict(self.wire("AI.INFO", key))


@pytest.fixture
def clients(server: Server, wire: Wire) -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(server, wire, stack)


def test_requests_that_wait_for_a_worker_run_together(clients: Clients) -> None:
    clients.store("BATCHSIZE", 16)
    clients.occupy_worker()
    for rows in (1, 2, 3):
        clients.send(rows)
    assert clients.replies(skip=1) == [6, 6, 6]


def test_without_batchsize_every_request_runs_alone(clients: Clients) -> None:
    clients.store()
    clients.occupy_worker()
    for rows in (1, 2, 3):
        clients.send(rows)
    assert clients.replies(skip=1) == [1, 2, 3]


def test_every_member_gets_its_own_rows(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 100, blob=models.linear(2, 2))
    weights = np.array([[0, 0.1], [1, 1.1]], np.float32)
    arrays = [np.full((rows, 2), rows, np.float32) for rows in (1, 3, 2)]
    clients.occupy_worker()
    for array in arrays:
        clients.send(array)
    for (connection, output), array in zip(clients.requests[1:], arrays, strict=True):
        assert connection.read() == OK
        np.testing.assert_allclose(get(wire, output), array @ weights, rtol=1e-6)
    assert clients.requests[0][0].read() == OK


def test_batchsize_is_a_cap(clients: Clients) -> None:
    clients.store("BATCHSIZE", 4)
    clients.occupy_worker()
    for rows in (3, 2, 2):
        clients.send(rows)
    assert clients.replies(skip=1) == [3, 4, 4]


def test_many_single_rows_run_in_full_batches(clients: Clients) -> None:
    clients.store("BATCHSIZE", 4)
    clients.occupy_worker()
    for _ in range(10):
        clients.send(1)
    batches = clients.replies(skip=1)
    assert max(batches) <= 4
    assert sorted(batches) == [2, 2, 4, 4, 4, 4, 4, 4, 4, 4]


def test_a_request_larger_than_batchsize_runs_alone(clients: Clients) -> None:
    clients.store("BATCHSIZE", 4)
    clients.occupy_worker()
    for rows in (1, 9, 1):
        clients.send(rows)
    one, nine, other = clients.replies(skip=1)
    assert nine == 9
    assert {one, other} <= {1, 2}


@pytest.mark.parametrize("rows", [4, 5, 50])
def test_a_full_request_does_not_wait_for_minbatchsize(clients: Clients, rows: int) -> None:
    clients.store("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    clients.send(rows)
    assert clients.replies() == [rows]


def test_minbatchsize_above_batchsize_does_not_hold_a_full_batch_back(clients: Clients) -> None:
    clients.store("BATCHSIZE", 2, "MINBATCHSIZE", 10)
    clients.send(2)
    assert clients.replies() == [2]


def test_a_batch_that_the_next_request_does_not_fit_into_does_not_wait(clients: Clients) -> None:
    clients.store("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    clients.occupy_worker()
    for rows in (3, 2, 2):
        clients.send(rows)
    assert clients.replies(skip=1) == [3, 4, 4]


def test_requests_of_other_shapes_do_not_wait_for_one_that_waits_for_company(clients: Clients) -> None:
    clients.store("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    waiting = clients.send(np.zeros((2, 2), np.float32))
    clients.send(2)
    clients.send(2)
    clients.send(np.zeros((9, 3), np.float32))
    assert clients.replies(skip=1) == [4, 4, 9]
    assert not waiting.has_reply()
    clients.send(np.zeros((2, 2), np.float32))
    assert waiting.read() == OK


def test_minbatchsize_waits_for_company(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 3)
    first = clients.send(1)
    second = clients.send(1)
    assert not first.has_reply(0.2)
    assert not second.has_reply()
    clients.send(1)
    assert clients.replies() == [3, 3, 3]


def test_a_waiting_minbatch_does_not_hold_up_other_models(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 2)
    clients.store(key="other")
    waiting = clients.send(1)
    start = time.monotonic()
    for _ in range(20):
        assert clients.send(1, key="other").read() == OK
    assert time.monotonic() - start < 5
    assert not waiting.has_reply()
    clients.send(1)
    assert waiting.read() == OK


def test_minbatchtimeout_ends_the_waiting(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 8, "MINBATCHTIMEOUT", 300)
    start = time.monotonic()
    connection = clients.send(2)
    assert not connection.has_reply(0.1)
    assert clients.replies() == [2]
    assert 0.25 < time.monotonic() - start < 5


def test_minbatchtimeout_counts_the_time_in_the_queue(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 8, "MINBATCHTIMEOUT", 100)
    clients.occupy_worker(0.5)
    clients.send(1)
    assert clients.requests[0][0].read() == OK
    freed = time.monotonic()
    assert clients.replies(skip=1) == [1]
    assert time.monotonic() - freed < 1


def test_other_shapes_do_not_join(clients: Clients) -> None:
    clients.store("BATCHSIZE", 16)
    clients.occupy_worker()
    for columns in (1, 2, 1, 2, 3):
        clients.send(np.zeros((2, columns), np.float32))
    assert clients.replies(skip=1) == [4, 4, 4, 4, 2]


def test_other_dtypes_do_not_join(clients: Clients) -> None:
    clients.store("BATCHSIZE", 16)
    clients.occupy_worker()
    clients.send(np.zeros((2, 1), np.float32))
    clients.send(np.zeros((2, 1), np.int32))
    clients.send(np.zeros((2, 1), np.float32))
    first, wrong, last = clients.replies(skip=1)
    assert (first, last) == (4, 4)
    assert isinstance(wrong, Error)


def test_other_models_do_not_join(clients: Clients) -> None:
    clients.store("BATCHSIZE", 16)
    clients.store("BATCHSIZE", 16, key="n")
    clients.occupy_worker()
    for key in ("m", "n", "m", "n"):
        clients.send(1, key=key)
    assert clients.replies(skip=1) == [2, 2, 2, 2]


def test_a_model_stored_again_is_another_model(clients: Clients) -> None:
    clients.store("BATCHSIZE", 16)
    clients.occupy_worker(0.8)
    clients.send(1)
    clients.send(1)
    # The store runs on a worker too: it is answered when there is one.
    store = clients.stack.enter_context(clients.server.wire())
    store.send("AI.MODELSTORE", "m", "ONNX", "CPU", "TAG", "new", "BATCHSIZE", 16, "BLOB", models.spin())
    assert clients.replies(skip=1) == [2, 2]
    assert store.read() == OK
    assert clients.counters()["calls"] == 0, "runs in flight count in the old model"


def test_inputs_with_different_first_dims_run_alone_at_once(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 8, blob=models.batch_size_of_two())
    clients.send_inputs([np.zeros((2, 1), np.float32), np.zeros((1, 1), np.float32)])
    assert clients.replies() == [2]


def test_several_inputs_are_batched_together(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8, blob=models.batch_size_of_two())
    clients.occupy_worker()
    for rows in (1, 2):
        clients.send_inputs([np.zeros((rows, 1), np.float32), np.zeros((rows, 3), np.float32)])
    assert clients.replies(skip=1) == [3, 3]


def test_scalars_are_never_batched(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 8, blob=models.identity())
    connection = clients.send(np.array(5, np.float32))
    assert connection.read() == OK
    assert get(wire, "y0") == np.float32(5)


def test_strings_are_batched(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 2, "MINBATCHSIZE", 2, blob=models.identity("STRING"))
    first = clients.send(np.array([[b"one"]], object))
    second = clients.send(np.array([[b"a longer one"]], object))
    assert (first.read(), second.read()) == (OK, OK)
    assert wire("AI.TENSORGET", "y0", "VALUES") == [b"one"]
    assert wire("AI.TENSORGET", "y1", "VALUES") == [b"a longer one"]


def test_each_member_of_a_batch_counts_a_call_and_its_samples(clients: Clients) -> None:
    clients.store("BATCHSIZE", 6, "MINBATCHSIZE", 6)
    for rows in (1, 2, 3):
        clients.send(rows)
    assert clients.replies() == [6, 6, 6]
    counters = clients.counters()
    assert (counters["calls"], counters["errors"], counters["samples"]) == (3, 0, 6)


def test_each_member_counts_the_whole_duration(clients: Clients) -> None:
    clients.store("BATCHSIZE", 3, "MINBATCHSIZE", 3)
    slow = models.turns_for(0.2)
    for value in (0, 0, slow):
        clients.send(np.full((1, 1), value, np.float32))
    assert clients.replies() == [3, 3, 3]
    duration = clients.counters()["duration"]
    clients.wire("AI.INFO", "m", "RESETSTAT")
    clients.send(np.full((3, 1), slow, np.float32))
    assert clients.replies(skip=3) == [3]
    alone = clients.counters()["duration"]
    assert duration > 1.8 * alone


def test_a_failed_batch_is_an_error_of_each_member(clients: Clients) -> None:
    clients.store("BATCHSIZE", 3, "MINBATCHSIZE", 3, blob=models.lookup())
    for index in (0, 1, 7):
        clients.send(np.array([[index]], np.int64))
    replies = clients.replies()
    assert all(isinstance(reply, Error) for reply in replies)
    counters = clients.counters()
    assert (counters["calls"], counters["errors"]) == (3, 3)


def test_an_output_that_cannot_be_split_fails_the_batch_but_not_a_single_request(clients: Clients) -> None:
    clients.store("BATCHSIZE", 2, "MINBATCHSIZE", 2, blob=models.total())
    clients.send(np.ones((1, 3), np.float32))
    clients.send(np.ones((1, 3), np.float32))
    assert clients.replies() == [Error("ERR Model did not generate the expected batch size")] * 2
    clients.send(np.ones((2, 3), np.float32))
    assert clients.replies(skip=2) == [6]


def test_a_request_times_out_in_the_queue(clients: Clients, wire: Wire) -> None:
    clients.store()
    clients.occupy_worker(0.6)
    clients.send(1, "TIMEOUT", 50)
    clients.send(1, "TIMEOUT", NEVER)
    assert clients.replies(skip=1) == [TIMED_OUT, 1]
    assert wire("EXISTS", "y1") == 0
    assert clients.counters()["calls"] == 1


def test_a_request_times_out_while_it_waits_for_minbatchsize(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 2)
    start = time.monotonic()
    clients.send(1, "TIMEOUT", 200)
    assert clients.replies() == [TIMED_OUT]
    assert 0.15 < time.monotonic() - start < 5
    assert wire("EXISTS", "y0") == 0
    assert clients.counters()["calls"] == 0
    # The one that left is not counted for the batch of the next.
    waiting = clients.send(1)
    assert not waiting.has_reply(0.1)
    clients.send(1)
    assert clients.replies(skip=1) == [2, 2]


def test_minbatchtimeout_passes_while_a_worker_is_away(module_servers: Callable[..., Server]) -> None:
    """What is left when a batch begins may ripen long before it ends: another worker is awake by then."""
    server = module_servers("THREADS_PER_QUEUE", 2, "MODEL_EXECUTION_TIMEOUT", 60_000)
    with server.wire() as wire:
        rows = ("BATCHSIZE", 2, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50)
        assert wire("AI.MODELSTORE", "m", "ONNX", "CPU", *rows, "BLOB", models.spin()) == OK
        put(wire, "slow", np.full((2, 1), models.turns_for(2), np.float32))
        put(wire, "x", np.zeros((1, 1), np.float32))
        for _ in range(3):  # both workers are there, and asleep
            assert wire("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") == OK
        with server.wire() as first, server.wire() as second:
            wire.send("DEBUG", "SLEEP", 0.2)  # so that both reach a worker together
            time.sleep(0.05)
            for connection, key in ((first, "slow"), (second, "x")):
                connection.send("AI.MODELEXECUTE", "m", "INPUTS", 1, key, "OUTPUTS", 1, f"y:{key}")
            assert wire.read() == OK
            start = time.monotonic()
            assert second.read() == OK
            assert time.monotonic() - start < 1.2, "the end of the long run was not waited for"
            assert not first.has_reply()
            assert first.read() == OK


def test_a_timed_out_request_does_not_join_a_batch(clients: Clients) -> None:
    clients.store("BATCHSIZE", 8)
    clients.occupy_worker(0.6)
    clients.send(1)
    clients.send(1, "TIMEOUT", 50)
    clients.send(1)
    assert clients.replies(skip=1) == [2, TIMED_OUT, 2]


def test_deleting_the_model_does_not_strand_its_waiting_requests(clients: Clients, wire: Wire) -> None:
    clients.store("BATCHSIZE", 8, "MINBATCHSIZE", 8, "MINBATCHTIMEOUT", 300)
    clients.send(1)
    assert wire("AI.MODELDEL", "m") == OK
    assert clients.replies() == [1]


def test_fifty_clients_are_all_answered_once(clients: Clients, server: Server) -> None:
    clients.store("BATCHSIZE", 8)
    with ExitStack() as stack:
        connections = [stack.enter_context(server.wire()) for _ in range(50)]
        put(clients.wire, "x", np.zeros((1, 1), np.float32))
        for _ in range(20):
            for number, connection in enumerate(connections):
                connection.send("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, f"y{number}")
            assert [connection.read() for connection in connections] == [OK] * 50
            assert not any(connection.has_reply() for connection in connections)
    counters = clients.counters()
    assert (counters["calls"], counters["errors"], counters["samples"]) == (1000, 0, 1000)
