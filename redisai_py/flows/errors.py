"""The exceptions that flow files see, and exceptions as replies that name the flow's own line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from redisai_py.worker.errors import error_text, text_of

# RedisGears raises all errors of redisAI as an exception of this name.
GearsError = type("error", (Exception,), {"__module__": "gears", "__doc__": "An error of redisAI, with its text."})

HAS_CODE = re.compile(r"[A-Z][A-Z0-9]+ ")

_directories: set[str] = set()


def is_own(directory: Path) -> None:
    """Files below this directory are the operator's: their lines are named."""
    _directories.add(str(directory) + "/")


def line_of(error: BaseException) -> str:
    """Where in a flow file an exception came from, as ``file.py, line 3, in name``; empty when nowhere."""
    if isinstance(error, SyntaxError) and isinstance(error.filename, str):
        return f"{Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(frame.filename.startswith(directory) for directory in _directories):
            return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
    return ""


def describe(error: BaseException) -> str:
    """One line: the text, with the exception's type unless that is of no interest, and the line. Does not raise."""
    try:
        text = text_and_line(error)
    except BaseException:  # the exception's class may be anybody's
        text = type(error).__name__
    return " ".join(text.split())


def text_and_line(error: BaseException) -> str:
    text = str(error.msg or "") if isinstance(error, SyntaxError) else text_of(error)
    if type(error) is not Exception and not isinstance(error, GearsError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = line_of(error)
    return text + (f" ({line})" if line else "")


def reply_text(error: BaseException) -> bytes:
    """The error reply: an error code of Redis at its beginning is kept, otherwise it is ERR."""
    text = describe(error) or error_text(error).decode(errors="replace")
    if not HAS_CODE.match(text):
        text = "ERR " + text
    return text.encode(errors="replace").replace(b"\0", b" ")
