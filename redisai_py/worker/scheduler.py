# cython: annotation_typing=False
"""Which requests run next: a pure state machine.

Everything that decides order, batching and waiting lives here, and nothing else
does: this file knows no threads, no clock, no Redis and no framework. Times are
seconds of one monotonic clock, handed in by the caller.

How it works. Every model has a queue of its own, in order of arrival. Models with
work take turns; those of urgent requests before all others, though what runs already
is not interrupted. A turn hands out one ``Batch``:

- a model without BATCHSIZE gives its oldest requests, each to be run by itself:
  tiny ones as many as take about ``SHORT`` together, so that they do not pay for a
  turn each; when many wait, its share of them, up to what takes about ``TURN``, or
  ``LONG_TURN`` while it is the only model that anybody asks for, so that neither the
  GIL nor the event loop is needed for every single run;
- a model with BATCHSIZE gives its oldest request and the ones behind it that can
  be concatenated with it, up to BATCHSIZE rows. With MINBATCHSIZE it may have to
  wait for more rows, at most MINBATCHTIMEOUT, and not when the next one that could
  be concatenated with it does not fit. Those that cannot be do not wait with it.

How many batches of one model run at once follows what was measured: a run that is
shorter than ``SHORT`` is not worth a second worker where the event loop then has no
core for itself; where it has, one shorter than ``TINY`` is not, since the event loop
brings no more of them than one worker runs. On a GPU the limit is higher, and the workers
of short runs are few: such a run is work of the driver, whose locks they would wait for.
Where most of a run's time is the same for any number of rows, one large batch beats two
small ones.

Laws (tests/unit/test_scheduler.py): a batch never exceeds BATCHSIZE rows unless a
single request does; requests of a model that can be batched together leave in
order of arrival; no request waits past its deadline; every request leaves exactly
once; a model that waits does not hold up another, nor requests of its own that
cannot be batched with the one that waits; a full batch does not wait; nothing leaves
while an urgent request could.

Plain Python. Compiled, it has the types of ``scheduler.pxd`` and means the same.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable
from math import inf
from typing import Any, Protocol

SHORT = 100e-6
"""Seconds: a run below this is cheaper than waking another worker for it."""

SHORT_ON_GPU = 200e-6
SHORT_WORKERS_ON_GPU = 3
"""The same on a GPU, and how many workers a model with such runs gets: 16 got a fifth to three quarters of the rate."""

TINY = 15e-6
"""Seconds: a run below this is over before the event loop has brought the next one."""

TURN = 2e-3
"""Seconds that a turn of a model may take while its other workers have enough to do."""

LONG_TURN = 8e-3
"""The same while nobody asks for another model: every turn less is a wake-up of the event loop less."""

SMOOTHING = 0.2
"""Weight of the newest run in the moving average of a model's run time."""

SOLITARY = 8
"""Requests in a row that found nothing running or waiting: one client, who sees the time of a single run."""

FIT_SMOOTHING = 0.02
"""The same for the fit of run time against rows, which needs runs of several sizes."""


class Model(Protocol):
    """What the scheduler reads of a model, and where it keeps its own record of it.

    A model belongs to one scheduler for its whole life.
    """

    batch_size: int
    min_batch_size: int
    min_batch_timeout: float  # seconds; 0: wait for ever
    is_urgent: bool
    line: Any  # None at first


class Request(Protocol):
    """What the scheduler reads of a request."""

    @property
    def id(self) -> int: ...
    @property
    def model(self) -> Any: ...
    @property
    def rows(self) -> int:
        """First dimension shared by all inputs; 0: the request cannot be batched."""

    @property
    def enqueued(self) -> float: ...
    @property
    def deadline(self) -> float:
        """When the request is to be given up; infinity: never."""

    def signature(self) -> Hashable:
        """Requests of a model with equal signatures can be concatenated."""


