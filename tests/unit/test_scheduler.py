"""The scheduler's laws, checked on random histories of pushes, turns, completions and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redisai_py.worker.scheduler import (
    LONG_TURN,
    SHORT,
    SHORT_ON_GPU,
    SHORT_WORKERS_ON_GPU,
    SOLITARY,
    TINY,
    TURN,
    Batch,
    Scheduler,
)


@dataclass(eq=False)
class Model:
    batch_size: int = 0
    min_batch_size: int = 0
    min_batch_timeout: float = 0.0
    is_urgent: bool = False
    line: Any = None


@dataclass(eq=False)
class Request:
    id: int
    model: Model
    rows: int = 1
    enqueued: float = 0.0
    deadline: float = inf
    shape: tuple[int, ...] = (4,)
    fate: list[str] = field(default_factory=list)

    def signature(self) -> tuple[int, ...]:
        return self.shape


def ids(batch: Batch | None) -> list[int]:
    assert batch is not None
    return [request.id for request in batch.requests]


def measured(scheduler: Scheduler, model: Model, seconds: float) -> None:
    """Lets the scheduler know a model's run time."""
    scheduler.push(Request(-1, model))
    batch = scheduler.next(0.0)
    assert batch is not None
    scheduler.finished(batch, seconds, 1)


def batches_at_once(scheduler: Scheduler, seconds: float, waiting: int) -> int:
    """How many batches begin when so many requests wait whose model takes so long."""
    model = Model()
    measured(scheduler, model, seconds)
    for i in range(waiting):
        scheduler.push(Request(i, model))
    running = 0
    while scheduler.next(0.0) is not None:
        running += 1
    return running


# ---- single behaviours ------------------------------------------------------------


def test_requests_of_an_unmeasured_model_leave_one_at_a_time_in_order() -> None:
    scheduler = Scheduler(workers=4)
    model = Model()
    for i in range(3):
        scheduler.push(Request(i, model))
    assert [ids(scheduler.next(0.0)) for _ in range(3)] == [[0], [1], [2]]
    assert scheduler.next(0.0) is None


def test_tiny_requests_leave_together_but_are_not_merged() -> None:
    scheduler = Scheduler(workers=4)
    model = Model()
    measured(scheduler, model, SHORT / 10)
    for i in range(50):
        scheduler.push(Request(i, model))
    batch = scheduler.next(0.0)
    assert ids(batch) == list(range(10))
    assert batch is not None and not batch.merged


@pytest.mark.parametrize(
    ("workers", "seconds", "waiting", "expected"),
    [
        *((2, TURN / 5, waiting, expected) for waiting, expected in [(1, 1), (3, 1), (12, 3), (80, 5)]),
        # Many workers on short runs would need the GIL all the time.
        *((16, TURN / 10, waiting, expected) for waiting, expected in [(15, 1), (32, 2), (80, 5), (400, 10)]),
        (16, TURN / 2, 80, 2),
        (16, TURN, 400, 1),
    ],
)
def test_longer_requests_leave_together_only_while_all_workers_have_enough(
    workers: int, seconds: float, waiting: int, expected: int
) -> None:
    scheduler = Scheduler(workers)
    model = Model()
    measured(scheduler, model, seconds)
    for i in range(waiting):
        scheduler.push(Request(i, model))
    scheduler.push(Request(waiting, Model()))  # somebody asks for another one, too
    assert ids(scheduler.next(0.0)) == list(range(expected))


@pytest.mark.parametrize(("waiting", "expected"), [(3, 1), (12, 3), (80, 8)])
def test_turns_are_longer_while_nobody_asks_for_another_model(waiting: int, expected: int) -> None:
    scheduler = Scheduler(workers=2)
    model = Model()
    measured(scheduler, model, LONG_TURN / 8.5)
    for i in range(waiting):
        scheduler.push(Request(i, model))
    assert ids(scheduler.next(0.0)) == list(range(expected))


def test_a_short_model_keeps_one_worker_and_a_long_one_gets_all() -> None:
    for seconds, expected in ((SHORT / 2, 1), (SHORT * 2, 4)):
        assert batches_at_once(Scheduler(workers=4), seconds, 20) == expected


