"""``python -m redisai_py path``, ``check`` and ``compile``."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable

from . import __version__, extension, locate


def print_path() -> int:
    """Prints the absolute path of ``redisai.so`` for ``loadmodule``; exit status 1 when it is not built."""
    try:
        print(locate.find_module())
    except locate.LocateError as error:
        print(f"redisai_py: {error}", file=sys.stderr)
        return 1
    return 0


def print_check() -> int:
    """Prints what is there and what is missing; exit status 1 when a server with the module cannot start."""
    rows = [("redisai-py", True, __version__), _row("redis-server", _redis_server)]
    rows.append(("Python", True, f"{platform.python_version()} ({sys.executable})"))
    rows.append(_row("libpython", lambda: str(locate.find_libpython())))
    rows.append(_row("module", lambda: str(locate.find_module())))
    complete = all(found for _, found, _ in rows)
    for backend in locate.BACKENDS:
        rows.append((backend.name, *_backend(backend)))
    for name, found, text in rows:
        print(f"{'ok' if found else '--'}  {name:<12}  {text}")
    return 0 if complete else 1


def compile_extension() -> int:
    """Compiles what lets TORCH run without Python, and prints its path; exit status 1 when that is not possible."""
    try:
        print(extension.compile_interpreter())
    except extension.CompileError as error:
        print(f"redisai_py: {error}", file=sys.stderr)
        return 1
    return 0


def _redis_server() -> str:
    path = locate.find_redis_server()
    return f"{locate.redis_version(path)} ({path})"


def _backend(backend: locate.Backend) -> tuple[bool, str]:
    entry_point = locate.find_entry_point(backend.name)
    if entry_point is not None:
        return True, f"{entry_point.value} (entry point of {entry_point.dist.name if entry_point.dist else '?'})"
    version = locate.framework_version(backend)
    if version is None:
        return False, f"needs {backend.framework}; {backend.remedy}"
    if backend.name == "TORCH" and not extension.is_compiled():
        return True, f"{version} (faster after: python -m redisai_py compile)"
    return True, version


def _row(name: str, look: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, look()
    except locate.LocateError as error:
        return name, False, str(error)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m redisai_py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="path | check | compile")
    commands.add_parser("path", help="print the path of the built redisai.so")
    commands.add_parser("check", help="print the versions found of Redis, Python and every backend")
    commands.add_parser("compile", help="compile what makes TORCH faster, with a C++ compiler")
    return {"path": print_path, "check": print_check, "compile": compile_extension}[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(main())
