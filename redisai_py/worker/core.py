"""The C core as workers see it through cffi: settings, logging, addresses."""

from __future__ import annotations

from typing import Any

from . import _core  # type: ignore[attr-defined]  # compiled from module/include/core.h

ffi: Any = _core.ffi
lib: Any = _core.lib

settings: Any = lib.rai_config()
"""The configuration (``rai_settings``). What changes at run time is read where it is used."""


def log(level: str, text: str) -> None:
    """Writes a line to Redis' log; the level is one of debug, verbose, notice and warning."""
    lib.rai_log(level.encode(), text.encode(errors="replace"))


def text(value: Any) -> str:
    """A C string as str."""
    return bytes(ffi.string(value)).decode(errors="surrogateescape")


def address(pointer: Any) -> int:
    """A pointer as the integer that ``native`` takes."""
    return int(ffi.cast("uintptr_t", pointer))
