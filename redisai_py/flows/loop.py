"""The thread of the flows: an asyncio loop that receives messages of the C core and calls functions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redisai_py.worker.core import ffi, lib, log, text
from redisai_py.worker.errors import forget_frames

from . import calling, files, registry, runs
from .errors import GearsError, describe
from .registry import Flow
from .replies import give
from .rights import Rights, of_operator
from .streams import Stream, decode, existing

PATIENCE = 10.0
"""Seconds after which a file that is still being loaded no longer holds up the others."""


@dataclass(frozen=True)
class Event:
    """A change of a key: the event's name is that of Redis' keyspace notifications."""

    key: str
    event: str
    database: int = 0


class Flows:
    """All flows of the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.loaded = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.calls: dict[int, tuple[Flow | None, asyncio.Task[Any]]] = {}
        self.answered: list[Any] = []  # jobs that have their replies
        self.events: dict[Flow, asyncio.Queue[Event]] = {}
        self.streams: dict[tuple[Flow, int, bytes], Stream] = {}
        self.handlers = {
            lib.RAI_FLOW_CALLED: self.on_call,
            lib.RAI_FLOW_LEFT: self.on_left,
            lib.RAI_FLOW_HAPPENED: self.on_event,
            lib.RAI_FLOW_FINISHED: self.on_finished,
        }

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that lives until it is done: the loop itself would forget it."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # -- files -------------------------------------------------------------------

    async def load(self, path: Path) -> None:
        files.prepare(path)
        for file in files.find(path):
            loading = self.loop.run_in_executor(calling.pool, files.load, file)
            done, _ = await asyncio.wait([loading], timeout=PATIENCE)
            if not done:
                log("warning", f"flow {file.name} is still being loaded; going on without it")
        self.loaded.set()
        for flow in registry.all_flows():
            if flow.trigger == lib.RAI_FLOW_STREAM:
                for database, key in existing(flow):
                    self.wake_stream(flow, database, key)

    # -- messages ----------------------------------------------------------------

    def receive(self) -> None:
        """Called when there are messages."""
        message = lib.rai_flows_take()
        while message != ffi.NULL:
            following = message.next
            try:
                self.handlers[message.kind](message)
            except Exception as error:
                log("warning", f"flows: {describe(error)}")
            lib.rai_flow_message_free(message)
            message = following

    def on_finished(self, message: Any) -> None:
        runs.finished(message.id, message.finished)

    def on_left(self, message: Any) -> None:
        """The client is gone: a coroutine can be cancelled, a thread cannot."""
        flow, task = self.calls.get(message.id, (None, None))
        if task is not None and (flow is None or flow.is_async):  # None: it waits for files
            task.cancel()

    def on_call(self, message: Any) -> None:
        job = message.job
        name = decode(ffi.buffer(job.call.function.data, job.call.function.length)[:])
        stored = job.call.args
        items = [stored.items[i] for i in range(stored.count)]
        arguments = [decode(ffi.buffer(item.data, item.length)[:]) for item in items]
        rights = Rights(job.call)
        job.call = ffi.NULL  # ours: what the flow starts may outlive the job
        task = self.spawn(self.serve_call(name, rights, arguments))
        self.calls[job.id] = registry.command(name), task
        task.add_done_callback(lambda done: self.finish_call(job, done))

    async def serve_call(self, name: str, rights: Rights, arguments: list[str]) -> Any:
        flow = registry.command(name)
        if flow is None:
            await self.loaded.wait()  # its file may still be loading
            flow = registry.command(name)
        if flow is None:
            raise GearsError(f"ERR there is no flow '{name}'")
        return await calling.call(flow, rights, False, *arguments)

    def finish_call(self, job: Any, task: asyncio.Task[Any]) -> None:
        """However the task ended, even before it began: the client gets an answer."""
        del self.calls[job.id]
        error = GearsError("ERR the flow was cancelled") if task.cancelled() else task.exception()
        give(job, task.result() if error is None else error)
        if not self.answered:
            self.loop.call_soon(self.complete)
        self.answered.append(job)
        if error is not None:
            forget_frames(error)

    def complete(self) -> None:
        """Answers the clients of this turn together: the event loop is woken once."""
        jobs, self.answered = self.answered, []
        lib.rai_jobs_complete(ffi.new("rai_job *[]", jobs), len(jobs))

    # -- events ------------------------------------------------------------------

    def on_event(self, message: Any) -> None:
        flow = registry.by_record(message.flow)
        key = ffi.buffer(message.key.data, message.key.length)[:]
        if flow.trigger == lib.RAI_FLOW_STREAM:
            lib.rai_flow_heard(flow.record)
            self.wake_stream(flow, message.database, key)
            return
        queue = self.events.get(flow)
        if queue is None:
            queue = self.events[flow] = asyncio.Queue()
            for _ in range(flow.at_once):
                self.spawn(self.serve_events(flow, queue))
        queue.put_nowait(Event(decode(key), text(message.event.data), message.database))

    async def serve_events(self, flow: Flow, queue: asyncio.Queue[Event]) -> None:
        """Handles one event after another."""
        while True:
            event = await queue.get()
            error = await calling.attempt(flow, of_operator(event.database), True, event)
            if error is not None:
                log("warning", f"flow {flow.name} failed at {event.event} {event.key}: {describe(error)}")
                forget_frames(error)

    def wake_stream(self, flow: Flow, database: int, key: bytes) -> None:
        stream = self.streams.get((flow, database, key))
        if stream is None:
            stream = self.streams[flow, database, key] = Stream(flow, database, key, self.leave_stream)
            self.spawn(stream.serve())
        stream.news.set()

    def leave_stream(self, stream: Stream) -> None:
        del self.streams[stream.flow, stream.database, stream.key]


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio has to say about futures and tasks that nobody waits for."""
    error = context.get("exception")
    log("warning", f"flows: {context['message']}" + (f": {describe(error)}" if error else ""))


def serve() -> None:
    """The life of the thread."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(complain)
    runs.serve_on(loop)
    flows = Flows(loop)
    loop.add_reader(lib.rai_flows_descriptor(), flows.receive)
    loading = flows.load(Path(text(lib.rai_flows_path())).resolve())
    loop.call_soon(lambda: flows.spawn(loading))
    while True:
        try:
            loop.run_forever()
        except BaseException as error:  # a task of somebody's raised SystemExit
            log("warning", f"flows: {describe(error)}")