class Batch:
    """Requests of one model for one worker.

    ``merged``: the requests are to be concatenated and run as one; otherwise each
    runs by itself. ``expected``: seconds that all of it will take; infinity while
    the model has not been measured. ``is_long``: its worker is not back soon.
    ``has_more``: though it is short, there is more for another worker.
    """

    def __init__(self, model: Any, requests: list[Any], merged: bool, expected: float, is_long: bool) -> None:
        self.model = model
        self.requests = requests
        self.merged = merged
        self.expected = expected
        self.is_long = is_long
        self.has_more = False


class _Cost:
    """What a run of some rows takes: a moving fit of ``seconds = fixed + slope * rows``."""

    def __init__(self) -> None:
        self.rows = 0.0  # moving averages of rows, seconds, and their products
        self.seconds = 0.0
        self.rows_rows = 0.0
        self.rows_seconds = 0.0
        self.weight = 1.0  # of the next run: 1 at first, down to FIT_SMOOTHING

    def add(self, rows: float, seconds: float) -> None:
        w = self.weight
        self.rows += w * (rows - self.rows)
        self.seconds += w * (seconds - self.seconds)
        self.rows_rows += w * (rows * rows - self.rows_rows)
        self.rows_seconds += w * (rows * seconds - self.rows_seconds)
        self.weight = max(FIT_SMOOTHING, w / (w + 1))

    def is_mostly_fixed(self) -> bool:
        """Whether more than half of an average run does not depend on its rows."""
        spread = self.rows_rows - self.rows * self.rows
        if spread <= 1e-9:
            return False  # all runs had the same size: nothing is known
        slope = (self.rows_seconds - self.rows * self.seconds) / spread
        return slope * self.rows < self.seconds / 2


class _Line:
    """The requests of one model that wait, and what is known about the model."""

    def __init__(self) -> None:
        self.waiting: deque[Any] = deque()
        self.in_turn = False
        self.running = 0
        self.long_turns = 0  # those that are running of which nobody is back soon
        self.seconds = inf  # moving average of one run
        self.cost = _Cost()


