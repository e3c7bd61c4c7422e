"""Plots of cost against size, of the figures that are points of a curve."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from bench.report import Figure


def draw(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """An SVG for each curve: how many times as much it costs among that many as among the fewest. `--full` gives curves more points."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    curves: dict[str, list[Figure]] = defaultdict(list)
    for figure in figures:
        if "curve" in figure.details:
            curves[figure.details["curve"]].append(figure)
    written = []
    for name, points in curves.items():
        sizes = [points[0].details["smallest"], *(point.details["size"] for point in points)]
        plot, axes = pyplot.subplots(figsize=(6, 3.5))
        axes.plot(sizes, [1.0, *(point.ratio or 0.0 for point in points)], marker="o", label="measured")
        if points[0].goal is not None:
            axes.axhline(points[0].goal.limit, linestyle="--", color="gray", label="goal")
        axes.set(xscale="log", ylim=(0, None), title=name, xlabel="how many", ylabel=f"cost, {sizes[0]:,} = 1")
        axes.legend()
        path = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.svg"
        plot.savefig(path, bbox_inches="tight")
        pyplot.close(plot)
        written.append(path)
    return written
