"""The thread shell around the scheduler: what a worker of a device queue does.

All workers of a queue, and the watchdog, share one scheduler, under one lock that is
never held while something runs or waits.
"""

from __future__ import annotations

import threading
from math import inf
from time import monotonic
from typing import Any

from redisai_py.backend import BackendError, Run
from redisai_py.cores import CORES

from . import native, watchdog
from .batching import execute_merged
from .scheduler import Batch, Scheduler

Request = Any  # request.Request: compiled, so mypy does not see it


class Device:
    """One device queue: the scheduler and what its workers share."""

    def __init__(self, queue: int, workers: int) -> None:
        """``queue`` is the address of the C queue, ``workers`` the most threads that it may have."""
        self.queue = queue
        self.scheduler: Scheduler[Request] = Scheduler(workers, CORES)
        self.lock = threading.Lock()

    def serve(self) -> None:
        """The life of a worker thread."""
        run = Run()
        run.overdue = lambda seconds: self._overdue(run, seconds)
        run.ended = lambda: retune(run, run.requests[0])
        watchdog.watch(run)
        wake_at = inf
        while True:
            wake_at = self._turn(run, wake_at)

    def _turn(self, run: Run, wake_at: float) -> float:
        """Waits for work and does some; when to look again. A frame of its own: while it waits it holds no request."""
        new, cancelled = native.take(self.queue, wake_at)
        batch, spent, wake_at = self._plan(new, cancelled)
        if spent:
            native.complete(spent)
        if batch is None:
            return wake_at
        del new, spent  # others of them may be over long before this run is
        self._run(batch, run)
        return 0.0

    def _plan(self, new: list[Request], cancelled: list[int]) -> tuple[Batch[Request] | None, list[Request], float]:
        """Feeds the scheduler and asks it: (what to run, what is over without a run, when to look again)."""
        now = monotonic()
        with self.lock:
            spent = self._accept(new, cancelled, now)
            batch = self.scheduler.next(now)
            wake_at = 0.0 if batch is not None else self.scheduler.wake_at()
        return batch, spent, wake_at

    def _accept(self, new: list[Request], cancelled: list[int], now: float) -> list[Request]:
        """Feeds the scheduler; what is over without a run. Called with the lock held."""
        scheduler = self.scheduler
        spent = []
        for request in new:
            if request.cancelled:  # its cancellation may have come first
                spent.append(request)
            else:
                scheduler.push(request)
        spent += [request for id in cancelled if (request := scheduler.cancel(id)) is not None]
        late = scheduler.expired(now)
        for request in late:
            native.time_out(request)
        return spent + late

    def expire(self) -> float:
        """Called by the watchdog: answers requests whose TIMEOUT has passed, since workers may all be busy.

        Returns when to look again (monotonic seconds).
        """
        if monotonic() < native.due(self.queue):
            return native.due(self.queue)
        spent: list[Request] = []
        while True:
            new, cancelled = native.take_waiting(self.queue)
            with self.lock:
                spent += self._accept(new, cancelled, monotonic())
                next_deadline = self.scheduler.next_deadline()
            if not new and not cancelled:
                break
            native.look(self.queue)  # a worker may be on its way for what is not in the queue any more
        native.complete_or_push(self.queue, spent)
        native.expect(self.queue, next_deadline)
        return native.due(self.queue)

    def _run(self, batch: Batch[Request], run: Run) -> None:
        run.away = batch.is_long or batch.has_more
        run.alone = run.has_room = run.wide = False
        if run.away:
            with self.lock:
                more = self.scheduler.has_ready(monotonic()) or self.scheduler.ripe_at() < inf
                run.alone = self.scheduler.leaves_cores_idle()
                run.has_room = self.scheduler.leaves_room()
            native.begin_long_run(self.queue, more)
        requests = batch.requests
        run.batch, run.requests = batch, requests
        native.begin(requests, 1 if batch.merged else len(requests))
        done = False
        results: list[Any] | None = None
        run.started = started = monotonic()
        run.deadline = started + native.execution_limit()
        native.arm_watchdog(run.deadline if run.away else started + watchdog.OVERDUE)
        try:
            if batch.model.execute_natively is not None:
                done = batch.model.execute_natively(requests, batch.merged, run)
            if not done:
                results = execute(batch, run)
        except BaseException as error:  # whatever a backend does, it fails its own requests only
            results = [error] * len(requests)
        with run.lock:
            run.deadline = inf
            run.terminate = None
        seconds = monotonic() - started
        run.batch, run.requests = None, []
        # Each request of a merged batch counts the whole run, otherwise its share of the time.
        share = seconds if batch.merged else seconds / len(requests)
        native.record(requests, results, share)
        with self.lock:
            self.scheduler.finished(batch, seconds, 1 if batch.merged else len(requests), run.wide)
        if run.away:
            native.end_long_run(self.queue)
        if run.prefer:
            run.prefer = False
            native.prefer_this_worker(self.queue)
        retune(run, requests[0])
        native.complete(requests)

    def _overdue(self, run: Run, seconds: float) -> None:
        """Called by the watchdog for a run that was expected to be short: others must not wait for it."""
        with self.lock:
            self.scheduler.overdue(run.batch, seconds)
        native.replace_stuck_worker(self.queue)


def retune(run: Run, request: Request) -> None:
    """Does what the session of the request's model asks for."""
    if run.retune:
        run.retune = False
        native.retune(request)


def execute(batch: Batch[Request], run: Run) -> list[Any] | None:
    """Runs a batch by the session's Python method; one result for each request, or None if they have theirs."""
    requests, model = batch.requests, batch.model
    if batch.merged:
        return execute_merged(model.session, requests, run, model.backend)
    results: list[Any] = model.execute([request.inputs for request in requests], run)
    if len(results) != len(requests):
        raise BackendError(f"ERR the backend gave {len(results)} results for {len(requests)} requests")
    return results
