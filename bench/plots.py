"""Drawing the report's charts as SVG."""

from __future__ import annotations

from pathlib import Path

from bench.report import Chart

OURS, THEIRS = "#1f6f8b", "#b8bec5"


def draw(chart: Chart, folder: Path) -> None:
    """Write one chart; bars from top to bottom as listed."""
    import matplotlib as mpl  # not everybody who measures wants pictures

    mpl.use("svg")
    from matplotlib import pyplot as plt

    labels, values, is_ours = zip(*chart.bars, strict=True)
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.34 * len(labels)))
    bars = axes.barh(labels, values, color=[OURS if own else THEIRS for own in is_ours])
    axes.bar_label(bars, fmt="{:,.4g}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_title(chart.title, fontsize=10, loc="left")
    axes.set_xlabel(chart.unit, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{chart.name}.svg", bbox_inches="tight")
    plt.close(figure)
