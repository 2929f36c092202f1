"""Accepting mails: with a real ledger, and a queue that does what a test says."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from sqlalchemy import Connection

from access import Caller, Scope, SenderRefused
from bridge import NotConnected, PublishRejected, PublishTimeout, Unroutable
from handlers.accepting.outgoing import NotAccepted, Receipt, outgoing
from ledger import (
    Ledger,
    LedgerUnavailable,
    NotPossible,
    commands,
    queries,
)
from tests.acceptance import Queue, acceptance, key, mail, run, status

CERTAIN = [NotConnected("away"), PublishRejected("full"), Unroutable("no queue")]


def test_an_accepted_mail_is_in_the_queue_and_in_the_ledger(ledger: Ledger, queue: Queue) -> None:
    one = mail()

    with patch.object(ledger, "write", wraps=ledger.write) as write:
        receipt = run(acceptance(ledger, queue).accept([one]))

    assert receipt == Receipt(ids=(one.id,))
    assert queue.ids == [one.id]
    assert status(ledger, one.id) == "queued"
    write.assert_called_once()  # its entry is all that it costs


def test_a_mail_is_its_callers_who_may_send_from_some_domains_only() -> None:
    caller = Caller(owner="k1", scopes=frozenset(Scope), domains=frozenset({"a.example"}))
    arguments = {"subject": "Hello", "text": "?", "to": "ann@b.example"}

    made = outgoing({**arguments, "from_": "shop@a.example"}, caller=caller)

    assert (made.email.api_key, made.arguments["_api_key"]) == ("k1", "k1")
    with pytest.raises(SenderRefused):
        outgoing({**arguments, "from_": "shop@c.example"}, caller=caller)
    assert "_api_key" not in mail().arguments


@pytest.mark.parametrize("error", CERTAIN, ids=lambda error: type(error).__name__)
def test_a_mail_that_the_broker_refuses_is_in_neither(
    ledger: Ledger, queue: Queue, error: Exception
) -> None:
    one = mail()
    queue.errors = [error]

    with pytest.raises(NotAccepted) as info:
        run(acceptance(ledger, queue).accept([one]))

    assert (info.value.cause, info.value.queued, info.value.ids) == (error, False, ())
    assert status(ledger, one.id) is None


def test_a_mail_whose_confirm_is_late_stays_in_the_ledger(ledger: Ledger, queue: Queue) -> None:
    one = mail()
    queue.errors = [PublishTimeout()]

    with pytest.raises(NotAccepted) as info:
        run(acceptance(ledger, queue).accept([one]))

    assert (info.value.queued, info.value.ids) == (None, (one.id,))
    assert status(ledger, one.id) == "queued"


def test_a_ledger_that_cannot_be_written_accepts_nothing(away: Ledger, queue: Queue) -> None:
    one = mail()

    with pytest.raises(NotAccepted) as info:
        run(acceptance(away, queue).accept([one]))

    assert isinstance(info.value.cause, LedgerUnavailable)
    assert (info.value.queued, info.value.ids) == (None, (one.id,))


def test_a_ledger_and_a_broker_that_are_both_away_have_queued_nothing_for_certain(
    away: Ledger, queue: Queue
) -> None:
    error = NotConnected("away")
    queue.errors = [error]

    with pytest.raises(NotAccepted) as info:
        run(acceptance(away, queue).accept([mail()]))

    assert (info.value.cause, info.value.queued, info.value.ids) == (error, False, ())


def test_of_a_batch_only_what_was_refused_is_taken_out(ledger: Ledger, queue: Queue) -> None:
    mails = [mail(), mail(), mail()]
    queue.errors = [None, PublishRejected(), PublishTimeout()]

    with pytest.raises(NotAccepted) as info:
        run(acceptance(ledger, queue).accept(mails))

    assert info.value.queued is None
    assert info.value.ids == (mails[0].id, mails[2].id)
    assert [status(ledger, one.id) for one in mails] == ["queued", None, "queued"]


@pytest.mark.parametrize("with_key", [False, True])
def test_what_has_begun_is_finished_before_the_end(
    ledger: Ledger, queue: Queue, with_key: bool
) -> None:
    one = mail()

    async def begin_and_close() -> None:
        queue.gate = asyncio.Event()
        accepting = acceptance(ledger, queue)
        request = asyncio.ensure_future(
            accepting.accept_once(key(), [one]) if with_key else accepting.accept([one])
        )
        await asyncio.sleep(0)
        if with_key:  # its task is shared by all requests with that key
            request.cancel()
        asyncio.get_running_loop().call_later(0.05, queue.gate.set)
        await accepting.close(timeout_s=10)
        assert queue.ids == [one.id]
        await asyncio.wait({request})

    run(begin_and_close())

    assert status(ledger, one.id) == "queued"


def test_what_does_not_end_holds_up_no_stop(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    async def drop_and_close() -> None:
        queue.gate = asyncio.Event()
        accepting = acceptance(ledger, queue)
        request = asyncio.ensure_future(accepting.accept([mail()]))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await accepting.close(timeout_s=0.1)
        queue.gate.set()
        await request

    run(drop_and_close())

    assert "1 acceptances unfinished" in caplog.text


def test_a_failure_that_nobody_waits_for_any_more_is_not_logged(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    caplog.clear()  # of what other tests have left to be collected

    async def hang_up() -> None:
        queue.gate, queue.errors = asyncio.Event(), [NotConnected()]
        accepting = acceptance(ledger, queue)
        request = asyncio.ensure_future(accepting.accept_once(key(), [mail()]))
        await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait({request})
        queue.gate.set()
        await accepting.close(10)
        await asyncio.sleep(0)
        gc.collect()

    run(hang_up())

    assert not queue.errors
    assert caplog.text == ""


def test_a_stop_does_not_wait_for_what_has_ended(
    ledger: Ledger, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    async def accept_and_close() -> float:
        accepting = acceptance(ledger, queue)
        await accepting.accept([mail()])
        queue.errors = [NotConnected()]
        with pytest.raises(NotAccepted):
            await accepting.accept([mail()])
        begin = time.monotonic()
        await accepting.close(timeout_s=10)
        return time.monotonic() - begin

    assert run(accept_and_close()) < 5
    assert "unfinished" not in caplog.text


def tomorrow() -> float:
    return time.time() + 86400


def move(email_id: str, moment: float) -> Callable[[Connection], Any]:
    return partial(
        commands.reschedule, email_id=email_id, api_key="", scheduled_at=moment, now=time.time()
    )


def test_a_moved_mail_gets_a_new_message(ledger: Ledger, queue: Queue) -> None:
    one, moment = mail(_scheduled_at=tomorrow()), tomorrow() + 60

    async def accept_and_move() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept([one])
        await accepting.send_again(one.id, move(one.id, moment), moment)

    run(accept_and_move())

    old, new = queue.messages
    assert (old.id, old.not_before) == (one.id, one.email.scheduled_at)
    assert (new.id, new.not_before) == (one.id, moment)
    assert new.arguments == {**one.arguments, "_track": 2, "_scheduled_at": moment}


@pytest.mark.parametrize(
    ("error", "queued", "moved"), [(NotConnected(), False, False), (PublishTimeout(), None, True)]
)
def test_a_move_is_undone_if_its_message_is_refused_for_certain(
    ledger: Ledger, queue: Queue, error: Exception, queued: bool | None, moved: bool
) -> None:
    one, moment = mail(_scheduled_at=tomorrow()), tomorrow() + 60

    async def accept_and_move() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept([one])
        queue.errors = [error]
        with pytest.raises(NotAccepted) as info:
            await accepting.send_again(one.id, move(one.id, moment), moment)
        assert info.value.queued is queued

    run(accept_and_move())

    email = ledger.read(partial(queries.get, email_id=one.id, api_key=""))
    assert email is not None
    assert (email.scheduled_at == moment) is moved


def test_what_is_not_possible_publishes_nothing(ledger: Ledger, queue: Queue) -> None:
    one = mail()

    async def accept_and_move() -> None:
        accepting = acceptance(ledger, queue)
        await accepting.accept([one])
        with pytest.raises(NotPossible):
            await accepting.send_again(one.id, move(one.id, tomorrow()), tomorrow())

    run(accept_and_move())

    assert len(queue.messages) == 1


def test_the_loop_does_not_wait_for_the_ledger(ledger: Ledger, queue: Queue) -> None:
    held = threading.Event()
    ledger.write(lambda _: held.wait(10))

    async def accept() -> None:
        accepting = asyncio.ensure_future(acceptance(ledger, queue).accept([mail()]))
        await asyncio.wait_for(queue.taken.wait(), 5)
        assert not accepting.done()
        held.set()
        await accepting

    run(accept())


def test_an_outgoing_mail_has_its_row_under_its_messages_id() -> None:
    one = mail(_scheduled_at=tomorrow())
    other = one.renamed("0" * 36)

    assert one.email.id == one.id
    assert (other.id, other.email.id) == ("0" * 36, "0" * 36)
    assert msgspec.structs.replace(other, id=one.id, email=one.email) == one
