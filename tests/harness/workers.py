"""Whether workers run something, which clients cannot tell but by the clock."""

from __future__ import annotations

from .server import Server
from .wire import Error, Wire

RUNS = 32


def cpu_of_workers(server: Server) -> list[str]:
    """CPU times of the workers, which stand still while all runs are on the event loop."""
    info = server.info("ai")
    return [value for name, value in info.items() if name.startswith("ai_queue_CPU_bthread_")]


def runs_at_once(server: Server, wire: Wire, *command: str | int) -> bool:
    """Whether so many runs need no worker."""
    server.wait_for_rest()
    before = cpu_of_workers(server)
    for _ in range(RUNS):
        assert not isinstance(wire(*command), Error)
    return cpu_of_workers(server) == before