@pytest.mark.parametrize(
    ("seconds", "waiting", "batches"),
    [
        (SHORT * 0.8, 50, 3),
        (SHORT * 0.8, 1, 1),  # one worker has it soon
        (TINY / 2, 50, 1),
    ],
)
def test_a_short_model_gets_several_workers_where_there_are_cores_and_enough_waits(
    seconds: float, waiting: int, batches: int
) -> None:
    scheduler = Scheduler(workers=8, cores=4)
    model = Model()
    measured(scheduler, model, seconds)
    for i in range(waiting):
        scheduler.push(Request(i, model))
    running = []
    while (batch := scheduler.next(0.0)) is not None:
        assert batch.has_more == scheduler.has_ready(0.0), "somebody else is woken if need be"
        running.append(batch)
    assert len(running) == batches


@pytest.mark.parametrize(
    ("seconds", "cores", "batches"),
    [
        (SHORT_ON_GPU * 0.8, 16, SHORT_WORKERS_ON_GPU),  # many would wait for the driver's locks
        (SHORT_ON_GPU * 0.8, 2, SHORT_WORKERS_ON_GPU),  # while one waits for the GPU another may ask for its run
        (SHORT_ON_GPU * 1.2, 16, 8),
    ],
)
def test_short_runs_on_a_gpu_get_few_workers(seconds: float, cores: int, batches: int) -> None:
    assert batches_at_once(Scheduler(workers=8, cores=cores, on_gpu=True), seconds, 50) == batches


def test_what_is_left_does_not_wait_for_the_end_of_a_long_turn() -> None:
    scheduler = Scheduler(workers=8, cores=4)
    model = Model()
    measured(scheduler, model, SHORT * 0.8)
    for i in range(100):
        scheduler.push(Request(i, model))
    long = scheduler.next(0.0)
    assert long is not None and long.expected > SHORT
    while (other := scheduler.next(0.0)) is not None:
        scheduler.finished(other, other.expected, len(other.requests))
    assert len(scheduler) == 0
    scheduler.push(Request(100, model))
    assert ids(scheduler.next(0.0)) == [100], "the worker of the long turn is not back for long"
    scheduler.push(Request(101, model))
    assert scheduler.next(0.0) is None, "but this one is"


def test_a_short_model_whose_rows_cost_little_keeps_one_worker() -> None:
    scheduler = Scheduler(workers=8, cores=8)
    model = Model(batch_size=16)
    for i in range(200):
        rows = 1 + i % 8
        scheduler.push(Request(i, model, rows))
        batch = scheduler.next(0.0)
        assert batch is not None
        scheduler.finished(batch, SHORT * 0.6 + rows * SHORT / 1000, 1)
    for i in range(200, 206):
        scheduler.push(Request(i, model))
    first = scheduler.next(0.0)
    assert ids(first) == list(range(200, 206))
    for i in range(206, 212):
        scheduler.push(Request(i, model))
        assert scheduler.next(0.0) is None, "one large batch is better than two small ones"


def test_wide_runs_make_no_model_short() -> None:
    scheduler = Scheduler(workers=8, cores=8)
    model = Model()
    measured(scheduler, model, SHORT * 3)
    for i in range(100):
        scheduler.push(Request(i, model))
        batch = scheduler.next(0.0)
        assert batch is not None and batch.is_long
        scheduler.finished(batch, SHORT / 2, 1, wide=True)


def test_requests_that_wait_for_more_rows_ripen() -> None:
    scheduler = Scheduler(workers=2)
    model = Model(batch_size=2, min_batch_size=2, min_batch_timeout=0.02)
    for i in range(3):
        scheduler.push(Request(i, model, enqueued=1.0, deadline=5.0))
    assert ids(scheduler.next(1.0)) == [0, 1]
    assert not scheduler.has_ready(1.0)
    assert (scheduler.ripe_at(), scheduler.wake_at()) == (1.02, 1.02)
    assert ids(scheduler.next(1.03)) == [2]
    assert scheduler.ripe_at() == inf


