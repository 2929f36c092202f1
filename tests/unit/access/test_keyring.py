"""Who is let in, by the keys that the ledger has."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from access import (
    OPEN,
    Buckets,
    Caller,
    Keyring,
    KeysUnknown,
    NewKey,
    NoKey,
    Scope,
    TooFast,
    UnknownKey,
    new_key,
)
from ledger import Ledger, api_keys
from mailing.rate import Rate


def enter(ledger: Ledger, *scopes: str, domains: tuple[str, ...] = (), **given: Any) -> NewKey:
    made = new_key()
    ledger.commit(
        lambda connection: api_keys.enter(
            connection,
            key_id=made.id,
            name="test",
            hashed=made.hash,
            scopes=scopes,
            domains=domains,
            now=time.time(),
            **given,
        )
    )
    return made


def keyring(ledger: Ledger, *, may_be_open: bool = True) -> Keyring:
    """Return a keyring that has read the keys once."""
    ring = Keyring(ledger, Buckets(), may_be_open=may_be_open)

    async def start() -> None:
        await ring.start()
        await ring.close()

    asyncio.run(start())
    return ring


def bearer(text: str) -> str:
    return f"Bearer {text}"


def test_without_any_key_everybody_may_do_everything_on_this_machine(ledger: Ledger) -> None:
    assert keyring(ledger).admit(None) is OPEN
    assert keyring(ledger).admit("Bearer re_123") is OPEN  # a client may insist on some key


def test_without_any_key_nobody_is_let_in_from_outside(ledger: Ledger) -> None:
    with pytest.raises(NoKey):
        keyring(ledger, may_be_open=False).admit(None)


def test_a_key_is_let_in_with_what_it_may_do(ledger: Ledger) -> None:
    made = enter(ledger, "send", domains=("a.example",), rate="9/s", daily_recipients=7)

    caller = keyring(ledger).admit(bearer(made.text))

    assert caller == Caller(
        owner=made.id,
        number=1,
        scopes=frozenset({Scope.SEND}),
        domains=frozenset({"a.example"}),
        rate=Rate.parse("9/s"),
        daily_recipients=7,
    )
    assert caller.sees == made.id


@pytest.mark.parametrize("kind", ["bearer ", "BEARER   "])  # RFC 9110 section 11.1, RFC 6750
def test_a_key_may_be_shown_in_other_letters_and_behind_more_blanks(
    ledger: Ledger, kind: str
) -> None:
    made = enter(ledger, "send")

    assert keyring(ledger).admit(kind + made.text).owner == made.id


def test_a_scope_of_another_version_allows_nothing(ledger: Ledger) -> None:
    made = enter(ledger, "read", "fly")

    assert keyring(ledger).admit(bearer(made.text)).scopes == {Scope.READ}


def test_as_soon_as_there_is_a_key_one_is_needed(ledger: Ledger) -> None:
    enter(ledger, "send")

    with pytest.raises(NoKey):
        keyring(ledger).admit(None)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer\t"])
def test_what_shows_no_key_has_none(ledger: Ledger, header: str) -> None:
    enter(ledger, "send")

    with pytest.raises(NoKey):
        keyring(ledger).admit(header)


def test_a_key_that_is_wrong_in_one_letter_is_unknown(ledger: Ledger) -> None:
    made = enter(ledger, "send")
    ring = keyring(ledger)
    last = "A" if made.text[-1] != "A" else "B"
    other_id = made.text.replace(made.id, "0" * len(made.id))

    similar = (made.text[:-1] + last, made.text + "x", other_id, made.id)
    for text in (*similar, "wm__", "é", "x" * 9999):
        with pytest.raises(UnknownKey):
            ring.admit(bearer(text))


def test_a_revoked_key_is_unknown_and_the_door_stays_shut(ledger: Ledger) -> None:
    made = enter(ledger, "send")
    assert ledger.commit(lambda connection: api_keys.revoke(connection, made.id, now=1.0))
    ring = keyring(ledger)

    with pytest.raises(UnknownKey):
        ring.admit(bearer(made.text))
    with pytest.raises(NoKey):
        ring.admit(None)
    assert not ledger.commit(lambda connection: api_keys.revoke(connection, made.id, now=2.0))


def rotate(ledger: Ledger, key: NewKey, *, old_for_s: float) -> NewKey:
    made, until = new_key(key.id), time.time() + old_for_s
    assert ledger.commit(
        lambda c: api_keys.rotate(c, key.id, hashed=made.hash, old_until=until),
    )
    return made


def admitted(ledger: Ledger, *keys: NewKey) -> list[str | None]:
    """Return as whom each key is let in; None: as nobody."""
    ring = keyring(ledger)

    def owner(key: NewKey) -> str | None:
        try:
            return ring.admit(bearer(key.text)).owner
        except UnknownKey:
            return None

    return [owner(key) for key in keys]


def test_a_key_is_the_caller_that_the_one_it_has_replaced_was(ledger: Ledger) -> None:
    first = enter(ledger, "send")

    second = rotate(ledger, first, old_for_s=60)
    assert admitted(ledger, first, second) == [first.id, first.id]

    third = rotate(ledger, second, old_for_s=60)
    assert admitted(ledger, first, second, third) == [None, first.id, first.id]

    fourth = rotate(ledger, third, old_for_s=0)
    assert admitted(ledger, first, second, third, fourth) == [None, None, None, first.id]


def test_a_key_is_revoked_together_with_the_one_that_it_has_replaced(ledger: Ledger) -> None:
    old = enter(ledger, "send")
    new = rotate(ledger, old, old_for_s=60)

    assert ledger.commit(lambda connection: api_keys.revoke(connection, old.id, now=1.0))

    assert admitted(ledger, old, new) == [None, None]


def test_until_the_keys_are_read_nobody_is_let_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Ledger(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite3'}", timeout_s=0.2)
    ring = keyring(away)

    with pytest.raises(KeysUnknown):
        ring.admit(None)
    assert not ring.is_known
    # Every 2 s one line is enough, without a traceback.
    assert [(one.levelname, one.exc_info) for one in caplog.records] == [("WARNING", None)]


def test_keys_that_were_read_count_while_the_ledger_is_away(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = enter(ledger, "send")
    monkeypatch.setattr("access.keyring.REFRESH_S", 0.01)
    ring = Keyring(ledger, Buckets(), may_be_open=True)

    async def lose_the_ledger() -> Caller:
        await ring.start()
        failed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read(query: object) -> object:
            loop.call_soon_threadsafe(failed.set)
            raise ZeroDivisionError  # anything at all

        monkeypatch.setattr(ledger, "read", read)
        await asyncio.wait_for(failed.wait(), 10)
        failed.clear()
        await asyncio.wait_for(failed.wait(), 10)  # it is tried again
        await ring.close()
        return ring.admit(bearer(made.text))

    assert asyncio.run(lose_the_ledger()).owner == made.id


def test_a_crowd_that_occupies_the_requests_threads_does_not_keep_a_key_from_being_revoked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = enter(ledger, "read")
    monkeypatch.setattr("access.keyring.REFRESH_S", 0.01)
    ring, is_over = Keyring(ledger, Buckets(), may_be_open=True), threading.Event()

    async def revoke() -> None:
        loop, is_read, read = asyncio.get_running_loop(), asyncio.Semaphore(0), ledger.read
        loop.set_default_executor(ThreadPoolExecutor(1))
        await ring.start()
        crowd = asyncio.create_task(asyncio.to_thread(is_over.wait))
        await ledger.change(lambda c: api_keys.revoke(c, made.id, now=time.time()))

        def watched(query: Any) -> Any:
            loop.call_soon_threadsafe(is_read.release)
            return read(query)

        monkeypatch.setattr(ledger, "read", watched)
        try:
            for _ in range(2):  # when it is read the second time, the first one is over
                await asyncio.wait_for(is_read.acquire(), 10)
        finally:
            is_over.set()
            await crowd
            await ring.close()

    asyncio.run(revoke())

    with pytest.raises(UnknownKey):
        ring.admit(bearer(made.text))


def test_the_rate_is_taken_from_a_key_once_for_each_request(ledger: Ledger) -> None:
    made = enter(ledger, "send", rate="2/h")
    ring = keyring(ledger)

    for _ in range(2):
        ring.admit(bearer(made.text))
    with pytest.raises(TooFast) as told:
        ring.admit(bearer(made.text))

    assert 0 < told.value.retry_after_s <= 1800
    assert ring.identify(bearer(made.text)).owner == made.id


def test_a_key_that_cannot_be_read_leaves_the_others_as_they_are(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    good, odd = enter(ledger, "send"), enter(ledger, "send", rate="10 per s")

    ring = keyring(ledger)

    assert ring.admit(bearer(good.text)).owner == good.id
    with pytest.raises(UnknownKey):
        ring.admit(bearer(odd.text))
    assert f"API key {odd.id} is not let in" in caplog.text
