"""From nothing to the first prediction: the wheel in an empty environment, without a compiler.

A new environment gets the wheel with onnxruntime and the client, and nothing else is on its PATH than what it holds
itself and a few everyday programs. The lines of README.md are what runs in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.server import free_port, wait_until
from redisai_py import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_FIRST_PREDICTION = 120
EVERYDAY_PROGRAMS = ("sh", "base64", "cat")


def make(directory: Path, *line: str) -> Path:
    """The one file that a program of this environment writes into a directory."""
    result = subprocess.run([sys.executable, "-m", *line], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (made,) = directory.iterdir()
    return made


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    return make(directory, "build", "--no-isolation", "--sdist", "--outdir", str(directory), str(ROOT))


@pytest.fixture(scope="module")
def wheel(source_distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip builds of the source distribution, with nothing but what that says it needs."""
    directory = tmp_path_factory.mktemp("wheel")
    return make(directory, "pip", "wheel", "--no-deps", "--wheel-dir", str(directory), str(source_distribution))


class Environment:
    """A virtual environment, and a PATH on which there is no compiler."""

    def __init__(self, directory: Path) -> None:
        self.seconds_to_install = 0.0
        self.scripts = directory / "venv" / "bin"
        everyday = directory / "bin"
        everyday.mkdir()
        for name in EVERYDAY_PROGRAMS:
            (everyday / name).symlink_to(str(shutil.which(name)))
        self.path = f"{self.scripts}{os.pathsep}{everyday}"
        assert not any(shutil.which(compiler, path=self.path) for compiler in ("cc", "gcc", "clang", "c++"))

    def run(self, *line: str, cwd: Path | None = None, seconds: float = 60) -> str:
        program = shutil.which(line[0], path=self.path)
        assert program, f"{line[0]} is not in the environment"
        result = subprocess.run(
            [program, *line[1:]], cwd=cwd, env=self.variables, capture_output=True, text=True, timeout=seconds
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("REDISAI_", "PYTHON"))}
        return {**kept, "PATH": self.path}

    @contextmanager
    def server(self, directory: Path, *options: str) -> Iterator[int]:
        """``redisai-server`` on a free port."""
        port = free_port()
        line = [str(self.scripts / "redisai-server"), *options, "--port", str(port), "--bind", "127.0.0.1"]
        with (directory / "redis.log").open("wb") as log:
            process = subprocess.Popen(line, cwd=directory, env=self.variables, stdout=log, stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or "Ready to accept" in (directory / "redis.log").read_text())
            assert process.poll() is None, (directory / "redis.log").read_text()
            yield port
        finally:
            process.terminate()
            assert process.wait(30) == 0, (directory / "redis.log").read_text()


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel; installing it all counts towards the time to the first prediction."""
    directory = tmp_path_factory.mktemp("environment")
    environment = Environment(directory)
    start = time.monotonic()
    venv.create(directory / "venv", symlinks=True, with_pip=True)
    (directory / "dist").mkdir()
    (directory / "dist" / wheel.name).symlink_to(wheel)
    (install,) = re.findall(r"^    (pip install .*dist.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    environment.run("sh", "-euc", install, cwd=directory, seconds=SECONDS_TO_FIRST_PREDICTION)
    environment.seconds_to_install = time.monotonic() - start
    return environment


def blocks_of_the_readme(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def first_predictions(environment: Environment, directory: Path, port: int) -> None:
    (shell,), (python,) = blocks_of_the_readme("sh"), blocks_of_the_readme("python")
    printed = environment.run("sh", "-euc", shell.replace("redis-cli", f"redis-cli -p {port}"), cwd=directory)
    assert printed.split()[-3:] == ["10", "40", "90"]
    printed = environment.run("python", "-c", python.replace("port=6379", f"port={port}"), cwd=directory)
    assert printed.split() == ["[10.", "40.", "90.]"]


def test_from_nothing_to_the_first_prediction(environment: Environment, tmp_path: Path) -> None:
    start = time.monotonic()
    with environment.server(tmp_path) as port:
        first_predictions(environment, tmp_path, port)
    assert environment.seconds_to_install + time.monotonic() - start < SECONDS_TO_FIRST_PREDICTION


@pytest.mark.skipif(not Path("/usr/bin/redis-server").exists(), reason="needs a redis-server of the system")
def test_with_the_redis_server_of_the_system(environment: Environment, tmp_path: Path) -> None:
    with environment.server(tmp_path, "--redis-server", "/usr/bin/redis-server") as port:
        first_predictions(environment, tmp_path, port)


def test_the_wheel_says_what_it_found(environment: Environment) -> None:
    rows = environment.run("python", "-m", "redisai_py", "check").splitlines()
    found = {row.split()[1]: row.split()[0] for row in rows}
    assert found.items() >= {"module": "ok", "libpython": "ok", "ONNX": "ok", "redis-server": "ok", "TF": "--"}.items()
    assert f"redisai-py {__version__}, redis-server" in environment.run("redisai-server", "--version")


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_the_wheel_compiles_its_part_for_pytorch(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    line = [sys.executable, "-m", "redisai_py", "compile"]
    variables = dict(os.environ, PYTHONPATH=str(tmp_path))
    result = subprocess.run(line, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).parent == tmp_path / "redisai_py" / "backends" / "redisai_torch"


def test_pytest_finds_the_fixtures_of_the_wheel(environment: Environment, tmp_path: Path) -> None:
    environment.run("python", "-m", "pip", "install", "--quiet", "pytest", seconds=120)
    (tmp_path / "test_it.py").write_text("def test_it(redisai_client): assert redisai_client.ping()\n")
    assert "1 passed" in environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)


def test_the_source_distribution_holds_the_sources_and_nothing_that_was_built(source_distribution: Path) -> None:
    with tarfile.open(source_distribution) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    trees = ("module/", "redisai_py/", "backends/", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE")
    assert {name for name in listed if name.startswith(trees)} <= names
    assert not [name for name in names if name.startswith(("build/", ".venv/", "dist/")) or name.endswith(".so")]
