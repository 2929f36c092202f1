"""What was measured, as tables of Markdown and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev import packages


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Horizontal bars. ``bars``: a label, its value, and whether it is ours."""

    name: str
    title: str
    unit: str
    bars: list[tuple[str, float, bool]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report. ``about`` says how it was measured; ``samples`` has every round."""

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    checked: str
    charts: Sequence[Chart] = ()
    samples: Any = field(default=None)

    def markdown(self) -> str:
        """Return the section as Markdown, its charts as links."""
        pictures = "\n".join(f"![{chart.title}]({chart.name}.svg)\n" for chart in self.charts)
        return (
            f"## {self.title}\n\n{self.about}\n\n{table(self.header, self.rows)}\n\n"
            f"Checked: {self.checked}\n\n{pictures}"
        )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is aligned left, the others right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: both values of a round met the same conditions."""
    return statistics.median(a / b if b else math.inf for a, b in zip(above, below, strict=True))


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median, with the lowest and the highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the code."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    folder = packages.rabbitmq_folder()
    servers = sorted(folder.parent.glob("**/rabbitmq_server-*")) if folder else []
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "RabbitMQ": servers[-1].name.rpartition("-")[2] if servers else "unknown",
        "load average at the start": load,
    }


def write(folder: Path, sections: Mapping[str, Section], facts: Mapping[str, str]) -> None:
    """Write ``report.md`` and ``report.json``; called after each section, so none gets lost."""
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [f"# Benchmarks\n\n{head}\n", *(one.markdown() for one in sections.values())]
    (folder / "report.md").write_text("\n".join(parts))
    samples = {name: section.samples for name, section in sections.items()}
    (folder / "report.json").write_text(json.dumps({"machine": facts, **samples}, indent=1))
