"""Two minutes of the fault campaign, on the whole system: no promise is broken."""

from __future__ import annotations

from pathlib import Path

from tests.outside import module

#: Short faults, few mails, and no bound for the time to full speed: it is to be right on a slow
#: machine, too. The seed gives an order in which many kinds come early.
OPTIONS = ("--seed=1", "--minutes=1", "--rate=10", "--calm=3", "--longest=2", "--within=0")


def test_two_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    done = module("chaos", *OPTIONS, "--folder", str(tmp_path))

    assert done.returncode == 0, broken_promises(done.stdout)


def broken_promises(page: str) -> str:
    """Return the page's end, so that it is the first that one reads."""
    return page.partition("## Broken promises")[2][:6000] or page[-6000:]
