"""What the table of ``python keys.py list`` says about a key depends on when it is asked for."""

from __future__ import annotations

from functools import partial

from keys import row
from ledger import ApiKey, Charge, Ledger, api_keys

MADE = 1_000_000.0
DAY_S = 86400


def charged_key(ledger: Ledger) -> ApiKey:
    """A key that was replaced, and charged, on the day it was made."""
    enter = partial(api_keys.enter, key_id="k", name="shop", hashed=b"h" * 32, scopes=("send",))
    ledger.commit(partial(enter, daily_recipients=10, now=MADE))
    cost = Charge(key_id="k", recipients=6, today=api_keys.day_of(MADE))
    assert ledger.commit(partial(api_keys.charge, asked=cost))
    until = MADE + DAY_S
    assert ledger.commit(partial(api_keys.rotate, key_id="k", hashed=b"n" * 32, old_until=until))
    (key,) = ledger.read(api_keys.known)
    return key


def test_what_was_used_on_another_day_is_not_shown_as_todays(ledger: Ledger) -> None:
    key = charged_key(ledger)

    assert [row(key, MADE)[6], row(key, MADE + DAY_S)[6]] == ["6", "0"]


def test_an_old_keys_end_is_shown_while_it_is_to_come(ledger: Ledger) -> None:
    key = charged_key(ledger)

    assert row(key, MADE)[7:] == ("1970-01-12 13:46", "1970-01-13 13:46", "-")
    assert row(key, MADE + DAY_S)[8] == "-"
