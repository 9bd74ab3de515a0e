"""Lines that pages show as typed do what the pages say. Others are run by the tests that test_docs.py lists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import transcripts
from harness import Server

ROOT = transcripts.ROOT

pytestmark = transcripts.needs_redis_cli


def typed_lines(page: str) -> list[str]:
    """The redis-cli lines of a page's indented blocks."""
    return re.findall(r"^    (redis-cli .*)$", (ROOT / page).read_text(), re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def type_all(directory: Path, server: Server, lines: list[str]) -> list[str]:
    terminal = transcripts.Terminal(directory / "terminal", server.port)
    return [terminal.type(transcripts.Exchange(f"$ {line}", "")) for line in lines]


def test_the_lines_of_the_backends_page(make_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "line.py").write_text(blocks("docs/backends.md", "python")[0])
    server = make_server("TORCH", str(tmp_path / "line.py"))
    lines = [line for line in typed_lines("docs/backends.md") if "model.zip" not in line]
    shown = type_all(tmp_path, server, lines)
    assert shown == ["OK", "OK", "OK", '1) "3"\n2) "5"\n3) "7"']


def test_the_lines_of_the_architecture_page(make_server: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "bridge.py").write_text(blocks("docs/architecture.md", "python")[0])
    server = make_server("TORCH", str(tmp_path / "bridge.py"))
    *first, figures = type_all(tmp_path, server, typed_lines("docs/architecture.md"))
    assert first == ["OK", "OK", "OK"] and figures.count(") ") == 2


def test_the_users_of_the_security_page_may_do_what_it_says(make_server: Callable[..., Server], tmp_path: Path) -> None:
    (lines,) = blocks("docs/security.md", "sh")
    server = make_server()
    assert type_all(tmp_path, server, lines.splitlines()) == ["OK", "OK"]
    store = "-x AI.MODELSTORE model:m ONNX CPU BLOB < multiply.onnx"
    tensors = [f"redis-cli --user app --pass secret AI.TENSORSET data:{name} FLOAT 1 VALUES 2" for name in "ab"]
    execute = "redis-cli --user app --pass secret AI.MODELEXECUTE model:m INPUTS 2 data:a data:b OUTPUTS 1 data:y"
    shown = type_all(
        tmp_path,
        server,
        [
            f"redis-cli --user app --pass secret {store} 2>/dev/null",
            f"redis-cli --user deploy --pass secret {store} 2>/dev/null",
            *[f"{line} 2>/dev/null" for line in (*tensors, execute)],
            "redis-cli --user deploy --pass secret AI.TENSORGET data:y VALUES 2>/dev/null",
        ],
    )
    assert [text[:14] for text in shown] == ["(error) NOPERM", "OK", "OK", "OK", "OK", "(error) NOPERM"]


def test_the_tests_of_the_testing_page_pass(pytester: pytest.Pytester) -> None:
    for number, block in enumerate(blocks("docs/testing.md", "python")):
        (pytester.path / f"test_{number}.py").write_text(block)
    (pytester.path / "pytest.ini").write_text(blocks("docs/testing.md", "ini")[0])
    result = pytester.runpytest_subprocess("-p", "redisai_py.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("page", ["README.md", "docs/docker.md", "Dockerfile"])
def test_docker_is_called_with_arguments_that_the_dockerfile_has(page: str) -> None:
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    assert "docker build -t redisai-py" in text
    assert set(re.findall(r"--build-arg (\w+)=", text)) <= declared


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    line = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**transcripts.path_with_scripts(), "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        html = page.read_text()
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?:[^"]*)"', html)
        assert not loaded, f"{page.name} loads {loaded}"
        assert "mermaid" not in html, f"{page.name} has a picture that needs a program from elsewhere"
