"""Counts the flow tests that pass on each server, and writes the table of docs/durability.md.

``python -m tests.tools.durability [OPTION ...]``:

    --server NAME   only on this server, as redis-7.0.15; may be repeated
    --kind KIND     only of this kind: standalone, AOF, replica, cluster; may be repeated

Each test file runs by itself. The counts are kept in build/durability.json, so that a run may be
divided; the table is written from all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOW = ROOT / "tests/flow"
COUNTS = ROOT / "build/durability.json"
PAGE = ROOT / "docs/durability.md"
BEGIN, END = "<!-- table: tests/tools/durability.py -->", "<!-- end of table -->"

FILES = {
    "AOF": ["test_aof.py", "test_persistence.py", "test_crash.py"],
    "replica": ["test_replication.py", "test_resync.py", "test_failover.py", "test_sentinel.py"],
    "cluster": ["test_cluster.py"],
}
KINDS = ("standalone", *FILES)

Counts = dict[str, dict[str, dict[str, int]]]  # server, file, outcome


def files_of(kind: str) -> list[Path]:
    if kind != "standalone":
        return [FLOW / name for name in FILES[kind]]
    others = {name for names in FILES.values() for name in names}
    return [path for path in sorted(FLOW.glob("test_*.py")) if path.name not in others]


def servers() -> dict[str, str]:
    """The path of every server of this machine, by its name."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    from harness import all_binaries  # type: ignore[import-not-found]

    return {binary.name: binary.path for binary in all_binaries()}


def run_file(file: Path, server: str) -> dict[str, int]:
    """How many of a file's tests passed, were skipped and failed, with this server as the only one."""
    environment = {**os.environ, "REDISAI_REDIS_SERVER": server, "REDISAI_TEST_SERVERS": "one"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--junitxml={report}",
            f"--basetemp={folder}/tests",
            str(file),
        ]
        result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        found = Counter(outcome_of(case) for case in cases)
    if found["failed"]:
        print(result.stdout[-3000:])
    return {name: found[name] for name in ("passed", "skipped", "failed")}


def outcome_of(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def noted() -> Counts:
    counts: Counts = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    return counts


def note(server: str, file: str, result: dict[str, int]) -> None:
    """Reads again what is there: another run may be adding to it."""
    counts = noted()
    counts.setdefault(server, {})[file] = result
    COUNTS.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")


def table(counts: Counts) -> list[str]:
    lines = ["| server | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    for server in sorted(counts, key=lambda name: [int(part) for part in name.split("-")[1].split(".")]):
        cells = [cell([counts[server].get(file.name) for file in files_of(kind)]) for kind in KINDS]
        lines.append(f"| {server.replace('-', ' ').capitalize()} | " + " | ".join(cells) + " |")
    return lines


def cell(results: list[dict[str, int] | None]) -> str:
    known = [result for result in results if result is not None]
    if len(known) < len(results):
        return "not run"
    passed, skipped, failed = (sum(result[name] for result in known) for name in ("passed", "skipped", "failed"))
    notes = [f"{number} {name}" for number, name in ((skipped, "skipped"), (failed, "FAILED")) if number]
    return f"{passed} passed" + "".join(f", {note}" for note in notes)


def write_page(counts: Counts) -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text("\n".join([before + BEGIN, "", *table(counts), "", END]) + after)


def main() -> int:
    """Exit status 1 when a test failed."""
    found = servers()
    parser = argparse.ArgumentParser(prog="python -m tests.tools.durability", description=__doc__)
    parser.add_argument("--server", action="append", choices=sorted(found))
    parser.add_argument("--kind", action="append", choices=KINDS)
    arguments = parser.parse_args()
    failed = 0
    for server in arguments.server or found:
        for kind in arguments.kind or KINDS:
            for file in files_of(kind):
                result = run_file(file, found[server])
                print(f"{server} {kind} {file.name}: {result}", flush=True)
                failed += result["failed"]
                note(server, file.name, result)
    write_page(noted())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
