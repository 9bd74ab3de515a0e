"""Threads that share a run are kept on cores of their own."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Iterator

import pytest

from redisai_py.cores import Pool, name_of

AVAILABLE = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(len(AVAILABLE) < 2, reason="needs two cores")


class Waiting:
    """Threads that wait until they are told to end, with the name of who starts them."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.changed = threading.Condition()
        self.running = 0
        self.ending = False

    def _run(self) -> None:
        with self.changed:
            self.ids.append(threading.get_native_id())
            self.running += 1
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.ending)
            self.running -= 1
            self.changed.notify_all()

    def start(self, count: int) -> list[int]:
        """Their ids, in order of their start, which is that of their ids as well."""
        before = len(self.ids)
        for number in range(count):
            _thread.start_new_thread(self._run, ())  # threading's own threads get names from Python 3.14 on
            with self.changed:
                self.changed.wait_for(lambda number=number: len(self.ids) > before + number)
        return self.ids[before:]

    def stop(self) -> None:
        with self.changed:
            self.ending = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.running == 0)
        while any(name_of(thread) for thread in self.ids):
            pass


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    threads = Waiting()
    yield threads
    threads.stop()


def adopted(waiting: Waiting, count: int) -> tuple[Pool, list[int]]:
    pool = Pool()
    with pool.adopt():
        threads = waiting.start(count)
    return pool, threads


def cores_of(threads: list[int]) -> list[set[int]]:
    return [os.sched_getaffinity(thread) for thread in threads]


def test_threads_are_adopted_by_who_starts_them(waiting: Waiting) -> None:
    own = threading.get_native_id()
    name = name_of(own)
    waiting.start(1)
    pool, threads = adopted(waiting, 2)
    others = waiting.start(1)
    assert len(pool) == 2
    assert name_of(own) == name
    assert [name_of(thread) for thread in threads] == [f"{name[:10]}-pool"] * 2
    assert name_of(others[0]) == name


def test_threads_of_others_are_not_adopted(waiting: Waiting) -> None:
    started, go_on = threading.Event(), threading.Event()

    def other() -> None:
        go_on.wait()
        waiting.start(1)
        started.set()

    thread = threading.Thread(target=other)
    thread.start()
    pool = Pool()
    with pool.adopt():
        go_on.set()
        started.wait()
    thread.join()
    assert len(pool) == 0


def test_each_has_a_core_and_none_the_callers(waiting: Waiting) -> None:
    pool, threads = adopted(waiting, len(AVAILABLE) - 1)
    assert cores_of(threads) == [set(AVAILABLE)] * len(threads)
    for core in (AVAILABLE[0], AVAILABLE[-1], AVAILABLE[0]):
        pool.arrange(core)
        bound = cores_of(threads)
        assert all(len(cores) == 1 for cores in bound)
        assert set().union(*bound) == set(AVAILABLE) - {core}


def test_few_threads_have_the_choice_of_all_cores_but_the_callers(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[tuple[int, set[int]]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {AVAILABLE[0], 101, 102, 103})
    pool, threads = adopted(waiting, 2)
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, cores: chosen.append((thread, set(cores))))
    pool.arrange(AVAILABLE[0])
    assert chosen == [(thread, {101, 102, 103}) for thread in threads]


def test_as_many_threads_as_cores_have_one_each(waiting: Waiting) -> None:
    pool, threads = adopted(waiting, len(AVAILABLE))
    for core in (AVAILABLE[0], AVAILABLE[-1]):
        pool.arrange(core)
        assert sorted(cores_of(threads), key=min) == [{core} for core in AVAILABLE]


def test_they_are_let_go_when_others_need_the_cores(waiting: Waiting) -> None:
    pool, threads = adopted(waiting, len(AVAILABLE) - 1)
    pool.arrange(AVAILABLE[0])
    assert {len(cores) for cores in cores_of(threads)} == {1}
    pool.arrange(-1)
    assert cores_of(threads) == [set(AVAILABLE)] * len(threads)
    pool.arrange(AVAILABLE[0])
    assert {len(cores) for cores in cores_of(threads)} == {1}


def test_a_pool_that_has_grown_is_let_go_as_a_whole(waiting: Waiting) -> None:
    pool, threads = adopted(waiting, 1)
    pool.arrange(AVAILABLE[0])
    with pool.adopt():
        threads += waiting.start(1)
    pool.arrange(-1)
    assert cores_of(threads) == [set(AVAILABLE)] * 2


def test_a_pool_may_be_arranged_while_it_grows(waiting: Waiting) -> None:
    """Other workers' runs go on while a session makes threads."""
    pool, done = Pool(), threading.Event()
    errors: list[Exception] = []

    def arrange() -> None:
        while not done.wait(0.0003):
            for core in AVAILABLE:
                try:
                    pool.arrange(core)
                except Exception as error:
                    errors.append(error)

    arranging = threading.Thread(target=arrange)
    arranging.start()
    threads: list[int] = []
    for _ in range(10):
        with pool.adopt():
            threads += waiting.start(2)
    done.set()
    arranging.join()
    assert not errors
    assert len(pool) == len(threads)
    for core in AVAILABLE:
        pool.arrange(core)  # knows a place for each
    assert {len(cores) for cores in cores_of(threads)} == {1}


def test_threads_that_have_ended_are_forgotten(waiting: Waiting) -> None:
    pool, _ = adopted(waiting, 1)
    waiting.stop()
    pool.arrange(AVAILABLE[0])
    assert len(pool) == 0


def test_where_it_is_not_allowed_it_is_not_tried_again(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int, cores: set[int]) -> None:
        raise PermissionError

    pool, threads = adopted(waiting, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "sched_setaffinity", refuse)
        pool.arrange(AVAILABLE[0])
    pool.arrange(AVAILABLE[0])
    assert cores_of(threads) == [set(AVAILABLE)]