def test_cores_are_left_idle_by_a_client_that_has_been_alone_for_a_while() -> None:
    scheduler = Scheduler(workers=4)
    model = Model()
    said = []
    for _ in range(SOLITARY):
        scheduler.push(Request(0, model))
        batch = scheduler.next(0.0)
        assert batch is not None
        said.append(scheduler.leaves_cores_idle())
        scheduler.finished(batch, 1.0, 1)
    assert said == [False] * (SOLITARY - 1) + [True]


@pytest.mark.parametrize("is_running", [False, True])
def test_a_second_client_ends_that(is_running: bool) -> None:
    scheduler = Scheduler(workers=4)
    model = Model()
    for _ in range(SOLITARY):
        measured(scheduler, model, 1.0)
    scheduler.push(Request(0, model))
    if is_running:
        scheduler.next(0.0)
    scheduler.push(Request(1, model))
    while (batch := scheduler.next(0.0)) is not None:
        scheduler.finished(batch, 1.0, 1)
    scheduler.push(Request(2, model))
    assert scheduler.next(0.0) is not None
    assert not scheduler.leaves_cores_idle()


@pytest.mark.parametrize(("cores", "most"), [(1, 0), (2, 0), (3, 1), (8, 4)])
def test_a_few_runs_leave_room_on_many_cores(cores: int, most: int) -> None:
    scheduler = Scheduler(8, cores)
    model = Model()
    said = []
    for i in range(6):
        scheduler.push(Request(i, model))
        waits = scheduler.leaves_room()
        assert scheduler.next(0.0) is not None
        said.append(scheduler.leaves_room())
        assert not waits, "what waits has no room"
    assert said == [True] * most + [False] * (6 - most)


def test_a_batch_is_never_larger_than_batchsize() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=5)
    for i, rows in enumerate((2, 2, 2)):
        scheduler.push(Request(i, model, rows=rows))
    assert ids(scheduler.next(0.0)) == [0, 1]


def test_a_request_larger_than_batchsize_runs_alone() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=4)
    scheduler.push(Request(0, model, rows=9))
    scheduler.push(Request(1, model))
    batch = scheduler.next(0.0)
    assert ids(batch) == [0]
    assert batch is not None and not batch.merged


@pytest.mark.parametrize(("seconds_per_row", "batches"), [(0.0, 1), (1e-3, 2)])
def test_one_large_batch_is_preferred_where_rows_are_cheap(seconds_per_row: float, batches: int) -> None:
    scheduler = Scheduler(workers=2)
    model = Model(batch_size=8)
    for rows in (1, 2, 4, 7, 3):
        scheduler.push(Request(rows, model, rows=rows))
        batch = scheduler.next(0.0)
        assert batch is not None
        scheduler.finished(batch, 1e-3 + seconds_per_row * rows, 1)
    for i in range(12):  # more than one batch, but not two full ones
        scheduler.push(Request(100 + i, model))
    assert ids(scheduler.next(0.0)) == list(range(100, 108))
    assert (scheduler.next(0.0) is not None) == (batches == 2)


def test_only_equal_signatures_are_merged() -> None:
    scheduler = Scheduler(workers=2)
    model = Model(batch_size=8)
    for i, shape in enumerate(((4,), (5,), (4,), (5,))):
        scheduler.push(Request(i, model, shape=shape))
    assert ids(scheduler.next(0.0)) == [0, 2]
    assert ids(scheduler.next(0.0)) == [1, 3]


def test_requests_without_a_common_first_dimension_are_not_merged() -> None:
    scheduler = Scheduler(workers=2)
    model = Model(batch_size=8)
    scheduler.push(Request(0, model, rows=0))
    scheduler.push(Request(1, model, rows=1))
    assert ids(scheduler.next(0.0)) == [0]


def test_minbatchsize_waits_for_rows_and_then_goes_at_once() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=8, min_batch_size=3)
    scheduler.push(Request(0, model))
    scheduler.push(Request(1, model))
    assert scheduler.next(1000.0) is None
    assert scheduler.wake_at() == inf
    scheduler.push(Request(2, model))
    assert ids(scheduler.next(1000.0)) == [0, 1, 2]


