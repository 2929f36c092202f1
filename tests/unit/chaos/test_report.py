"""The report: campaigns are added up, and every broken promise of each is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos import report, summary
from chaos.__main__ import main
from chaos.checker import Findings
from chaos.struck import Struck
from chaos.summary import Summary


def campaign(seed: int, **changes: Any) -> Summary:
    given: dict[str, Any] = {
        "seed": seed, "rate": 40.0, "within_s": 15.0, "seconds": 60.0, "ledger": "SQLite",
        "commit": "abc", "settings": {"SMTP_TIMEOUT_S": "5"}, "wrong": [], "before": None,
        "after": None, "restarts": {"server": 2},
        "findings": Findings(accepted=1000, sent=1000, explained=1),
        "struck": [Struck(kind="kill server", at=1.0, alone=True, recovered_s=2.0, in_flight=3)],
        **changes,
    }  # fmt: skip
    return Summary(**given)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    one = campaign(1)
    one.write(tmp_path)

    assert summary.read([tmp_path]) == [one]


def test_campaigns_are_added_up() -> None:
    text = report.page([campaign(1), campaign(2)])

    assert "seeds 1, 2" in text
    assert "| accepted | 2000 |" in text
    assert "| sent again, of those accepted | 0.100 % |" in text
    assert "| kill server | 2 | 6 | 3 | 0 | 0 | 0 |" in text
    assert "server 4." in text
    assert report.broken([campaign(1), campaign(2)]) == []


def test_every_broken_promise_of_each_campaign_is_told() -> None:
    late = Struck(kind="kill broker", at=1.0, alone=True, recovered_s=15.1)
    never = Struck(kind="pause relay", at=1.0, alone=True)

    told = report.broken([
        campaign(1, struck=[late, never]),
        campaign(2, wrong=["LEAK: one"]),
        campaign(3, findings=Findings(accepted=1, violations=[(7, "LOST: it is")])),
        campaign(4, struck=[]),
    ])  # fmt: skip

    assert told == [
        "LATE: kill broker: 0.0 s, back in 15.1 s",
        "LATE: pause relay: 0.0 s, not back",
        "LEAK: one",
        "mail 7: LOST: it is",
        "no mail was accepted, or no fault came: that proves nothing",
    ]


def test_lateness_is_no_broken_promise_where_none_was_made() -> None:
    late = Struck(kind="kill broker", at=1.0, alone=True, recovered_s=99.0)

    assert report.broken([campaign(1, struck=[late], within_s=0.0)]) == []


def test_more_copies_than_mails_on_their_way_are_counted() -> None:
    kill = Struck(kind="kill worker", at=1.0, alone=True, recovered_s=1.0, in_flight=2, again=3)

    assert "| kill worker | 1 | 2 | 2 | 3 | 3 | 1 |" in report.page([campaign(1, struck=[kill])])


def test_faults_that_did_not_come_are_not_counted() -> None:
    text = report.page([campaign(1)])

    assert "| all others | 0 | 0 | 0 | 0 | 0 | 0 |" in text


def test_a_campaign_that_has_not_ended_is_told_from_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--report", str(tmp_path)])

    with pytest.raises(SystemExit, match=r"summary\.json: No such file .* has ended"):
        main()
