"""Threads that share a run are kept on cores of their own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redisai_py.cores import AVAILABLE, CORES, Pool, current_core, name_of

pytestmark = pytest.mark.skipif(CORES < 2, reason="needs two cores")


class Waiting:
    """Threads that wait until they are told to end."""

    def __init__(self) -> None:
        self.end = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, count: int) -> list[int]:
        """Their ids."""
        new = [threading.Thread(target=self.end.wait) for _ in range(count)]
        for thread in new:
            thread.start()
        self.threads += new
        return [thread.native_id for thread in new if thread.native_id is not None]

    def stop(self) -> None:
        self.end.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    threads = Waiting()
    yield threads
    threads.stop()


@pytest.fixture
def stay() -> Iterator[Callable[[int], None]]:
    """Takes the calling thread to a core; it is let go in the end."""
    yield lambda core: os.sched_setaffinity(0, [core])
    os.sched_setaffinity(0, AVAILABLE)


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


def test_each_has_a_core_and_none_the_callers(waiting: Waiting, stay: Callable[[int], None]) -> None:
    pool, threads = adopted(waiting, CORES - 1)
    assert cores_of(threads) == [set(AVAILABLE)] * (CORES - 1)
    for core in (AVAILABLE[0], AVAILABLE[-1], AVAILABLE[0]):
        stay(core)
        pool.spread()
        bound = cores_of(threads)
        assert all(len(cores) == 1 for cores in bound)
        assert set().union(*bound) == set(AVAILABLE) - {core}


def test_as_many_threads_as_cores_have_one_each(waiting: Waiting, stay: Callable[[int], None]) -> None:
    pool, threads = adopted(waiting, CORES)
    for core in (AVAILABLE[0], AVAILABLE[-1]):
        stay(core)
        pool.spread()
        assert sorted(cores_of(threads), key=min) == [{core} for core in AVAILABLE]


def test_they_are_let_go_when_others_need_the_cores(waiting: Waiting) -> None:
    pool, threads = adopted(waiting, 1)
    pool.arrange(alone=True)
    assert [len(cores) for cores in cores_of(threads)] == [1]
    pool.arrange(alone=False)
    assert cores_of(threads) == [set(AVAILABLE)]
    pool.arrange(alone=True)
    assert [len(cores) for cores in cores_of(threads)] == [1]


def test_threads_that_have_ended_are_forgotten(waiting: Waiting, stay: Callable[[int], None]) -> None:
    pool, _ = adopted(waiting, CORES - 1)
    waiting.stop()
    stay(AVAILABLE[0])
    pool.spread()
    assert len(pool) == 0


def test_a_thread_whose_id_was_reused_is_not_bound(waiting: Waiting) -> None:
    """It is told by its name."""
    pool, threads = adopted(waiting, 1)
    Path(f"/proc/self/task/{threads[0]}/comm").write_text("another")
    pool.spread()
    assert cores_of(threads) == [set(AVAILABLE)]


def test_the_caller_is_on_one_of_the_cores() -> None:
    assert current_core() in AVAILABLE
