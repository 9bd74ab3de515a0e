"""What the machine gives without a server: ``python -m tests.bench.plain_loop MODEL SHAPE MODE SECONDS``.

MODE ``default`` runs one session with default options from one thread; ``threads`` runs one thread per core, each with
a session of its own on one core. Prints runs per second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from .models import BenchModel

MODES = ("default", "threads")


def runs_per_second(path: str, shape: tuple[int, ...], mode: str, seconds: float) -> float:
    """Runs the model with a random input until the time is over."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if mode == "threads":
        options.intra_op_num_threads = 1
    workers = len(os.sched_getaffinity(0)) if mode == "threads" else 1
    sessions = [onnxruntime.InferenceSession(path, options) for _ in range(workers)]
    feed = {"x": np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}
    for session in sessions:
        session.run(None, feed)
    counts = [0] * workers
    deadline = time.monotonic() + seconds
    start = time.monotonic()

    def loop(index: int) -> None:
        run = sessions[index].run
        count = 0
        while time.monotonic() < deadline:
            run(None, feed)
            count += 1
        counts[index] = count

    threads = [threading.Thread(target=loop, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def measure(model: BenchModel, mode: str, seconds: float) -> float:
    """``runs_per_second`` in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model.blob)
        file.flush()
        shape = "x".join(map(str, model.input_shape))
        command = [sys.executable, "-m", "tests.bench.plain_loop", file.name, shape, mode, str(seconds)]
        result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return float(result.stdout)


if __name__ == "__main__":
    model_path, shape_text, mode_name, duration = sys.argv[1:]
    print(runs_per_second(model_path, tuple(map(int, shape_text.split("x"))), mode_name, float(duration)))
