"""What a flow of the benchmark does, as a client process: ``python -m tests.bench.stream_client PORT STREAM BATCH``.

Prints a line when it is connected, and begins when its standard input is closed.
"""

from __future__ import annotations

import sys
from typing import Any

import redis


def main(port: int, stream: str, batch: int) -> None:
    client = redis.Redis(port=port)
    client.xgroup_create(stream, "group", "0")
    print("connected", flush=True)
    sys.stdin.read()
    while True:
        reply: Any = client.xreadgroup("group", "client", {stream: ">"}, count=batch)
        if not reply:
            return
        pipeline = client.pipeline(transaction=False)
        ids = []
        for identity, fields in reply[0][1]:
            ids.append(identity)
            pipeline.execute_command("AI.TENSORSET", "in", "FLOAT", 1, 30, "BLOB", fields[b"x"])
            outputs = ("OUTPUTS", 1, b"out:" + identity)
            pipeline.execute_command("AI.MODELEXECUTE", "tiny", "INPUTS", 1, "in", *outputs)
        pipeline.xack(stream, "group", *ids)
        pipeline.execute()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
