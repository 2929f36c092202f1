"""``python -m bench [--quick] [accept roundtrip ...]``: measure, and write ``bench/results``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import accept, depth, growth, mails, plots, report, roundtrip, startup, waiters
from bench.scale import FULL, QUICK, Scale

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, Callable[[Scale], list[report.Section]]] = {
    "accept": accept.run,
    "roundtrip": roundtrip.run,
    "mails": mails.run,
    "waiters": waiters.run,
    "depth": depth.run,
    "startup": startup.run,
    "growth": growth.run,
}


def main(argv: list[str]) -> int:
    """Run the chosen parts one after the other; each one's report is written when it is done."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds: some minutes in all")
    parser.add_argument("parts", nargs="*", help=f"of: {', '.join(PARTS)}; none: all")
    chosen = parser.parse_args(argv)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    scale = QUICK if chosen.quick else FULL
    facts = {**report.machine(), "run": "quick" if chosen.quick else "full"}
    sections: dict[str, report.Section] = {}
    for name in chosen.parts or PARTS:
        begin = time.monotonic()
        print(f"{name} ...", flush=True)
        for section in PARTS[name](scale):
            sections[section.title] = section
            print(f"\n{section.title}\n{report.table(section.header, section.rows)}\n", flush=True)
            for chart in section.charts:
                plots.draw(chart, RESULTS)
        report.write(RESULTS, sections, facts)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
