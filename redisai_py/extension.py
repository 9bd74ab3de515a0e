"""The part of the TORCH backend that is compiled for the installed PyTorch: ``python -m redisai_py compile``.

PyTorch's C++ interface changes with every version, so no wheel can bring it. Without it
models and scripts run through PyTorch's Python package.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
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


def compile_interpreter() -> Path:
    """Compiles the interpreter, unless it is there; raises CompileError."""
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError as error:
        raise CompileError("PyTorch is not installed: pip install 'redisai-py[torch]'") from error
    target = library_path(torch.__version__)
    if target.exists():
        return target
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None:
        raise CompileError(f"there is no C++ compiler {compiler[0]} (Debian: apt-get install g++)")
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    unfinished = target.with_name(f".{os.getpid()}-{target.name}")
    command = [
        *compiler,
        *("-shared", "-fPIC", "-O2", "-fvisibility=hidden"),
        f"-std=c++{20 if version >= OLDEST_CXX_20 else 17}",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}",
        *(f"-isystem{path}" for path in [*cpp_extension.include_paths(), sysconfig.get_path("include")]),
        *(f"-I{include_folder()}", str(FOLDER / "interpreter.cpp"), "-o", str(unfinished)),
        *(f"-L{path}" for path in cpp_extension.library_paths()),
        *("-ltorch", "-ltorch_cpu", "-lc10", "-ltorch_python"),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        unfinished.replace(target)
    except subprocess.CalledProcessError as error:
        raise CompileError(f"{compiler[0]} failed:\n{error.stderr}") from error
    except OSError as error:
        raise CompileError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return target
