"""What mkdocs does not do by itself: pages that are made or lie elsewhere, pictures in the colours of the page.

- ``reference/``: a page for each command, from the command table and ``docs/transcripts/``.
- README files and others outside of docs/ become pages; links to them are led there.
- SVG pictures are put into the pages, where they follow the light or dark colours.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_site")]

from reference import GROUPS, page_of  # noqa: E402

from redisai_py.codegen.commands import COMMANDS  # noqa: E402

REFERENCE = {f"reference/{command.name}.md": page_of(command) for command in COMMANDS}

ELSEWHERE = {
    "COMPATIBILITY.md": "compatibility.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "examples/README.md": "examples/index.md",
    **{
        f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md"
        for path in (ROOT / "examples").glob("*/README.md")
    },
}
"""Files outside of docs/, and the pages that they are."""

SOURCES = {page: source for source, page in ELSEWHERE.items() if page != "index.md"}

PART = re.compile(r'^--8<-- "([^":]+):(\w+)"$', re.MULTILINE)
"""A line that stands for a part of a file, which has comments ``--8<-- [start:name]`` and ``[end:name]``."""

COMMAND_ROW = re.compile(r"^\|(?:[^|\n]|\\\|)+(?:\|(?:[^|\n]|\\\|)+){4}\|$", re.MULTILINE)
"""Five cells: in docs/commands.md these are the rows of the table of commands."""

LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)]*)?\))")
CODE = re.compile(r"<code>[^<]*</code>")
PICTURE = re.compile(r'<img alt="([^"]*)" src="([\w./-]+\.svg)" ?/?>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    names = {command.name for command in COMMANDS}
    assert names == {name for _, group in GROUPS for name in group}, "docs/_site/reference.py lists every command"
    groups: list[Any] = [{title: [{name.upper(): f"reference/{name}.md"} for name in group]} for title, group in GROUPS]
    config.nav = put_reference(config.nav, groups)
    return config


def put_reference(nav: Any, groups: list[Any]) -> Any:
    if isinstance(nav, dict):
        return {title: put_reference(entry, groups) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    found: list[Any] = []
    for entry in nav:
        found += groups if entry == "REFERENCE" else [put_reference(entry, groups)]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for page, content in REFERENCE.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    place = page.file.src_uri
    if place in REFERENCE:
        return markdown
    if place == "commands.md":
        markdown = COMMAND_ROW.sub(linked_row, markdown)
    markdown = led(markdown, SOURCES.get(place, f"docs/{place}"), place)
    return PART.sub(lambda match: led(part_of(*match.groups()), match[1], place), markdown)


def linked_row(match: re.Match[str]) -> str:
    """A row of the table of commands; flags and keys are told by the command's own page."""
    cells = re.split(r"(?<!\\)\|", match[0])[1:-1]
    name = cells[0].strip()
    if name == "command":
        return "| command | syntax | summary |"
    if name.startswith("-"):
        return "|---|---|---|"
    return f"| [{name}](reference/{name.lower()}.md) |{cells[1]}|{cells[4]}|"


def part_of(file: str, name: str) -> str:
    text = (ROOT / file).read_text()
    start, end = (text.index(f"<!-- --8<-- [{edge}:{name}] -->") for edge in ("start", "end"))
    return text[text.index("\n", start) + 1 : end]


def led(markdown: str, source: str, place: str) -> str:
    """The text of a file with links to the pages of the site; in the file they are right for the repository."""

    def replaced(match: re.Match[str]) -> str:
        target = normpath(str(PurePosixPath(source).parent / match[2]))
        wanted = ELSEWHERE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if wanted is None:
            return match[0]
        return f"{match[1]}{relpath(wanted, PurePosixPath(place).parent)}{match[3]}"

    return LINK.sub(replaced, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    def inlined(match: re.Match[str]) -> str:
        svg = (ROOT / "docs" / PurePosixPath(page.file.src_uri).parent / match[2]).read_text()
        return f'<figure class="picture" role="img" aria-label="{match[1]}">{svg[svg.index("<svg") :]}</figure>'

    # In the repository a | inside of a table's code needs a backslash, which Python-Markdown would show.
    return PICTURE.sub(inlined, CODE.sub(lambda match: match[0].replace("\\|", "|"), html))
