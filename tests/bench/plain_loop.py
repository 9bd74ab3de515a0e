"""What the machine gives without a server: ``python -m tests.bench.plain_loop BACKEND FILE SHAPE MODE SECONDS``.

MODE ``default`` runs the model from one thread, on all cores; ``threads`` runs one thread per core, each on one core
with a session of its own. ``gets`` is ``default`` with a GET from a redis-server without the module after each run:
what a client of any server of models pays besides the run, on a machine whose caches a run has just filled.
``pauses`` is ``default`` with PAUSE seconds between two runs, which do not count. ``gpu`` and ``gpu threads`` are for
the first GPU: one thread, and one per core, each with a CUDA stream (TORCH) or a session (ONNX) of its own; the input
goes there and the result comes back in every run. Prints runs per second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .servers import Server

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MODES = ("default", "threads")
MODES_ON_GPU = ("gpu", "gpu threads")
PAUSE = 0.01
FIRST_RUNS = 5  # in which a framework may optimise

Array = np.ndarray[Any, Any]
Run = Callable[[Array], object]


def _onnx(path: str, one_core: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if one_core:
        options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    return lambda x: session.run(None, {"x": x})


def _torch(path: str, one_core: bool) -> Run:
    import torch

    if one_core:
        torch.set_num_threads(1)
    module = torch.jit.load(path)

    def run(x: Array) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return run


def _tf(path: str, one_core: bool) -> Run:
    import tensorflow as tf

    threads = 1 if one_core else 0
    with tf.Graph().as_default() as graph:
        definition = tf.compat.v1.GraphDef()
        definition.ParseFromString(Path(path).read_bytes())
        tf.import_graph_def(definition, name="")
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
        session = tf.compat.v1.Session(graph=graph, config=config)
    prepared: Run = session.make_callable("y:0", ["x:0"])
    return prepared


def _tflite(path: str, one_core: bool) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1 if one_core else os.cpu_count())
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def run(x: Array) -> object:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


def _onnx_on_gpu(path: str, _: bool) -> Run:
    import onnxruntime

    onnxruntime.preload_dlls()  # CUDA of pip packages
    session = onnxruntime.InferenceSession(path, providers=["CUDAExecutionProvider"])
    if "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("onnxruntime finds no GPU")
    return lambda x: session.run(None, {"x": x})


def _torch_on_gpu(path: str, _: bool) -> Run:
    import torch

    module = torch.jit.load(path, "cuda")
    stream = torch.cuda.Stream()

    def run(x: Array) -> object:
        with torch.inference_mode(), torch.cuda.stream(stream):
            return module(torch.from_numpy(x).to("cuda", non_blocking=True)).cpu().numpy()

    return run


LOADERS: dict[str, Callable[[str, bool], Run]] = {"ONNX": _onnx, "TORCH": _torch, "TF": _tf, "TFLITE": _tflite}
LOADERS_ON_GPU: dict[str, Callable[[str, bool], Run]] = {"ONNX": _onnx_on_gpu, "TORCH": _torch_on_gpu}


def runs_per_second(backend: str, path: str, shape: tuple[int, ...], mode: str, seconds: float) -> float:
    """Runs the model with a random input until the time is over."""
    if mode == "pauses":
        return _between_pauses(LOADERS[backend](path, False), shape, seconds)
    if mode == "gets":
        return _with_gets(LOADERS[backend](path, False), shape, seconds)
    one_core = mode == "threads"
    workers = len(os.sched_getaffinity(0)) if mode in ("threads", "gpu threads") else 1
    loaders = LOADERS_ON_GPU if mode in MODES_ON_GPU else LOADERS
    runs = [loaders[backend](path, one_core) for _ in range(workers)]
    x = _random_input(shape)
    counts = [0] * workers

    def loop(index: int) -> None:
        if backend == "TORCH" and one_core:
            import torch

            torch.set_num_threads(1)  # holds for the thread that calls
        run, count = runs[index], 0
        for _ in range(FIRST_RUNS):
            run(x)
        barrier.wait()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run(x)
            count += 1
        counts[index] = count

    barrier = threading.Barrier(workers)
    threads = [threading.Thread(target=loop, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def _random_input(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def _with_gets(run: Run, shape: tuple[int, ...], seconds: float) -> float:
    x, count = _random_input(shape), 0
    with Server(module=False) as server:
        server("SET", "string", "x" * 120)
        connection = server.connect().socket  # of which nothing but two system calls is used
        for _ in range(FIRST_RUNS):
            run(x)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            run(x)
            connection.sendall(b"*2\r\n$3\r\nGET\r\n$6\r\nstring\r\n")
            connection.recv(200)
            count += 1
    return count / seconds


def _between_pauses(run: Run, shape: tuple[int, ...], seconds: float) -> float:
    """Of the median run."""
    x = _random_input(shape)
    spent: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not spent:
        time.sleep(PAUSE)
        start = time.perf_counter()
        run(x)
        spent.append(time.perf_counter() - start)
    return 1 / statistics.median(spent)


def measure(backend: str, blob: bytes, shape: tuple[int, ...], mode: str, seconds: float) -> float:
    """``runs_per_second`` in a process of its own."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(blob)
        file.flush()
        arguments = [backend, file.name, "x".join(map(str, shape)), mode, str(seconds)]
        command = [sys.executable, "-m", "tests.bench.plain_loop", *arguments]
        result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return float(result.stdout)


if __name__ == "__main__":
    backend_name, model_path, shape_text, mode_name, duration = sys.argv[1:]
    dims = tuple(map(int, shape_text.split("x")))
    print(runs_per_second(backend_name, model_path, dims, mode_name, float(duration)))
