"""HTTP load, by wrk: as redis-benchmark, one thread, and one request at a time on each connection."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .load import Load

SCRIPT = """
wrk.method = "POST"
wrk.body = io.open(os.getenv("BODY"), "rb"):read("*a")
wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE")

function done(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local p50, p99 = latency:percentile(50), latency:percentile(99)
    print(string.format("result %d %d %f %f %d", summary.requests, summary.duration, p50, p99, failed))
end
"""


@dataclass(frozen=True)
class Post:
    """A request: the path of a server, and what it is sent."""

    path: str
    body: bytes
    content_type: str


def timed_wrk(port: int, post: Post, *, seconds: float, clients: int) -> Load:
    """wrk for so many seconds, at least 1. Raises RuntimeError if any request failed."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is missing (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory(prefix="redisai-bench-") as folder:
        script, body = Path(folder, "post.lua"), Path(folder, "body")
        script.write_text(SCRIPT)
        body.write_bytes(post.body)
        duration = max(1, round(seconds))
        arguments = [program, "-t1", f"-c{clients}", f"-d{duration}", "--timeout", "30", "-s", str(script)]
        environment = dict(os.environ, BODY=str(body), CONTENT_TYPE=post.content_type)
        url = f"http://127.0.0.1:{port}{post.path}"
        result = subprocess.run([*arguments, url], env=environment, capture_output=True, text=True)
    rows = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("result ")]
    if len(rows) != 1 or rows[0][-1] != "0":
        raise RuntimeError(f"wrk failed: {result.stdout[-500:]}{result.stderr[-500:]}")
    requests, microseconds, p50, p99 = (float(number) for number in rows[0][:4])
    return Load(requests / microseconds * 1e6, p50, p99, int(requests))
