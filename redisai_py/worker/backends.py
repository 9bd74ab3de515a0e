"""Finding and importing backends by RedisAI's path rules (spec/backends.md, section 1)."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from redisai_py.backend import Options

from .core import ffi, lib, log, settings, text

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
    """A backend that cannot be loaded; the text says why."""


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


def load(backend: str, path: str | None) -> None:
    """Loads a backend, from its default path when ``path`` is None; raises BackendLoadError."""
    if backend in _loaded:
        log("warning", f"Could not load {backend} backend: backend already loaded")
        raise BackendLoadError("backend already loaded")
    where = path if path is not None else DEFAULT_PATHS[backend]
    try:
        file = find_file(where)
        module = import_file(file)
        if not hasattr(module, "Backend"):
            log("warning", f"Backend does not export Backend. {backend} backend was not loaded from {where}")
            raise BackendLoadError(f"{file} defines no class Backend")
        instance = module.Backend(options(backend))
    except BaseException as error:
        log("warning", f"Could not load {backend} backend from {where}: {type(error).__name__}: {error}")
        raise BackendLoadError(str(error)) from error
    finally:
        lib.rai_exit_quickly()  # the framework has registered destructors: go before them
    _loaded[backend] = instance
    info = lib.rai_backend(IDS[backend])
    version = str(instance.version).encode()[:63]
    ffi.memmove(info.version, version + b"\0", len(version) + 1)
    info.loaded = 1
    log("notice", f"{backend} backend loaded from {file}")


def get(backend: str) -> Any:
    """The backend, loaded from its default path if need be; raises BackendLoadError."""
    if backend not in _loaded:
        log("warning", f"backend {backend} not loaded, will try loading default backend")
        load(backend, None)
    return _loaded[backend]