@pytest.mark.parametrize("rows", [(3, 2), (3, 1, 1), (1, 2, 2)])
def test_a_batch_that_is_full_does_not_wait_for_minbatchsize(rows: tuple[int, ...]) -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=4, min_batch_size=4)
    for id_, count in enumerate(rows):
        scheduler.push(Request(id_, model, rows=count))
    assert scheduler.has_ready(0.0)
    batch = scheduler.next(0.0)
    assert batch is not None
    assert ids(batch) == list(range(len(batch.requests)))
    assert sum(rows[: len(batch.requests) + 1]) > 4 or sum(rows[: len(batch.requests)]) == 4


def test_minbatchsize_above_batchsize_is_reached_by_a_full_batch() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=2, min_batch_size=8)
    scheduler.push(Request(0, model))
    assert scheduler.next(0.0) is None
    scheduler.push(Request(1, model))
    assert ids(scheduler.next(0.0)) == [0, 1]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([(2, (7,)), (2, (7,))], [1, 2]),  # enough rows of another shape
        ([(2, (7,)), (1, (8,)), (2, (7,))], [1, 3]),
        ([(3, (7,)), (2, (7,))], [1]),  # full: the next one does not fit
        ([(5, (7,))], [1]),  # larger than BATCHSIZE
        ([(0, (7,))], [1]),  # not to be batched at all
        ([(1, (7,)), (0, (7,))], [2]),
    ],
)
def test_requests_that_cannot_join_the_one_that_waits_do_not_wait_with_it(
    others: list[tuple[int, tuple[int, ...]]], expected: list[int]
) -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=4, min_batch_size=4)
    scheduler.push(Request(0, model, rows=1))
    for id_, (rows, shape) in enumerate(others, 1):
        scheduler.push(Request(id_, model, rows=rows, shape=shape))
    assert scheduler.has_ready(0.0)
    assert ids(scheduler.next(0.0)) == expected


@pytest.mark.parametrize("rows", [4, 9])
def test_a_request_that_runs_alone_ends_nobodys_wait_for_minbatchsize(rows: int) -> None:
    scheduler = Scheduler(workers=2)
    model = Model(batch_size=4, min_batch_size=3)
    scheduler.push(Request(0, model, rows=1))
    scheduler.push(Request(1, model, rows=rows))
    assert ids(scheduler.next(0.0)) == [1]
    assert scheduler.next(0.0) is None
    scheduler.push(Request(2, model, rows=2))
    assert ids(scheduler.next(0.0)) == [0, 2]


def test_minbatchtimeout_ends_the_wait() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=8, min_batch_size=3, min_batch_timeout=0.5)
    scheduler.push(Request(0, model, enqueued=1.0))
    assert scheduler.next(1.0) is None
    assert scheduler.wake_at() == 1.5
    assert ids(scheduler.next(1.5)) == [0]


def test_a_model_that_waits_does_not_hold_up_another() -> None:
    scheduler = Scheduler(workers=1)
    scheduler.push(Request(0, Model(batch_size=8, min_batch_size=8)))
    scheduler.push(Request(1, Model()))
    assert ids(scheduler.next(0.0)) == [1]


def test_urgent_requests_leave_first() -> None:
    scheduler = Scheduler(workers=1)
    model, urgent = Model(), Model(is_urgent=True)
    for i in range(3):
        scheduler.push(Request(i, model))
    for i in range(10, 12):
        scheduler.push(Request(i, urgent))
    order = []
    while (batch := scheduler.next(0.0)) is not None:
        order += ids(batch)
        scheduler.finished(batch, 1e-3, 1)
    assert order == [10, 11, 0, 1, 2]


def test_an_urgent_model_that_has_its_workers_does_not_hold_up_the_others() -> None:
    scheduler = Scheduler(workers=1)
    urgent = Model(is_urgent=True)
    for i in range(2):
        scheduler.push(Request(i, urgent))
    scheduler.push(Request(2, Model()))
    assert [ids(scheduler.next(0.0)), ids(scheduler.next(0.0))] == [[0], [2]]


