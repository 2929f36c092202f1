"""When a campaign has what it was to bring."""

from __future__ import annotations

from collections import Counter

import pytest

from chaos.__main__ import arguments, planned
from chaos.campaign import Plan

KILLS = ("server", "server process", "worker", "worker process", "broker", "relay")


def plan(monkeypatch: pytest.MonkeyPatch, *flags: str) -> Plan:
    monkeypatch.setattr("sys.argv", ["chaos", *flags])
    return planned(arguments(), small_disk=True)


def came(**numbers: int) -> Counter[str]:
    """Return how often each kill came: twice, unless a number is given."""
    return Counter({f"kill {kind}": numbers.get(kind, 2) for kind in KILLS})


@pytest.mark.parametrize("weight", ["1", "4"])
def test_it_goes_on_until_every_kill_has_come_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, weight: str
) -> None:
    wanted = plan(monkeypatch, "--kills", "2", "--kill-weight", weight)

    assert not wanted.is_fulfilled(0, Counter())
    assert not wanted.is_fulfilled(0, came(broker=1))
    assert wanted.is_fulfilled(0, came())


def test_it_goes_on_until_as_many_mails_were_accepted_as_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = plan(monkeypatch, "--kills", "2", "--accepted", "100")

    assert not wanted.is_fulfilled(99, came())
    assert not wanted.is_fulfilled(100, came(relay=0))
    assert wanted.is_fulfilled(100, came())


def test_a_campaign_of_some_minutes_never_has_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not plan(monkeypatch).is_fulfilled(10**6, came())
