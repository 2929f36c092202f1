"""Canceling a mail: the ledger decides, and the broker may be away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import task
from access import OPEN
from bridge import Bridge, NotConnected
from handlers.canceling import cancel, stop
from ledger import Ledger
from tests.acceptance import Queue, acceptance, mail, run, status


@pytest.fixture
def queued(ledger: Ledger) -> str:
    """A mail that waits in the queue."""
    return str(run(acceptance(ledger, Queue()).accept([mail()])).ids[0])


async def services(ledger: Ledger) -> Any:
    """Return what the handlers are given where no broker has answered yet."""
    return SimpleNamespace(ledger=ledger, bridge=Bridge(task.app, publish_timeout_s=0.1))


def test_a_mail_is_canceled_while_the_broker_is_away(ledger: Ledger, queued: str) -> None:
    async def canceled() -> None:
        await cancel(await services(ledger), OPEN, queued)

    run(canceled())

    assert status(ledger, queued) == "canceled"


def test_a_mail_is_stopped_and_another_task_is_not_while_the_broker_is_away(
    ledger: Ledger, queued: str
) -> None:
    async def stopped(task_id: str) -> bool:
        given = await services(ledger)
        result = given.bridge.result(task_id)
        return await stop(given, OPEN, result, ended=False, terminate=False)

    assert run(stopped(queued)) is True
    assert run(stopped(queued)) is False  # it is canceled already
    with pytest.raises(NotConnected):
        run(stopped("01a1fbfb-0779-70e7-aea1-c7e5fb4b280c"))