def test_a_deadline_that_passed_takes_the_request_out() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=8, min_batch_size=8)
    scheduler.push(Request(0, model, deadline=2.0))
    assert scheduler.wake_at() == 2.0
    assert scheduler.expired(2.0) == []
    assert [request.id for request in scheduler.expired(2.1)] == [0]
    assert len(scheduler) == 0 and scheduler.wake_at() == inf


def test_a_cancelled_request_never_leaves() -> None:
    scheduler = Scheduler(workers=1)
    model = Model()
    for i in range(3):
        scheduler.push(Request(i, model))
    cancelled = scheduler.cancel(1)
    assert cancelled is not None and cancelled.id == 1
    assert scheduler.cancel(1) is None
    assert ids(scheduler.next(0.0)) == [0]


def test_a_busy_model_whose_wait_is_over_does_not_ask_for_a_wake_up() -> None:
    scheduler = Scheduler(workers=1)
    model = Model(batch_size=2, min_batch_size=2, min_batch_timeout=1.0)
    for i in range(3):
        scheduler.push(Request(i, model))
    batch = scheduler.next(0.0)
    assert ids(batch) == [0, 1]
    assert scheduler.wake_at() == inf  # nothing can start before the running batch is done
    assert batch is not None
    scheduler.finished(batch, 0.01, 1)
    assert scheduler.wake_at() == 1.0


# ---- all laws on random histories ------------------------------------------------------

MODELS = st.builds(
    Model,
    batch_size=st.sampled_from([0, 0, 1, 3, 8]),
    min_batch_size=st.sampled_from([0, 0, 2, 5]),
    min_batch_timeout=st.sampled_from([0.0, 0.01, 1.0]),
    is_urgent=st.booleans(),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"),
            st.integers(0, 2),  # model
            st.integers(0, 9),  # rows
            st.sampled_from([inf, inf, 0.0, 0.02, 3.0]),  # time to live
            st.sampled_from([(4,), (5,)]),
        ),
        st.tuples(st.just("next")),
        st.tuples(st.just("finish"), st.floats(1e-6, 1e-2)),
        st.tuples(st.just("cancel"), st.integers(0, 40)),
        st.tuples(st.just("sleep"), st.floats(0.0, 0.5)),
        st.tuples(st.just("expire")),
    ),
    max_size=120,
)


