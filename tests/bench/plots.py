"""Plots of a benchmark run for docs/performance.md: ``python -m tests.bench.plots bench.json docs/images``.

Each plot is drawn if the run has its rows. The SVG files name the variables of docs/stylesheets/site.css, so that
they follow the colours of the page; where these are not known, they show the colours below.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

OURS, REDIS, OTHER, ANOTHER, TEXT = "#00796b", "#90a4ae", "#d08c2f", "#7a6fb0", "#263238"
VARIABLES = {OURS: "--picture-line", REDIS: "--picture-quiet", TEXT: "--picture-text"}

Rows = dict[tuple[str, str], float]
Series = tuple[str, str, Sequence[float]]
"""Name, colour, and a value for each group of bars."""


def read(path: Path) -> tuple[Rows, dict[str, Any]]:
    """The values of a run by (group, name), and its machine."""
    data = json.loads(path.read_text())
    return {(row["group"], row["name"]): row["value"] for row in data["rows"]}, data["machine"]


def bars(title: str, unit: str, groups: Sequence[str], series: Sequence[Series], logarithmic: bool = False) -> Any:
    """A figure with the bars of all series beside each other in each group."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "redisai-py", "font.family": "sans-serif"})
    matplotlib.rcParams.update(dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT))
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.4, 3.6))
    width = 0.8 / len(series)
    for number, (name, colour, values) in enumerate(series):
        places = [group + (number - (len(series) - 1) / 2) * width for group in range(len(groups))]
        drawn = axes.bar(places, values, width * 0.92, label=name, color=colour)
        axes.bar_label(drawn, [label(value) for value in values], padding=2, fontsize=8)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=26)
    axes.set_ylabel(unit)
    axes.set_xticks(range(len(groups)), groups, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(REDIS)
    axes.tick_params(color=REDIS)
    axes.legend(frameon=False, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    if logarithmic:
        axes.set_yscale("log")
    figure.tight_layout()
    return figure


def label(value: float) -> str:
    if value != value:
        return ""
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def tensors(rows: Rows) -> Any:
    groups = {
        "120 B,\none by one": "tensors of 120 B, pipeline 1, 50 clients",
        "120 B,\n16 at once": "tensors of 120 B, pipeline 16, 50 clients",
        "600 KB,\none by one": "tensors of 600 KB, pipeline 1, 8 clients",
        "600 KB,\n16 at once": "tensors of 600 KB, pipeline 16, 8 clients",
    }
    series: list[Series] = [
        ("AI.TENSORSET / SET", OURS, [rows[group, "AI.TENSORSET / SET"] for group in groups.values()]),
        ("AI.TENSORGET / GET", OTHER, [rows[group, "AI.TENSORGET / GET"] for group in groups.values()]),
    ]
    figure = bars("Tensors beside Redis's own strings", "rate, as a share of Redis's", list(groups), series)
    figure.axes[0].axhline(1, color=REDIS, linestyle="--", linewidth=1)
    return figure


def tiny_model(rows: Rows) -> Any:
    groups = {f"{n} client{'s' * (n > 1)}": f"tiny model (30-16-2), {n} client{'s' * (n > 1)}" for n in (1, 8, 50)}
    series: list[Series] = [
        (name, colour, [rows[group, row] for group in groups.values()])
        for name, colour, row in (("GET", REDIS, "GET"), ("AI.MODELEXECUTE", OURS, "execute"))
    ]
    return bars("A tiny ONNX model beside GET", "requests a second", list(groups), series)


def heavier_models(rows: Rows) -> Any:
    dense = "0.2 ms model (250 layers of 96), 50 clients"
    convolutional = "convolutional model of about 9 ms, 602 KB input, 8 clients"
    best = [
        max(rows[group, f"plain onnxruntime loop, {kind}"] for kind in ("default", "threads"))
        for group in (dense, convolutional)
    ]
    ours = [rows[dense, "without BATCHSIZE"], rows[convolutional, "execute, default settings"]]
    series: list[Series] = [
        ("best loop of onnxruntime alone", REDIS, [1.0, 1.0]),
        ("AI.MODELEXECUTE", OURS, [ours[0] / best[0], ours[1] / best[1]]),
        ("with BATCHSIZE 32", OTHER, [rows[dense, "with BATCHSIZE 32"] / best[0], float("nan")]),
    ]
    groups = ["dense, 0.2 ms, 50 clients", "convolutional, 9 ms, 8 clients"]
    return bars("Heavier ONNX models beside onnxruntime alone", "rate, as a share of the loop's", groups, series)


def latency(rows: Rows) -> Any:
    groups = {
        "idle": "GET while the server is idle",
        "400 MB model\nis stored": "GET while (a) a 400 MB model is being stored",
        "9 ms runs\non all cores": "GET while (b) 9 ms inference saturates the workers",
        "0.2 ms runs\non all cores": "GET while (b) 0.2 ms inference saturates the workers",
        "a framework\nis imported": "GET while (c) a backend is being imported",
    }
    series: list[Series] = [
        (name, colour, [rows[group, name] for group in groups.values()])
        for name, colour in (("p50", REDIS), ("p99", OURS), ("p99.9", OTHER))
    ]
    return bars("What GET waits meanwhile", "microseconds", list(groups), series, logarithmic=True)


def servers(rows: Rows) -> Any:
    groups = {
        "tiny,\n1 client": "beside other servers: tiny model (30-16-2), 1 client",
        "tiny,\n50 clients": "beside other servers: tiny model (30-16-2), 50 clients",
        "dense, 0.2 ms,\n50 clients": "beside other servers: 0.2 ms model (250 layers of 96), 50 clients",
        "9 ms, 602 KB,\n8 clients": "beside other servers: convolutional model of about 9 ms, 602 KB input, 8 clients",
    }
    names = ("redis-server with the module", "Starlette on uvicorn", "MLServer", "LitServe")
    series: list[Series] = [
        (name, colour, [rows[group, name] for group in groups.values()])
        for name, colour in zip(names, (OURS, REDIS, OTHER, ANOTHER), strict=True)
    ]
    title = "Beside other model servers: the input comes and the output goes with each request"
    return bars(title, "requests a second", list(groups), series, logarithmic=True)


PLOTS: dict[str, Callable[[Rows], Any]] = {
    "bench-tensors": tensors,
    "bench-tiny-model": tiny_model,
    "bench-heavier-models": heavier_models,
    "bench-latency": latency,
    "bench-servers": servers,
}


def with_variables(svg: str, name: str) -> str:
    """The picture in the page's colours, with ids and a style that concern nothing else on the page."""
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", svg[svg.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg id="{name}" ', 1).replace("*{", f"#{name} *{{", 1)


def draw(run: Path, directory: Path) -> list[str]:
    """Writes the plots that the run has all rows for, and returns their names."""
    from matplotlib import pyplot

    rows, machine = read(run)
    drawn = []
    for name, plot in PLOTS.items():
        try:
            figure = plot(rows)
        except KeyError:
            continue
        day = str(machine["time"])[:10]
        figure.text(0.99, 0.01, f"{day}, {machine['cores']} cores, Redis {machine['redis']}", ha="right", fontsize=7)
        content = StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
        (directory / f"{name}.svg").write_text(with_variables(content.getvalue(), name))
        drawn.append(name)
    return drawn


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print("drawn:", ", ".join(draw(Path(sys.argv[1]), Path(sys.argv[2]))) or "nothing")
