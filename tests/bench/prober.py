"""The process behind ``load.Prober``: ``python -m tests.bench.prober PORT FILE WORD...``.

Prints a line when it has started, and on SIGTERM writes start and end of every command to FILE, as nanoseconds of the
monotonic clock in pairs of unsigned 64-bit integers.

It rests between commands. A client that never rests would be a third busy process on a machine of two cores, and would
see a long stall as one slow command among thousands of fast ones; with rests, the share of slow commands is about the
share of time in which the server is slow.
"""

from __future__ import annotations

import array
import gc
import signal
import socket
import sys
import time
from pathlib import Path

REST_SECONDS = 0.0002

running = True


def stop(signal_number: int, frame: object) -> None:
    global running
    running = False


def main(port: str, file: str, *words: str) -> None:
    signal.signal(signal.SIGTERM, stop)
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = f"*{len(words)}\r\n".encode()
    for word in words:
        request += f"${len(word)}\r\n{word}\r\n".encode()
    send, receive, now, rest = connection.sendall, connection.recv, time.monotonic_ns, time.sleep
    for _ in range(1000):
        send(request)
        if receive(4096).startswith(b"-"):
            sys.exit("the probe is answered with an error")
    samples = array.array("Q")
    append = samples.append
    gc.disable()
    print("started", flush=True)
    while running:
        start = now()
        send(request)
        if not receive(4096):
            break
        append(start)
        append(now())
        rest(REST_SECONDS)
    Path(file).write_bytes(samples.tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
