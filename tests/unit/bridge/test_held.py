"""A message that a worker has held for too long costs it the connection, and not its life."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from amqp.exceptions import PreconditionFailed
from celery import Celery
from celery.worker.consumer import Consumer

from bridge.worker.consumer import DurableConsumer

TOO_LONG = "PRECONDITION_FAILED - delivery acknowledgement on channel 5 timed out"


@pytest.mark.parametrize(
    ("method", "raised"),
    [
        ((0, 0), Celery(broker="amqp://").connection_for_read().connection_errors),
        ((60, 80), PreconditionFailed),  # an acknowledgement of ours that is wrong
    ],
)
def test_a_message_that_is_held_for_too_long_has_the_worker_connect_again(
    monkeypatch: pytest.MonkeyPatch, method: tuple[int, int], raised: Any
) -> None:
    def begin(consumer: Consumer, *_: Any, **_options: Any) -> None:
        consumer.loop = MagicMock(side_effect=PreconditionFailed(TOO_LONG, method))

    monkeypatch.setattr(Consumer, "__init__", begin)
    consumer = DurableConsumer(print)

    with pytest.raises(raised, match="timed out"):
        consumer.loop()
