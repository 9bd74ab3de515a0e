"""Loading flow files: one after the other, by name, on a thread of their own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from redisai_py.worker.core import ffi, lib, log
from redisai_py.worker.imports import one_at_a_time

from . import registry
from .errors import describe, is_own

IMPORTABLE = str(Path(__file__).parent / "importable")


def find(path: Path) -> Iterator[Path]:
    """The file, or those of the directory whose names do not begin with an underscore or a dot."""
    if path.is_dir():
        yield from sorted(file for file in path.glob("*.py") if file.name[0] not in "._")
    else:
        yield path


def prepare(path: Path) -> None:
    """Lets flow files import redisAI and what lies beside them."""
    directory = path if path.is_dir() else path.parent
    is_own(directory)
    for entry in (IMPORTABLE, str(directory)):
        if entry not in sys.path:
            sys.path.append(entry)


def load(file: Path) -> None:
    """Runs a file and announces what it registered; of one that fails nothing is announced."""
    record = lib.rai_flow_file_new(registry.encode(file.name))
    try:
        with registry.Registrations() as registrations:
            run(file)
        registrations.announce()
    except BaseException as error:  # a SystemExit, too, is the file's failure only
        text = describe(error)
        log("warning", f"flow {file.name} failed to load: {text}")
        lib.rai_flow_file_done(record, text.encode(errors="replace"))
    else:
        lib.rai_flow_file_done(record, ffi.NULL)
        log("notice", f"flow {file.name} loaded")


def run(file: Path) -> None:
    name = f"redisai_flow_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with one_at_a_time(for_jobs=False):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
