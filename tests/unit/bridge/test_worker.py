"""A worker's start on a broker that is just starting; all else of it is tested with real parts."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from amqp.exceptions import NotFound
from celery import Celery

from bridge import DeclareTopology, topology, worker


def test_a_broker_that_does_not_know_its_queues_yet_is_connected_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "NOT_FOUND - home node of durable queue 'results' is down or inaccessible"
    monkeypatch.setattr(topology, "declare", MagicMock(side_effect=NotFound(text)))
    monkeypatch.setattr(worker, "AGAIN_S", 0)
    app = Celery(set_as_current=False)
    consumer = SimpleNamespace(app=app, connection=app.connection_for_write("amqp://"))

    with pytest.raises(consumer.connection.connection_errors) as caught:
        DeclareTopology(consumer).start(consumer)

    assert str(caught.value) == text
