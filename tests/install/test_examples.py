"""Every program of examples/ runs, prints what its README shows, and finds what it should find."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(readme.parent.name for readme in EXAMPLES.glob("*/README.md"))
CLIENTS = ("with_redis", "with_redisai")

Run = Callable[[str, str], str]


@pytest.fixture(scope="module")
def run(server: Server) -> Run:
    """What a program prints; each is run once."""

    @functools.cache
    def output(example: str, program: str) -> str:
        # A DeprecationWarning would be about a command or a call that newcomers should not learn.
        line = [sys.executable, "-W", "error:Call to deprecated", f"{program}.py", "--port", str(server.port)]
        result = subprocess.run(line, cwd=EXAMPLES / example, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return output


def without_numbers(text: str) -> str:
    """Training and rounding are not the same to the last digit on every machine."""
    return re.sub(r" *\d+(\.\d+)?", " #", text)


@pytest.mark.parametrize("program", CLIENTS)
@pytest.mark.parametrize("example", NAMES)
def test_it_prints_what_its_readme_shows(run: Run, example: str, program: str) -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```$", (EXAMPLES / example / "README.md").read_text(), re.DOTALL | re.M)
    assert without_numbers(run(example, program)) == without_numbers(shown)


@pytest.mark.parametrize("example", NAMES)
def test_both_clients_print_the_same(run: Run, example: str) -> None:
    first, second = (run(example, program) for program in CLIENTS)
    assert first == second


def test_nearly_all_digits_are_read(run: Run) -> None:
    right = [float(percent) for percent in re.findall(r"([\d.]+)% right", run("image_classification", "with_redis"))]
    assert len(right) == 2 and min(right) > 95


def test_speech_is_found_where_it_is(run: Run) -> None:
    times = re.findall(r"anna: speech \w+ at ([\d.]+)", run("speech_detection", "with_redis"))
    # Seven syllables of 0.27 s, after pauses of a second.
    expected = [1.0, 2.89, 3.89, 5.78]
    assert [float(time) for time in times] == pytest.approx(expected, abs=0.2)


def test_the_best_sentence_is_the_one_that_means_the_same(run: Run) -> None:
    lines = run("sentence_search", "with_redis").splitlines()
    best = [lines[i + 1] for i in range(0, len(lines), 4)]
    assert [("rain" in best[0]), ("bread" in best[1]), ("Shares" in best[2])] == [True] * 3


def test_frauds_raise_an_alarm_and_nothing_else_does(run: Run) -> None:
    verdicts = re.findall(r"(fine|ALARM)$", run("fraud_detection", "with_redis"), re.MULTILINE)
    assert verdicts == ["fine", "fine", "ALARM", "fine", "ALARM", "fine"]


def test_the_list_of_examples_is_complete() -> None:
    assert set(re.findall(r"\]\((\w+)/README\.md\)", (EXAMPLES / "README.md").read_text())) == set(NAMES)
