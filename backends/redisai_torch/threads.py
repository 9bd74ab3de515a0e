"""How many threads a run uses, and which stream of a GPU.

One thread, as a rule: the scheduler spreads runs over the cores, and a short one only
loses by being divided. A heavy run that has the machine to itself uses all cores, if
it comes to the one worker that has a pool for it, which it does under light load.
OpenMP gives every thread that runs in parallel a pool of its own, and two pools that
together exceed the cores make each other slower than one core would be.

What is in one stream of a GPU is done in order, and a run of one request seldom fills a
GPU. So every worker has a stream of its own: 16 of them run a ResNet-18 four times as
often. Results are waited for before a run ends, so that nothing passes from stream to
stream but the weights, which have been waited for, too, and constants: PyTorch computes
those while it optimises a model, in the stream of the run at hand, and keeps them for all.
So the first runs of a model come one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import torch

from redisai_py import cores
from redisai_py.backend import Run
from redisai_py.cores import CORES

TRIES = 3  # runs in a row on several cores that were slower than on one, and end that
REST = 100  # runs on one core before several are tried again

ENOUGH_FOR_ONE = 1 << 16  # elements, twice as many as PyTorch gives each thread at least

T = TypeVar("T")


class Thread:
    """A worker thread's settings in PyTorch, which keeps them for each thread."""

    def __init__(self, intra_op: int) -> None:
        torch.set_grad_enabled(False)
        torch.get_num_threads()  # the first call takes over what another thread has set last
        torch.set_num_threads(intra_op or 1)
        self.pool = openmp_pool() if intra_op > 1 else cores.Pool()
        self.inference_mode = torch.inference_mode()
        self._streams: dict[torch.device, Any] = {}

    def run_on(self, gpu: torch.device, own_stream: bool, work: Callable[[], T]) -> T:
        """The result of ``work()``, which works in this thread's stream of a GPU, or in the one that all share."""
        stream = torch.cuda.default_stream(gpu)
        if own_stream:
            stream = self._streams.get(gpu) or self._streams.setdefault(gpu, torch.cuda.Stream(gpu))
        with torch.cuda.stream(stream):
            result = work()
            stream.synchronize()  # a model may itself copy to the CPU, without waiting for it
            return result


def thread_of(run: Run, intra_op: int) -> Thread:
    """The settings of the worker thread that calls; made, and thereby applied, when it comes first."""
    thread: Thread | None = run.state.get(Thread)
    if thread is None:
        thread = run.state[Thread] = Thread(intra_op)
    return thread


def openmp_pool() -> cores.Pool:
    """The threads that OpenMP has, from now on, for what the calling thread runs."""
    pool = cores.Pool()
    with pool.adopt():
        torch.zeros(torch.get_num_threads() * ENOUGH_FOR_ONE).add_(1)  # it starts them when there is work to share
    return pool


class Pool:
    """The pool of all cores, which belongs to the worker that first asked for it."""

    def __init__(self) -> None:
        self._owner: Thread | None = None
        self._lock = Lock()
        self._threads: cores.Pool | None = None

    def belongs_to(self, thread: Thread) -> bool:
        if self._owner is None:
            with self._lock:
                self._owner = self._owner or thread
        return self._owner is thread

    def run(self, work: Callable[[], T], core: int) -> T:
        """The result of ``work()``, on the owner's thread, which is on ``core``, with all cores."""
        torch.set_num_threads(CORES)
        try:
            if self._threads is None:
                self._threads = openmp_pool()
            self._threads.arrange(core)
            return work()
        finally:
            torch.set_num_threads(1)
