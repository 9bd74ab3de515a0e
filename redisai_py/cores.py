"""The cores that this process may use, and on which of them the threads of one run are.

A kernel wakes a thread on a core that has nothing to do, if it sees one. As the guest of a hypervisor
it sees none that has slept for longer than a moment, since the host has taken that core away, and wakes
all threads of a run on the core of the one that wakes them. There they take turns until the next time
that the kernel balances, some milliseconds later: runs of 1 ms took twice as long with two threads as
with one when requests came every 10 ms. So threads that share a run are put on cores of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, get_native_id

CORES = len(os.sched_getaffinity(0))
HEAVY = 150e-6
"""Seconds: a run that takes longer on one core is worth several, if they have nothing else to do."""

THREADS = Path("/proc/self/task")


class Pool:
    """Threads of a framework that share the runs of a caller, who is none of them.

    While they are apart, none is on the caller's core, and none on another's, if there are enough
    cores. Where they are as many as the cores each has one: they do all the work then, and the caller
    waits for them.

    They have to live for as long as they are arranged: the ids of threads that have ended may be others'.
    """

    def __init__(self) -> None:
        self._threads: dict[int, Set[int]] = {}  # by id: the cores that it is bound to
        self._own_cores: Set[int] = frozenset()  # which they may use by themselves
        self._caller: int | None = -1  # whose core they are apart from; -1: they are not; None: not all are arranged
        self._places: dict[int, list[Set[int]]] = {}  # by the caller's core: those of each thread
        self._lock = Lock()

    @contextmanager
    def adopt(self) -> Iterator[None]:
        """All threads that the calling thread starts meanwhile belong to the pool.

        Threads inherit their name: the caller has one for the time that nobody else has.
        """
        own = get_native_id()
        name, mark = name_of(own), f"pool-{own}"
        rename(own, mark)
        try:
            yield
        finally:
            rename(own, name)
            new = [thread for thread in threads() if thread != own and name_of(thread) == mark]
            for thread in new:
                rename(thread, f"{name[:10]}-pool")
            with self._lock:  # others may arrange those that are there already
                self._own_cores = os.sched_getaffinity(0)
                self._threads |= dict.fromkeys(new, self._own_cores)
                self._places = {}
                self._caller = None

    def __len__(self) -> int:
        return len(self._threads)

    def arrange(self, core: int) -> None:
        """Before a run on ``core`` that is alone: keeps the threads apart. -1: it is not, and the kernel decides.

        Where requests come now and then, the caller is on another core each time, and waits for this.
        """
        if core == self._caller or not self._threads:
            return
        with self._lock:
            places = self._places.get(core)
            if places is None:
                places = self._places[core] = self._places_for(core)
            for thread, cores in list(zip(self._threads, places, strict=True)):
                if cores != self._threads[thread]:
                    self._bind(thread, cores)
            self._caller = core

    def _places_for(self, caller: int) -> list[Set[int]]:
        """The cores for each thread while the caller is on one, such that few of them move when the caller does."""
        count = len(self._threads)
        if caller < 0:
            return [self._own_cores] * count
        cores = sorted(self._own_cores)
        others = self._own_cores - {caller}
        if count < len(others):
            return [others] * count
        places = [cores[position % len(cores)] for position in range(count)]
        if count == len(others):
            places = [cores[-1] if core == caller else core for core in places]
        return [frozenset({core}) for core in places]

    def _bind(self, thread: int, cores: Set[int]) -> None:
        if bind(thread, cores):
            self._threads[thread] = cores
        else:  # it has ended, or this is not allowed
            del self._threads[thread]
            self._places = {}


def threads() -> list[int]:
    """The ids of all threads of this process, as far as they can be known."""
    with suppress(OSError):
        return [int(entry.name) for entry in THREADS.iterdir()]
    return []


def bind(thread: int, cores: Set[int]) -> bool:
    """Binds a thread to cores; false where it has ended, or that is not allowed."""
    try:
        os.sched_setaffinity(thread, cores)
    except OSError:
        return False
    return True


def name_of(thread: int) -> str:
    """The name of a thread of this process; empty when there is no such thread."""
    try:
        return (THREADS / str(thread) / "comm").read_bytes().rstrip(b"\n").decode(errors="replace")
    except OSError:
        return ""


def rename(thread: int, name: str) -> None:
    """Names a thread of this process; the kernel keeps 15 bytes."""
    with suppress(OSError):
        (THREADS / str(thread) / "comm").write_text(name)
