"""Old mails are forgotten by the worker, every hour, because beat says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from celery.beat import PersistentScheduler
from sqlalchemy import Connection, select, update

from bridge.ids import new_task_id
from dev.broker import BrokerNode
from dev.ports import free_port
from ledger import NewEmail, idempotency, schema
from ledger.accept import enter
from task import app
from tests.delivery_parts import Parts, parts
from tests.ledgers import count, ids, new_email, reservation
from tests.system import beat, wait_until

DAY_S = 86400.0
KEPT_DAYS = 3
SETTINGS = {"LEDGER_DAYS": str(KEPT_DAYS), "IDEMPOTENCY_S": "3600"}
#: Mails of one transaction of the task.
STEP = 500


@pytest.fixture(scope="module")
def mails(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A worker with a ledger of its own that keeps mails for few days."""
    with parts(broker, tmp_path_factory.mktemp("prune"), free_port(), **SETTINGS) as made:
        yield made


def enter_old(mails: Parts, status: str, age_days: float, number: int = 1) -> list[str]:
    """Enter mails that got their status so long ago; return their ids."""
    moment = time.time() - age_days * DAY_S
    news = [
        new_email(created_at=moment, expires_at=moment + 2 * DAY_S, payload=b"{}", keep=True)
        for _ in range(number)
    ]
    mails.ledger.commit(partial(_enter, news=news, status=status, moment=moment))
    return [new.id for new in news]


def _enter(connection: Connection, news: list[NewEmail], status: str, moment: float) -> None:
    enter(connection, news)
    emails = schema.emails
    ours = emails.c.id.in_([new.id for new in news])
    connection.execute(update(emails).where(ours).values(status=status, updated_at=moment))


def enter_key(mails: Parts, age_s: float) -> str:
    """Enter an Idempotency-Key of that age, of no mail, and return it."""
    key, moment = uuid4().hex, time.time() - age_s
    mails.ledger.commit(
        lambda connection: idempotency.reserve(
            connection, reservation(key, api_key="", lease_s=0), now=moment
        )
    )
    return key


def prune(mails: Parts) -> None:
    """Have the worker prune the ledger, and wait for its end."""
    with app.connection_for_write(mails.url) as connection:
        task_id = app.tasks["task.prune"].apply_async(connection=connection).id
    mails.until_log(f"[{task_id}] succeeded")


def test_the_task_forgets_old_final_mails_and_no_others(mails: Parts) -> None:
    old = {status: enter_old(mails, status, KEPT_DAYS + 1) for status in
           ("sent", "failed", "canceled", "uncertain")}  # fmt: skip
    kept = [
        *enter_old(mails, "sent", KEPT_DAYS - 1),
        *enter_old(mails, "failed", KEPT_DAYS - 1),
        *enter_old(mails, "queued", 1),
        *enter_old(mails, "delivery_delayed", 1),
        *old["uncertain"],
    ]

    prune(mails)

    gone = {email_id for status in ("sent", "failed", "canceled") for email_id in old[status]}
    left = mails.ledger.read(ids)
    assert not left & gone
    assert left >= set(kept)
    statuses = {one: email.status for one in kept if (email := mails.email(one))}
    assert list(statuses.values()) == ["sent", "failed", "queued", "delivery_delayed", "uncertain"]
    tables = ("recipients", "payloads")
    rows = [mails.ledger.read(partial(count, table=table)) for table in tables]
    assert rows == [len(left)] * 2  # nothing of what is gone is left


def test_the_task_gives_up_mails_whose_time_is_long_over(mails: Parts) -> None:
    lost = [*enter_old(mails, "queued", KEPT_DAYS), *enter_old(mails, "scheduled", KEPT_DAYS)]

    prune(mails)

    for email_id in lost:
        assert mails.when(email_id, "failed").reason
        assert mails.timeline(email_id)[-1] == "failed"


def test_one_run_takes_many_steps(mails: Parts) -> None:
    old = enter_old(mails, "sent", KEPT_DAYS + 1, number=2 * STEP + 1)

    prune(mails)

    assert not mails.ledger.read(ids) & set(old)


def test_the_task_forgets_old_keys(mails: Parts) -> None:
    old, recent = enter_key(mails, age_s=3700), enter_key(mails, age_s=3500)

    prune(mails)

    keys = mails.ledger.read(
        lambda c: set(c.execute(select(schema.idempotency_keys.c.key)).scalars())
    )
    assert old not in keys
    assert recent in keys


def test_beat_has_the_ledger_pruned_when_the_hour_is_over(mails: Parts, logs: Path) -> None:
    (old,) = enter_old(mails, "sent", KEPT_DAYS + 1)
    schedule = mails.folder / "beat-schedule"
    scheduler = PersistentScheduler(app, schedule_filename=str(schedule))
    entry = scheduler.schedule["prune"]
    entry.last_run_at = app.now().fromtimestamp(time.time() - 3601, tz=app.timezone)
    scheduler.close()
    env = {"BROKER_URL": mails.url, "VAR_DIR": str(mails.folder)}

    with beat(logs / "prune-beat.log", env):
        wait_until(lambda: old not in mails.ledger.read(ids), "what beat had pruned", 60)

    assert entry.task == "task.prune"


def test_a_message_of_a_mail_that_is_forgotten_sends_nothing(mails: Parts) -> None:
    begin = time.time() - (KEPT_DAYS + 1) * DAY_S
    fresh = new_task_id()
    milliseconds = f"{int(begin * 1000):012x}"
    forgotten = f"{milliseconds[:8]}-{milliseconds[8:]}{fresh[13:]}"

    # Of another time that it was scheduled for, before it was sent, or canceled.
    mails.send(forgotten, to="forgotten@example.com", _scheduled_at=time.time())
    mails.send(fresh, to="fresh@example.com", _scheduled_at=time.time())

    mails.when(fresh, "sent")
    mails.until_log(f"[{forgotten}]", times=2)  # it came, and ended
    assert "its record was removed" in mails.worker.text()
    assert mails.email(forgotten) is None
    assert [mail.recipients for mail in mails.relay.mails] == [("fresh@example.com",)]


def test_more_mails_than_one_transaction_takes_are_given_up_in_one_run(mails: Parts) -> None:
    enter_old(mails, "scheduled", -1, STEP + 1)  # they are first, and their time is to come
    lost = enter_old(mails, "scheduled", KEPT_DAYS, STEP + 1)

    prune(mails)

    assert {email.status for one in lost if (email := mails.email(one))} == {"failed"}
