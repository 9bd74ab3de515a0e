"""The TORCH backend with and without the part that is compiled for the installed PyTorch."""

from __future__ import annotations

import shutil
from pathlib import Path

from redisai_py import extension

FORMS = ("compiled", "package")
"""How TorchScript runs: as programs, or through PyTorch's Python package."""


def load_arguments(form: str, directory: Path) -> tuple[str, ...]:
    """The load arguments of a server whose TORCH backend has this form; ``directory`` is for a copy of it."""
    if form == "compiled":
        assert extension.is_compiled() or shutil.which("c++") is None, (
            "run: make test, or: python -m redisai_py compile"
        )
        return ()
    copy = directory / "redisai_torch"
    shutil.copytree(extension.FOLDER, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return "TORCH", str(copy / "redisai_torch.py")
