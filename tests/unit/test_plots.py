"""Plots of benchmark runs: drawn where a run has their rows, in the colours of the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib")

from bench import plots

MACHINE = {"time": "2030-01-02T03:04:05Z", "cores": 2, "redis": "7.0.15"}
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"


class Recorder(dict):  # type: ignore[type-arg]
    """Has every row, and remembers which were looked at."""

    def __missing__(self, key: tuple[str, str]) -> float:
        self[key] = float(len(self) + 1)
        return self[key]


def run_with(path: Path, plot: Callable[[plots.Rows], object]) -> Path:
    wanted = Recorder()
    plot(wanted)
    rows = [{"group": group, "name": name, "value": value} for (group, name), value in wanted.items()]
    path.write_text(json.dumps({"machine": MACHINE, "rows": rows}))
    return path


@pytest.mark.parametrize("name", plots.PLOTS)
def test_a_run_gets_the_plots_that_it_has_rows_for(name: str, tmp_path: Path) -> None:
    run = run_with(tmp_path / "bench.json", plots.PLOTS[name])
    assert plots.draw(run, tmp_path) == [name]
    svg = (tmp_path / f"{name}.svg").read_text()
    assert ElementTree.fromstring(svg).get("id") == name
    assert "2030-01-02, 2 cores, Redis 7.0.15" in svg
    assert "var(--picture-text" in svg and "var(--picture-line" in svg


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    run = run_with(tmp_path / "bench.json", plots.tensors)
    first, second = (plots.draw(run, tmp_path) and (tmp_path / "bench-tensors.svg").read_bytes() for _ in range(2))
    assert first == second


def test_pictures_on_one_page_share_no_ids() -> None:
    ids = [found for picture in IMAGES.glob("*.svg") for found in re.findall(r' id="([^"]+)"', picture.read_text())]
    assert len(ids) == len(set(ids))
