"""The thread shell around the scheduler: what a worker of a device queue does.

All workers of a queue, and the watchdog, share one scheduler, under one lock that is
never held while something runs or waits.

Compiled, with types (docs/architecture.md, "A worker's way to a run").
"""

import threading
from math import inf

import cython
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.posix.time import CLOCK_MONOTONIC, clock_gettime, timespec
from cython.cimports.redisai_py.worker import native
from cython.cimports.redisai_py.worker.loaded_model import LoadedModel
from cython.cimports.redisai_py.worker.request import Request
from cython.cimports.redisai_py.worker.run import Run
from cython.cimports.redisai_py.worker.scheduler import Batch, Scheduler

from redisai_py.backend import BackendError
from redisai_py.cores import CORES
from redisai_py.worker import watchdog
from redisai_py.worker.batching import execute_merged

FOR_EVER = cython.declare(cython.double, inf)
OVERDUE = cython.declare(cython.double, watchdog.OVERDUE)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def monotonic() -> cython.double:
    """``time.monotonic()``."""
    now: timespec
    clock_gettime(CLOCK_MONOTONIC, cython.address(now))
    return now.tv_sec + now.tv_nsec * 1e-9


@cython.final
@cython.cclass
class Device:
    """One device queue: the scheduler and what its workers share."""

    queue: uintptr_t
    scheduler: Scheduler
    lock: object

    def __init__(self, queue: uintptr_t, workers: cython.int, on_gpu: cython.bint) -> None:
        """``queue`` is the address of the C queue, ``workers`` the most threads that it may have."""
        self.queue = queue
        self.scheduler = Scheduler(workers, CORES, on_gpu)
        self.lock = threading.Lock()

    def serve(self) -> None:
        """The life of a worker thread."""
        run: Run = Run()
        run.overdue = lambda seconds: self._overdue(run, seconds)
        run.ended = lambda: retune(run, run.requests[0])
        watchdog.watch(run)
        wake_at: cython.double = FOR_EVER
        while True:
            wake_at = self._turn(run, wake_at)

    @cython.cfunc
    def _turn(self, run: Run, wake_at: cython.double) -> cython.double:
        """Waits for work and does some; when to look again. A frame of its own: while it waits it holds no request."""
        new: list
        cancelled: list
        spent: list
        batch: Batch
        now: cython.double
        has_more: cython.bint = False
        core: cython.int
        new, cancelled = native.take(self.queue, wake_at)
        now = monotonic()
        with self.lock:
            spent = self._accept(new, cancelled, now)
            batch = self.scheduler.next(now)
            if batch is None:
                wake_at = self.scheduler.wake_at()
            elif batch.is_long or batch.has_more:
                has_more = self.scheduler.has_ready(now) or self.scheduler.ripe_at() < FOR_EVER
                run.away = True
                run.alone = self.scheduler.leaves_cores_idle()
                run.has_room = self.scheduler.leaves_room()
        if spent:
            native.complete(spent)
        if batch is None:
            return wake_at
        del new, spent  # others of them may be over long before this run is
        if run.away:
            core = native.begin_long_run(self.queue, has_more)
            if run.alone:
                run.core = core
        self._run(batch, run)
        return 0.0

    @cython.cfunc
    def _accept(self, new: list, cancelled: list, now: cython.double) -> list:
        """Feeds the scheduler; what is over without a run. Called with the lock held."""
        request: Request
        late: list
        spent: list = []
        for request in new:
            if request.job.cancelled:  # its cancellation may have come first
                spent.append(request)
            else:
                self.scheduler.push(request)
        for id in cancelled:
            request = self.scheduler.cancel(id)
            if request is not None:
                spent.append(request)
        late = self.scheduler.expired(now)
        for request in late:
            native.time_out(request)
        return spent + late if late else spent

    def expire(self) -> cython.double:
        """Called by the watchdog: answers requests whose TIMEOUT has passed, since workers may all be busy.

        Returns when to look again (monotonic seconds).
        """
        if monotonic() < native.due(self.queue):
            return native.due(self.queue)
        spent: list = []
        next_deadline: cython.double
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

    @cython.cfunc
    def _run(self, batch: Batch, run: Run):
        """Runs a batch and answers its requests."""
        requests: list = batch.requests
        runs: cython.int = 1 if batch.merged else len(requests)
        started: cython.double
        seconds: cython.double
        done: cython.bint = False
        calls_back: cython.bint
        results: object = None
        run.batch, run.requests = batch, requests
        native.begin(requests, runs)
        started = monotonic()
        run.started = started
        run.deadline = started + native.execution_limit()
        native.arm_watchdog(run.deadline if run.away else started + OVERDUE)
        try:
            if batch.model.execute_natively is not None:
                done = batch.model.execute_natively(requests, batch.merged, run)
            if not done:
                results = execute(batch, run)
        except BaseException as error:  # whatever a backend does, it fails its own requests only
            results = [error] * len(requests)
        with run.lock:
            run.deadline = FOR_EVER
            run.terminate = None
            run.batch, run.requests = None, []
        seconds = monotonic() - started
        # Each request of a merged batch counts the whole run, otherwise its share of the time.
        native.record(requests, results, seconds / runs)
        if run.away:
            native.end_long_run(self.queue)
            run.away = run.alone = run.has_room = False
            run.core = -1
        if run.prefer:
            run.prefer = False
            native.prefer_this_worker(self.queue)
        retune(run, requests[0])
        # Behind the answers, which do not depend on it; but who is called back may wait for another run.
        calls_back = native.calls_back(requests)
        if not calls_back:
            native.complete(requests)
        with self.lock:
            self.scheduler.finished(batch, seconds, runs, run.wide)
        if calls_back:
            native.complete(requests)
        run.wide = False

    def _overdue(self, run: Run, seconds: cython.double) -> None:
        """Called by the watchdog for a run that was expected to be short: others must not wait for it."""
        with self.lock:
            self.scheduler.overdue(run.batch, seconds)
        native.replace_stuck_worker(self.queue)


@cython.cfunc
def retune(run: Run, request: Request):
    """Does what the session of the request's model asks for."""
    if run.retune:
        run.retune = False
        native.retune(request)


@cython.cfunc
def execute(batch: Batch, run: Run) -> object:
    """Runs a batch by the session's Python method; one result for each request, or None if they have theirs."""
    requests: list = batch.requests
    model: LoadedModel = batch.model
    results: object
    if batch.merged:
        return execute_merged(model.session, requests, run, model.backend)
    results = model.execute([request.inputs for request in requests], run)
    if len(results) != len(requests):
        raise BackendError(f"ERR the backend gave {len(results)} results for {len(requests)} requests")
    return results
