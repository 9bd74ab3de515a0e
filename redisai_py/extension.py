"""The part of the TORCH backend that is compiled for the installed PyTorch: ``python -m redisai_py compile``.

PyTorch's C++ interface changes with every version, so no wheel can bring it. Without it
models and scripts run through PyTorch's Python package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "backends" / "redisai_torch"
OLDEST_CXX_20 = (2, 10)
"""From this version on PyTorch's headers need C++20."""


class CompileError(Exception):
    """It cannot be compiled; the text says why, and what to do about it."""


def include_folder() -> Path:
    """Where redisai_program.h is: in an installed package, or in a checkout."""
    installed = PACKAGE / "include"
    return installed if installed.is_dir() else PACKAGE.parent / "module" / "include"


def library_path(torch_version: str, folder: Path = FOLDER) -> Path:
    """The compiled file for a PyTorch and this version of our source, whether or not it is there."""
    sources = folder / "interpreter.cpp", include_folder() / "redisai_program.h"
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return folder / f"interpreter-{torch_version}-{digest[:8]}{EXTENSION_SUFFIXES[0]}"


def torch_version() -> str | None:
    """``torch.__version__``, without the seconds that importing it takes; None if it is not installed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = re.search(r"^__version__ = '(.*)'$", Path(spec.origin).with_name("version.py").read_text(), re.MULTILINE)
    return found[1] if found else None


def is_compiled() -> bool:
    """Whether there is a file for the PyTorch that is installed."""
    version = torch_version()
    return version is not None and library_path(version).exists()


def compile_interpreter() -> Path:
    """Compiles the interpreter, unless it is there; raises CompileError."""
    version = torch_version()
    if version is None:
        raise CompileError("PyTorch is not installed: pip install 'redisai-py[torch]'")
    target = library_path(version)
    if not target.exists():
        try:
            with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".compile-") as directory:
                run_compiler(version, Path(directory) / target.name)
                (Path(directory) / target.name).replace(target)
        except OSError as error:
            raise CompileError(f"{FOLDER} cannot be written to: {error.strerror}") from error
    return target


def run_compiler(version: str, output: Path) -> None:
    """Raises CompileError, or OSError."""
    import torch
    from torch.utils import cpp_extension

    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None:
        raise CompileError(f"there is no C++ compiler {compiler[0]} (Debian: apt-get install g++)")
    is_new = tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_CXX_20
    command = [
        *compiler,
        *("-shared", "-fPIC", "-O2", "-fvisibility=hidden"),
        f"-std=c++{20 if is_new else 17}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *(f"-isystem{path}" for path in [*cpp_extension.include_paths(), sysconfig.get_path("include")]),
        *(f"-I{include_folder()}", str(FOLDER / "interpreter.cpp"), "-o", str(output)),
        *(f"-L{path}" for path in cpp_extension.library_paths()),
        *("-ltorch", "-ltorch_cpu", "-lc10", "-ltorch_python"),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise CompileError(f"{compiler[0]} failed:\n{result.stderr}")
