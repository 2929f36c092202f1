"""A state change as the stream has it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, states
from celery.app.task import Context
from celery.backends.base import Backend

from bridge.backend import StreamBackend

STATES = (states.STARTED, states.SUCCESS, states.FAILURE, states.RETRY, states.REVOKED)
REQUESTS: tuple[Any, ...] = (
    None,
    Context({"id": "1"}),
    Context({"id": "1", "group": "g", "parent_id": "p", "task": "t", "args": [1], "kwargs": {}}),
)


def backend(*, extended: bool = False) -> StreamBackend:
    app = Celery(set_as_current=False, broker="memory://")
    app.conf.result_extended = extended
    return StreamBackend(app, url="stream://results")


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("request_", REQUESTS, ids=["none", "plain", "in a group"])
@pytest.mark.parametrize("state", STATES)
def test_a_state_is_described_as_celery_does(state: str, request_: Any, extended: bool) -> None:
    ours = backend(extended=extended)

    meta = ours._get_result_meta({"x": 1}, state, None, request_)

    celerys = Backend._get_result_meta(ours, {"x": 1}, state, None, request_)
    ended, celerys_ended = meta.pop("date_done"), celerys.pop("date_done")
    assert meta == celerys
    assert type(ended) is type(celerys_ended)
    assert ended is None or ended[-6:] == celerys_ended[-6:] == "+00:00"
