"""The cores that this process may use, and on which of them the threads of one run are.

A kernel wakes a thread on a core that has nothing to do, if it sees one. As the guest of a hypervisor
it sees none that has slept for longer than a moment, since the host has taken that core away, and wakes
all threads of a run on the core of the one that wakes them. There they take turns until the next time
that the kernel balances, some milliseconds later: runs of 1 ms took twice as long with two threads as
with one when requests came every 10 ms. So threads that share a run are put on cores of their own.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_native_id

AVAILABLE = sorted(os.sched_getaffinity(0))
CORES = len(AVAILABLE)

THREADS = Path("/proc/self/task")

current_core = ctypes.CDLL(None).sched_getcpu
"""The number of the core that the calling thread is on; -1: unknown."""


class Pool:
    """Threads of a framework that share the runs of a caller, who is none of them.

    While ``spread`` each is bound to one core, and none to the caller's.
    """

    def __init__(self) -> None:
        self._bound: dict[int, int] = {}  # core by id of thread; -1: any
        self._name = ""
        self._left = -1  # the core that is left to the caller; -1: the threads are not spread

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
            self._name = f"{name[:10]}-pool"
            for thread in [int(entry.name) for entry in THREADS.iterdir()]:
                if name_of(thread) == mark:
                    rename(thread, self._name)
                    self._bound[thread] = -1
            self._left = -1

    def __len__(self) -> int:
        return len(self._bound)

    def arrange(self, alone: bool) -> None:
        """Before a run of the calling thread: spreads the threads if nothing else runs, and lets go of them if not."""
        if alone:
            self.spread()
        elif self._left >= 0:
            self.let_go()

    def spread(self) -> None:
        """Before a run of the calling thread; costs 0.3 us where it and the pool are apart already."""
        if not self._bound:
            return
        core = current_core()
        if core == self._left:
            return
        others = [other for other in AVAILABLE if other != core or len(self._bound) >= CORES]
        if core not in AVAILABLE or not others:
            return
        if self._left < 0:
            for position, thread in enumerate(list(self._bound)):
                self._bind(thread, others[position % len(others)])
        elif len(self._bound) < CORES:  # the caller has moved: whoever is there takes its former place
            for thread, bound in list(self._bound.items()):
                if bound == core:
                    self._bind(thread, self._left)
        self._left = core

    def let_go(self) -> None:
        """The kernel decides again where the threads are: others need the cores, too."""
        for thread in list(self._bound):
            self._bind(thread, -1)
        self._left = -1

    def _bind(self, thread: int, core: int) -> None:
        if name_of(thread) != self._name:  # it has ended, and the id may be another's
            self._bound.pop(thread, None)
            return
        self._bound[thread] = core
        if not bind(thread, AVAILABLE if core < 0 else [core]):
            self._bound.pop(thread, None)


def bind(thread: int, cores: Sequence[int]) -> bool:
    """Binds a thread (0: the calling one) to cores; false where it has ended, or that is not allowed."""
    try:
        os.sched_setaffinity(thread, cores)
    except OSError:
        return False
    return True


def name_of(thread: int) -> str:
    """The name of a thread of this process; empty when there is no such thread."""
    try:
        return (THREADS / str(thread) / "comm").read_text().rstrip("\n")
    except OSError:
        return ""


def rename(thread: int, name: str) -> None:
    """Names a thread of this process; the kernel keeps 15 characters."""
    try:
        (THREADS / str(thread) / "comm").write_text(name)
    except OSError:
        pass
