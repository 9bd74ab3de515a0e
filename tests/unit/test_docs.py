"""The pages name what the source has: commands, load arguments, files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from redisai_py import server
from redisai_py.codegen.commands import COMMANDS, Command

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WRITTEN_LATER = {"docs/performance.md"}  # needs figures of a whole benchmark run


def text(page: str) -> str:
    return (ROOT / page).read_text()


def cells(row: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_commands_page_has_the_command_as_the_table_declares_it(command: Command) -> None:
    rows = [cells(line) for line in text("docs/commands.md").splitlines() if line.startswith("| AI.")]
    keys = ", ".join(map(str, command.keys)) if any(command.keys) else "none"
    syntax = f"`{command.syntax}`" if command.syntax else ""
    assert [command.name.upper(), syntax, " ".join(command.flags), keys, command.summary] in rows


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_readme_names_the_command(command: Command) -> None:
    assert command.name.upper() in text("README.md")


def test_the_readme_has_every_load_argument() -> None:
    listed = re.search(r"load arguments of the module: ([^.]*)\.", server.__doc__ or "")
    assert listed is not None
    readme = text("README.md")
    for argument in re.split(r",\s*", listed.group(1)):
        assert f"`{argument}`" in readme


SOURCES = [
    *(ROOT / "module").rglob("*.c"),
    *(ROOT / "redisai_py" / "eventloop").glob("*.py"),
    *(ROOT / "redisai_py" / "worker").glob("*.py"),
    *(ROOT / "redisai_py").glob("*.py"),
]


@pytest.mark.parametrize("source", [path for path in SOURCES if path.name != "__init__.py"], ids=lambda path: path.name)
def test_the_source_tour_names_the_file(source: Path) -> None:
    assert source.name in text("README.md").split("## The source, in reading order")[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        found = (page.parent / target).resolve()
        assert found.exists() or str(found.relative_to(ROOT)) in WRITTEN_LATER, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    for name in re.findall(r"`((?:redisai_py|module|tests|backends|docs)/[\w/.]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_the_conformance_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text("docs/conformance.md"))
    assert len(named) > 20
    for file, test in named:
        assert re.search(rf"^def {test}\(", text(f"tests/flow/{file}"), re.MULTILINE), f"{file}::{test}"


def test_what_is_promised_for_a_redis_server_is_tested_on_it() -> None:
    """A file that uses the fixture redis_binary runs on all of them, another one on the default one."""
    for row in text("docs/conformance.md").splitlines():
        found = re.search(r"`(test_\w+\.py)::", row)
        if found is not None:
            assert "redis_binary" in text(f"tests/flow/{found[1]}"), row


def test_the_dashboard_shows_what_the_script_for_redis_exporter_gives() -> None:
    dashboard = json.loads(text("docs/grafana.json"))
    shown = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            shown |= set(re.findall(r'key=~"(\w+)\\\\\|\.\*\\\\\|([\w.\\]+)"', target["expr"]))
    assert len(shown) > 15
    operating = text("docs/operating.md")
    for kind, field in shown:
        assert f"ai_{kind}" in operating and f"`{field.replace(chr(92), '')}`" in operating, (kind, field)


RUN_BY = {
    ("README.md", "sh"): "flow/test_documented_backend.py",
    ("README.md", "python"): "flow/test_documented_backend.py",
    ("docs/architecture.md", "python"): "flow/test_documented_backend.py",
    ("docs/backends.md", "python"): "flow/test_documented_backend.py",
    ("docs/dags.md", "python"): "flow/test_documented_backend.py",
    ("docs/dags.md", "sh"): "flow/test_documented_backend.py",
    ("docs/flows.md", "python"): "flow/test_documented_flows.py",
    ("docs/scripts.md", "python"): "flow/test_documented_backend.py",
    ("docs/scripts.md", "sh"): "flow/test_documented_backend.py",
    ("docs/security.md", "sh"): "flow/test_documentation.py",
    ("docs/testing.md", "ini"): "flow/test_documentation.py",
    ("docs/testing.md", "python"): "flow/test_documentation.py",
}
"""Which test runs the blocks of a language on a page."""

SHOWN_ONLY = {("docs/backends.md", "toml"), ("docs/c-api.md", "c")}
"""Parts of files that cannot stand alone."""


def test_every_block_of_code_is_run_by_a_test() -> None:
    blocks = {
        (str(page.relative_to(ROOT)), language)
        for page in PAGES
        for language in re.findall(r"^```(\w+)$", page.read_text(), re.MULTILINE)
    }
    assert blocks == RUN_BY.keys() | SHOWN_ONLY
    for (page, _), test in RUN_BY.items():
        assert f'"{page}"' in text(f"tests/{test}"), f"{test} does not read {page}"