class Scheduler:
    """Orders the requests of one device queue. Not thread-safe: its shell has a lock."""

    def __init__(self, workers: int, cores: int = 2, on_gpu: bool = False) -> None:
        """``workers`` is the most batches of a model that may run at once."""
        self._workers = workers
        self._cores = cores
        self._short = SHORT_ON_GPU if on_gpu else SHORT
        # Of a model with short runs.
        self._short_workers = max(1, min(workers, SHORT_WORKERS_ON_GPU if on_gpu else cores - 1))
        self._turns: deque[Any] = deque()  # models with work, next first
        self._urgent_turns: deque[Any] = deque()  # the same for those whose requests are urgent
        self._deadlines: list[tuple[float, int]] = []  # heap of (deadline, id)
        self._open: dict[int, Request] = {}  # by id: waiting, not yet handed out
        self._running = 0  # batches
        self._solitary = 0  # requests since the last one that did not come alone

    def __len__(self) -> int:
        """The number of requests that wait."""
        return len(self._open)

    def push(self, request: Request) -> None:
        """Adds a request at the end of its model's queue."""
        self._solitary = 0 if self._running > 0 or self._open else self._solitary + 1
        line = request.model.line
        if line is None:
            line = request.model.line = _Line()
        line.waiting.append(request)
        self._open[request.id] = request
        if request.deadline != inf:
            heapq.heappush(self._deadlines, (request.deadline, request.id))
        if not line.in_turn:
            line.in_turn = True
            (self._urgent_turns if request.model.is_urgent else self._turns).append(request.model)

    def cancel(self, request_id: int) -> Request | None:
        """Takes a waiting request out and returns it; None when it is not waiting."""
        request = self._open.pop(request_id, None)
        if request is not None:
            line = request.model.line
            line.waiting.remove(request)
        return request

    def expired(self, now: float) -> list[Any]:
        """Takes out and returns the requests whose deadline has passed."""
        late: list[Any] = []
        while self._deadlines and self._deadlines[0][0] < now:
            request = self.cancel(heapq.heappop(self._deadlines)[1])
            if request is not None:
                late.append(request)
        return late

    def next(self, now: float) -> Batch | None:
        """The batch that should run next, or None when nothing is ready (see ``wake_at``)."""
        batch = self._next_of(self._urgent_turns, now) if self._urgent_turns else None
        return batch or self._next_of(self._turns, now)

    def _next_of(self, turns: deque[Any], now: float) -> Batch | None:
        for _ in range(len(turns)):
            model = turns.popleft()
            line = model.line
            if not line.waiting:
                line.in_turn = False
                continue
            turns.append(model)
            if line.running >= self._limit(model, line):
                continue
            batch = self._collect(model, line, now)
            if batch is not None:
                line.running += 1
                line.long_turns += batch.is_long
                self._running += 1
                batch.has_more = bool(line.waiting) and self._is_short(line) and line.running < self._limit(model, line)
                return batch
        return None

    def leaves_cores_idle(self) -> bool:
        """Whether one batch runs, nothing waits, and that has been so for a while.

        Among several clients there is always a moment in which one is alone; a run
        that then takes all cores is in the way of the next one.
        """
        return self._running == 1 and not self._open and self._solitary >= SOLITARY

    def leaves_room(self) -> bool:
        """Whether what runs is at most half as much as there are cores, and nothing waits.

        With two cores that is one run, and the next one comes too soon.
        """
        return self._cores > 2 and 2 * self._running <= self._cores and not self._open

    def next_deadline(self) -> float:
        """When ``expired`` will have something, if nothing is pushed; infinity: never."""
        while self._deadlines and self._deadlines[0][1] not in self._open:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else inf

    def wake_at(self) -> float:
        """When ``next`` or ``expired`` may have something new although nothing was pushed or finished."""
        return min(self.next_deadline(), self.ripe_at())

    def ripe_at(self) -> float:
        """When requests that wait for more rows have waited long enough; infinity: none do, or for ever."""
        ripe = inf
        if not self._open:
            return ripe
        for model in (*self._urgent_turns, *self._turns):
            line = model.line
            if line.running >= self._limit(model, line):
                continue  # whoever finishes looks again
            if line.waiting and model.min_batch_size > 0 and model.min_batch_timeout > 0:
                ripe = min(ripe, line.waiting[0].enqueued + model.min_batch_timeout)
        return ripe

    def has_ready(self, now: float) -> bool:
        """Whether another worker could start something now."""
        if not self._open:
            return False
        for model in (*self._urgent_turns, *self._turns):
            line = model.line
            can_run = line.waiting and line.running < self._limit(model, line)
            if can_run and (model.min_batch_size <= 0 or self._members(model, line, now) is not None):
                return True
        return False

    def finished(self, batch: Batch, seconds: float, runs: int, wide: bool = False) -> None:
        """Records that a batch is done: ``runs`` runs of its model took ``seconds`` together.

        ``wide``: on several cores, so that it says little about the next one, which may have to do with one.
        """
        line = batch.model.line
        line.running -= 1
        line.long_turns -= batch.is_long
        self._running -= 1
        if runs > 0 and not wide:
            latest = seconds / runs
            if line.seconds == inf:
                line.seconds = latest
            else:
                line.seconds += SMOOTHING * (latest - line.seconds)
            if batch.model.batch_size > 0:
                line.cost.add(sum([request.rows for request in batch.requests]), seconds)

    def overdue(self, batch: Batch, seconds: float) -> None:
        """Records that a batch has been running for so long already: it is no short one, whatever the average says."""
        line = batch.model.line
        line.seconds = max(line.seconds, seconds)

    def _is_short(self, line: _Line) -> bool:
        """Whether a run of the model is."""
        return line.seconds < self._short

    def _limit(self, model: Any, line: _Line) -> int:
        """How many batches of a model may run at once."""
        if 0 < len(line.waiting) < model.batch_size and line.cost.is_mostly_fixed():
            return 1
        if self._is_short(line):
            nobody_is_back_soon = line.long_turns == line.running
            return self._short_workers if nobody_is_back_soon or self._fills_a_turn(model, line) else 1
        return self._workers

    def _fills_a_turn(self, model: Any, line: _Line) -> bool:
        """Whether enough short runs wait to be worth a turn of another worker."""
        if self._short_workers == 1 or line.seconds <= TINY:
            return False
        return bool(len(line.waiting) * line.seconds >= self._short * max(model.batch_size, 1))

    def _collect(self, model: Any, line: _Line, now: float) -> Batch | None:
        """Takes the model's next batch out of its line; None when it has to wait for more rows."""
        waiting = line.waiting
        if model.batch_size <= 0:
            count = self._share(model, line)
            requests = [waiting.popleft() for _ in range(count)]
            expected = line.seconds * count
        else:
            members = self._members(model, line, now)
            if members is None:
                return None
            requests = members
            _take(line, members)
            expected = line.seconds
        for request in requests:
            del self._open[request.id]
        merged = len(requests) > 1 and model.batch_size > 0
        return Batch(model, requests, merged, expected, expected >= self._short)

    def _share(self, model: Any, line: _Line) -> int:
        """How many of the waiting requests, each of which will run by itself, one worker takes."""
        waiting, seconds = len(line.waiting), max(line.seconds, 1e-9)
        is_short = self._is_short(line)
        if is_short and not self._fills_a_turn(model, line):
            return max(1, min(waiting, int(self._short / seconds)))
        workers = self._short_workers if is_short else self._workers
        # Every turn needs the GIL, and many workers on short runs would wait for it more than they run.
        parts = workers if seconds < workers * self._short / 2 else 2 * workers
        least = int(self._short / seconds) if is_short else 1
        turn = LONG_TURN if len(self._turns) + len(self._urgent_turns) == 1 else TURN
        return max(1, least, min(waiting // parts, int(turn / seconds)))

    def _members(self, model: Any, line: _Line, now: float) -> list[Any] | None:
        """The oldest request and those that may join it, left in line; None: wait for more rows.

        While it waits, requests that could never join it may go.
        """
        first = line.waiting[0]
        rows = first.rows
        if _runs_alone(model, first):
            return [first]
        members = [first]
        is_full = False
        if len(line.waiting) > 1:
            signature = first.signature()
            for request in line.waiting:
                if request is first or _runs_alone(model, request) or request.signature() != signature:
                    continue
                # The first that does not fit ends the batch: the ones behind it must not overtake it.
                is_full = rows + request.rows >= model.batch_size
                if rows + request.rows <= model.batch_size:
                    members.append(request)
                    rows += request.rows
                if is_full:
                    break
        # A full batch has nothing to wait for, however few rows it has.
        if is_full or rows >= model.min_batch_size or _min_batch_timed_out(model, first, now):
            return members
        return self._members_behind(model, line, now) if len(line.waiting) > len(members) else None

    def _members_behind(self, model: Any, line: _Line, now: float) -> list[Any] | None:
        """The same for the oldest request that has not to wait for more rows, the first in line being one that has."""
        batches: dict[Hashable, list[Any]] = {}
        rows: dict[Hashable, int] = {}
        full: set[Hashable] = set()
        for request in line.waiting:
            key = request.id if _runs_alone(model, request) else request.signature()
            if key in full:
                continue
            together = rows.get(key, 0) + request.rows
            if request.rows == 0 or together >= model.batch_size:
                full.add(key)
            if key not in batches or together <= model.batch_size:
                batches.setdefault(key, []).append(request)
                rows[key] = together
        for key, members in batches.items():
            timed_out = _min_batch_timed_out(model, members[0], now)
            if key in full or rows[key] >= model.min_batch_size or timed_out:
                return members
        return None


def _take(line: _Line, members: list[Any]) -> None:
    """Takes requests, which are in this order, out of a line. Mostly they are its first ones."""
    waiting = line.waiting
    others: list[Any] = []
    for member in members:
        while (request := waiting.popleft()) is not member:
            others.append(request)
    if others:
        waiting.extendleft(reversed(others))


def _runs_alone(model: Any, request: Any) -> bool:
    """Whether a request has no rows in common with others, or enough for a batch by itself."""
    return request.rows == 0 or bool(request.rows >= model.batch_size)


def _min_batch_timed_out(model: Any, first: Any, now: float) -> bool:
    return bool(model.min_batch_timeout > 0 and now >= first.enqueued + model.min_batch_timeout)