class History:
    """Plays steps against a scheduler and checks every law as it goes."""

    def __init__(self, models: list[Model], workers: int, cores: int) -> None:
        self.models = models
        self.workers = workers
        self.scheduler = Scheduler(workers, cores)
        self.now = 0.0
        self.requests: list[Request] = []
        self.running: list[Batch] = []
        self.left: dict[tuple[int, tuple[int, ...]], int] = {}  # last id that left, by model and signature

    def push(self, index: int, rows: int, time_to_live: float, shape: tuple[int, ...]) -> None:
        model = self.models[index % len(self.models)]
        request = Request(len(self.requests), model, rows, self.now, self.now + time_to_live, shape)
        self.requests.append(request)
        self.scheduler.push(request)

    def next(self) -> bool:
        batch = self.scheduler.next(self.now)
        if batch is None:
            return False
        model, requests = batch.model, batch.requests
        if not model.is_urgent:
            self._check_that_nothing_urgent_could_run()
        assert requests and all(request.model is model for request in requests)
        for request in requests:
            request.fate.append("ran")
        if batch.merged:
            rows = sum(request.rows for request in requests)
            assert rows <= model.batch_size, "a batch is larger than BATCHSIZE"
            assert len({request.shape for request in requests}) == 1
            waited_enough = model.min_batch_timeout and self.now >= requests[0].enqueued + model.min_batch_timeout
            assert rows >= model.min_batch_size or waited_enough or self._is_full(requests)
        for request in requests:
            if model.batch_size == 0 or request.rows:
                key = (id(model), request.shape if model.batch_size else ())
                assert self.left.get(key, -1) < request.id, "a request overtook an older one"
                self.left[key] = request.id
        self.running.append(batch)
        assert sum(other.model is model for other in self.running) <= self.workers
        return True

    def rows_waiting_like(self, one: Request) -> int:
        """The rows of all waiting requests that can be concatenated with one of them, and its own."""
        waiting = [request for request in self.requests if not request.fate and request.model is one.model]
        return one.rows and sum(request.rows for request in waiting if request.shape == one.shape)

    def _is_full(self, batch: list[Request]) -> bool:
        """Whether the next request that could be concatenated with a batch's does not fit."""
        model, rows = batch[0].model, sum(request.rows for request in batch)
        others = [request for request in self.requests if not request.fate and request.rows and request.model is model]
        behind = [request.rows for request in others if request.shape == batch[0].shape]
        return rows == model.batch_size or bool(behind and rows + behind[0] > model.batch_size)

    def _check_that_nothing_urgent_could_run(self) -> None:
        waiting = {id(request.model): request.model for request in self.requests if not request.fate}
        for model in waiting.values():
            has_its_workers = any(other.model is model for other in self.running)
            waits_for_rows = model.min_batch_size > 0
            assert not model.is_urgent or has_its_workers or waits_for_rows, "a request overtook an urgent one"

    def finish(self, seconds: float) -> None:
        if self.running:
            batch = self.running.pop(0)
            self.scheduler.finished(batch, seconds, 1 if batch.merged else len(batch.requests))

    def cancel(self, request_id: int) -> None:
        request = self.scheduler.cancel(request_id)
        if request is not None:
            request.fate.append("cancelled")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def expire(self) -> None:
        for request in self.scheduler.expired(self.now):
            assert request.deadline < self.now
            request.fate.append("expired")
        waiting = [request for request in self.requests if not request.fate]
        assert all(request.deadline >= self.now for request in waiting), "a request waits past its deadline"

    def drain(self) -> None:
        """Runs until nothing is left that time or free workers could bring out."""
        for _ in range(10_000):
            self.expire()
            if self.next():
                continue
            if self.running:
                self.finish(1e-3)
            elif self.scheduler.wake_at() < inf:
                self.now = max(self.now, self.scheduler.wake_at()) + 1e-9
            else:
                return
        raise AssertionError("the scheduler does not come to rest")


@settings(max_examples=300, deadline=None)
@given(
    models=st.lists(MODELS, min_size=1, max_size=3),
    workers=st.integers(1, 3),
    cores=st.integers(1, 4),
    steps=STEPS,
)
def test_every_law_holds_on_every_history(
    models: list[Model], workers: int, cores: int, steps: list[tuple[Any, ...]]
) -> None:
    for model in models:  # Redis refuses MINBATCHSIZE without BATCHSIZE, and MINBATCHTIMEOUT without MINBATCHSIZE
        model.min_batch_size = model.min_batch_size if model.batch_size else 0
        model.min_batch_timeout = model.min_batch_timeout if model.min_batch_size else 0.0
        model.line = None
    history = History(models, workers, cores)
    for name, *arguments in steps:
        getattr(history, name)(*arguments)
    history.drain()
    for request in history.requests:
        if not request.fate:  # only a batch that may wait for ever may still wait, and only with too few rows
            assert request.model.min_batch_size > 0 and request.model.min_batch_timeout == 0
            rows = history.rows_waiting_like(request)
            assert 0 < rows < min(request.model.min_batch_size, request.model.batch_size)
        else:
            assert len(request.fate) == 1, "a request left more than once"


@pytest.mark.parametrize("workers", [1, 2])
def test_has_ready_says_whether_next_would_give_something(workers: int) -> None:
    scheduler = Scheduler(workers)
    assert not scheduler.has_ready(0.0)
    model = Model(batch_size=4, min_batch_size=2)
    scheduler.push(Request(0, model))
    assert not scheduler.has_ready(0.0)
    scheduler.push(Request(1, model))
    assert scheduler.has_ready(0.0)
    scheduler.next(0.0)
    assert not scheduler.has_ready(0.0)
