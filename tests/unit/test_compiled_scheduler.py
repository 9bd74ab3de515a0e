"""The scheduler that runs is compiled, with the types of scheduler.pxd: it has to do what the plain one does.

The server's is linked into redisai_core.so, which nobody but redis-server can load. So it is compiled here, with
models and requests that have nothing but what the scheduler reads.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redisai_py.worker import scheduler as plain

COMPILER = os.environ.get("CC", "cc")
PACKAGE = "compiled_worker"
SOURCES = Path(plain.__file__).parent

MODEL = """
cdef class LoadedModel:
    cdef public long long batch_size
    cdef public long long min_batch_size
    cdef public double min_batch_timeout
    cdef public bint is_urgent
    cdef public object line
"""
REQUEST = """
from compiled_worker.loaded_model cimport LoadedModel


cdef class Request:
    cdef public long long id
    cdef public LoadedModel model
    cdef public long long rows
    cdef public double enqueued
    cdef public double deadline
    cdef public object shape
"""
REQUEST_METHODS = """
class Request:
    def signature(self):
        return self.shape
"""

pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C compiler")


def compile_module(folder: Path, name: str) -> None:
    c_file = folder / f"{name}.c"
    cython = [sys.executable, "-m", "cython", "-3", "--module-name", f"{PACKAGE}.{name}", "-o", c_file]
    subprocess.run([*cython, folder / f"{name}.py"], check=True, cwd=folder.parent)
    library = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_paths()['include']}"
    subprocess.run([COMPILER, "-O1", "-w", "-fPIC", "-shared", include, "-o", library, c_file], check=True)
    (folder / f"{name}.py").unlink()  # the one to be imported is the library


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The compiled module; its models and requests are in the modules beside it."""
    folder = tmp_path_factory.mktemp("compiled") / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "__init__.pxd").touch()
    declarations = (SOURCES / "scheduler.pxd").read_text().replace("redisai_py.worker.", f"{PACKAGE}.")
    (folder / "scheduler.pxd").write_text(declarations)
    shutil.copy(SOURCES / "scheduler.py", folder)
    (folder / "loaded_model.pxd").write_text(MODEL)
    (folder / "loaded_model.py").write_text("class LoadedModel:\n    pass\n")
    (folder / "request.pxd").write_text(REQUEST)
    (folder / "request.py").write_text(REQUEST_METHODS)
    for name in ("loaded_model", "request", "scheduler"):
        compile_module(folder, name)
    sys.path.insert(0, str(folder.parent))
    yield importlib.import_module(f"{PACKAGE}.scheduler")
    sys.path.remove(str(folder.parent))


class Both:
    """Plays steps against both schedulers, with equal models and requests, and compares what they say."""

    def __init__(self, compiled: ModuleType, models: list[tuple[Any, ...]], *arguments: int) -> None:
        self.schedulers: list[Any] = [module.Scheduler(*arguments) for module in (plain, compiled)]
        self.models = [[self.model(*values) for values in models] for _ in self.schedulers]
        self.running: list[tuple[Any, ...]] = []
        self.pushed = 0
        self.now = 0.0

    def model(self, batch_size: int, min_batch_size: int, min_batch_timeout: float, is_urgent: bool) -> Any:
        model = sys.modules[f"{PACKAGE}.loaded_model"].LoadedModel()
        model.batch_size, model.is_urgent = batch_size, is_urgent
        model.min_batch_size = min_batch_size if batch_size else 0
        model.min_batch_timeout = min_batch_timeout if model.min_batch_size else 0.0
        return model

    def push(self, count: int, index: int, rows: int, time_to_live: float, shape: tuple[int, ...]) -> None:
        for _ in range(count):
            for scheduler, models in zip(self.schedulers, self.models, strict=True):
                request = sys.modules[f"{PACKAGE}.request"].Request()
                request.id, request.rows, request.shape = self.pushed, rows, shape
                request.model = models[index % len(models)]
                request.enqueued, request.deadline = self.now, self.now + time_to_live
                scheduler.push(request)
            self.pushed += 1

    def next(self) -> None:
        batches = [scheduler.next(self.now) for scheduler in self.schedulers]
        one, other = map(self.description, batches)
        assert one == other
        if one is not None:
            self.running.append(tuple(batches))

    @staticmethod
    def description(batch: Any) -> Any:
        if batch is None:
            return None
        values = [batch.merged, batch.is_long, batch.has_more, pytest.approx(batch.expected)]
        return [request.id for request in batch.requests], values

    def finish(self, seconds: float, wide: bool) -> None:
        if self.running:
            for scheduler, batch in zip(self.schedulers, self.running.pop(0), strict=True):
                scheduler.finished(batch, seconds, 1 if batch.merged else len(batch.requests), wide)

    def overdue(self) -> None:
        if self.running:
            for scheduler, batch in zip(self.schedulers, self.running[0], strict=True):
                scheduler.overdue(batch, 0.02)

    def cancel(self, request_id: int) -> None:
        one, other = (scheduler.cancel(request_id) for scheduler in self.schedulers)
        assert (one is None) == (other is None)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def expire(self) -> None:
        one, other = ([request.id for request in scheduler.expired(self.now)] for scheduler in self.schedulers)
        assert one == other

    def compare(self) -> None:
        one, other = (
            [
                len(scheduler),
                scheduler.has_ready(self.now),
                scheduler.leaves_cores_idle(),
                scheduler.leaves_room(),
                scheduler.next_deadline(),
                scheduler.ripe_at(),
                scheduler.wake_at(),
            ]
            for scheduler in self.schedulers
        )
        assert one == other


MODELS = st.tuples(
    st.sampled_from([0, 0, 1, 3, 16]), st.sampled_from([0, 0, 2, 5]), st.sampled_from([0.0, 0.01, 1.0]), st.booleans()
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("push"),
            st.integers(1, 60),
            st.integers(0, 2),  # model
            st.sampled_from([1, 1, 1, 0, 2, 9]),  # rows
            st.sampled_from([inf, inf, inf, 0.0, 0.02, 3.0]),  # time to live
            st.sampled_from([(4,), (4,), (5,)]),
        ),
        st.tuples(st.just("next")),
        st.tuples(st.just("next")),
        st.tuples(st.just("finish"), st.sampled_from([1e-6, 2e-5, 9e-5, 2e-4, 1e-2]), st.booleans()),
        st.tuples(st.just("overdue")),
        st.tuples(st.just("cancel"), st.integers(0, 200)),
        st.tuples(st.just("sleep"), st.floats(0.0, 0.5)),
        st.tuples(st.just("expire")),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(
    models=st.lists(MODELS, min_size=1, max_size=3),
    arguments=st.tuples(st.integers(1, 8), st.integers(1, 6), st.booleans()),  # workers, cores, on a GPU
    steps=STEPS,
)
def test_it_does_what_the_plain_one_does(
    compiled: ModuleType, models: list[tuple[Any, ...]], arguments: tuple[int, ...], steps: list[tuple[Any, ...]]
) -> None:
    both = Both(compiled, models, *arguments)
    for name, *values in steps:
        getattr(both, name)(*values)
        both.compare()


def test_parts_of_a_batch_are_not_lost(compiled: ModuleType) -> None:
    """47 of 16 rows are almost three batches, and not two, as a division of integers has it."""
    both = Both(compiled, [(16, 0, 0.0, False)], 8, 4)
    both.push(1, 0, 1, inf, (4,))
    both.next()
    both.finish(9e-5, False)
    both.push(47, 0, 1, inf, (4,))
    both.next()
    both.next()
    assert len(both.running) == 2
