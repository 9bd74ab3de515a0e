"""Finding and importing backends: RedisAI's path rules (spec/backends.md, section 1), and entry points."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from redisai_py.backend import Options
from redisai_py.locate import BACKENDS, find_entry_point

from .core import ffi, lib, log, settings, text
from .imports import one_at_a_time

DEFAULT_PATHS = {
    "TF": "redisai_tensorflow/redisai_tensorflow.so",
    "TFLITE": "redisai_tflite/redisai_tflite.so",
    "TORCH": "redisai_torch/redisai_torch.so",
    "ONNX": "redisai_onnxruntime/redisai_onnxruntime.so",
}
IDS = {"TF": lib.RAI_TF, "TFLITE": lib.RAI_TFLITE, "TORCH": lib.RAI_TORCH, "ONNX": lib.RAI_ONNX}
NAMES = {number: name for name, number in IDS.items()}

_loaded: dict[str, Any] = {}


class BackendLoadError(Exception):
    """A backend that cannot be loaded; the text says why, ``remedy`` what to do about it, if that is known."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


def find_file(path: str) -> Path:
    """The file for a backend path as RedisAI configurations state it.

    A relative path is below BACKENDSPATH. The stem is what counts:
    ``x/redisai_torch.so`` finds ``x/redisai_torch.py``, or the extension module
    ``x/redisai_torch.cpython-311-x86_64-linux-gnu.so``, or the file itself.
    """
    stated = Path(path)
    if not stated.is_absolute():
        base = ffi.new("char[]", lib.RAI_PATH_SIZE)
        lib.rai_get_backends_path(base, lib.RAI_PATH_SIZE)
        stated = Path(text(base)) / stated
    stem = stated.with_suffix("") if stated.suffix in (".so", ".py") else stated
    suffixes = [".py", *importlib.machinery.EXTENSION_SUFFIXES]
    for suffix in suffixes:
        candidate = stem.with_name(stem.name + suffix)
        if candidate.is_file():
            return candidate
    raise BackendLoadError(f"no backend at {stem} ({', '.join(suffixes)})")


def import_file(file: Path) -> ModuleType:
    """Imports a backend's file under a name of its own, as a package: it may import its neighbours relatively."""
    name = "redisai_backend_" + file.name.split(".")[0]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None:
        raise BackendLoadError(f"{file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def options(backend: str) -> Options:
    info = lib.rai_backend(IDS[backend])

    def report_memory(used: int, accesses: int) -> None:
        info.memory = used
        info.memory_accesses = accesses

    return Options(
        intra_op_parallelism=settings.intra_op_parallelism,
        inter_op_parallelism=settings.inter_op_parallelism,
        memory_limit=settings.backend_memory_limit_mb * 1_000_000,
        log=log,
        report_memory=report_memory,
    )


def class_of_file(file: Path, backend: str, stated: str) -> Any:
    """The class Backend of a file, which was stated as such."""
    module = import_file(file)
    if not hasattr(module, "Backend"):
        log("warning", f"Backend does not export Backend. {backend} backend was not loaded from {stated}")
        raise BackendLoadError(f"{file} defines no class Backend")
    return module.Backend


def class_of_entry_point(entry_point: EntryPoint) -> Any:
    """The class that an entry point names, or the class Backend of the module that it names."""
    named = entry_point.load()
    return named.Backend if isinstance(named, ModuleType) else named


def remedy_of(error: BaseException, backend: str) -> str:
    """What to do about a framework that is not installed; empty for every other error."""
    if isinstance(error, BackendLoadError):
        return error.remedy
    (known,) = [known for known in BACKENDS if known.name == backend]
    return f"{backend} needs {known.framework}; {known.remedy}" if known.is_missing(error) else ""


def load(backend: str, path: str | None) -> None:
    """Loads a backend; raises BackendLoadError.

    Without a path an installed entry point serves the name, or else the default path.
    """
    with one_at_a_time(for_jobs=True):
        _load(backend, path)


def _load(backend: str, path: str | None) -> None:
    if backend in _loaded:
        log("warning", f"Could not load {backend} backend: backend already loaded")
        raise BackendLoadError("backend already loaded")
    entry_point = find_entry_point(backend) if path is None else None
    where = path if path is not None else DEFAULT_PATHS[backend]
    if entry_point is not None:
        where = f"entry point {entry_point.value}"
    if not lib.rai_import_begins():
        raise BackendLoadError("the server is shutting down")
    try:
        if entry_point is not None:
            origin, create = where, class_of_entry_point(entry_point)
        else:
            file = find_file(where)
            origin, create = str(file), class_of_file(file, backend, where)
        instance = create(options(backend))
    except BaseException as error:
        remedy = remedy_of(error, backend)
        reason = f"{type(error).__name__}: {error}" + (f" ({remedy})" if remedy else "")
        log("warning", f"Could not load {backend} backend from {where}: {reason}")
        raise BackendLoadError(str(error), remedy) from error
    finally:
        lib.rai_import_ends()  # the framework has registered destructors: the way out goes before them
    _loaded[backend] = instance
    info = lib.rai_backend(IDS[backend])
    version = str(instance.version).encode()[:63]
    ffi.memmove(info.version, version + b"\0", len(version) + 1)
    info.loaded = 1
    log("notice", f"{backend} backend loaded from {origin}")


def get(backend: str) -> Any:
    """The backend, loaded if need be; raises BackendLoadError."""
    if backend not in _loaded:
        log("warning", f"backend {backend} not loaded, will try loading default backend")
        load(backend, None)
    return _loaded[backend]
