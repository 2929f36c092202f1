"""What the check lets through, Celery's own request takes without an error."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from unittest.mock import Mock

from celery import Celery
from celery.worker.request import Request
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.message import Message

from bridge import DurableTask, Undecodable, task_message

app = Celery("unit", set_as_current=False, task_cls=DurableTask, backend="cache+memory://")


@app.task(name="add")  # type: ignore[untyped-decorator] # Celery has no types
def add(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


VALUES = st.one_of(
    st.none(),
    st.just("add"),
    st.integers(-5, 5),
    st.text(max_size=3),
    st.lists(st.none() | st.integers() | st.text(max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
    st.just("2030-01-01T00:00:00+00:00"),
)
HEADERS = [
    "task", "id", "timelimit", "eta", "expires", "stamps", "stamped_headers", "shadow",
    "retries", "root_id", "parent_id", "ignore_result", "argsrepr", "group", "lang",
]  # fmt: skip


@given(headers=st.dictionaries(st.sampled_from(HEADERS), VALUES), payload=VALUES)
@example(headers={}, payload=[[], {}, None])
@example(headers={"timelimit": "ab"}, payload=[[], {}, None])
@example(headers={"stamped_headers": ["a"], "stamps": {}}, payload=[[], {}, {}])
@example(headers={"expires": "2030-01-01T00:00:00+00:00"}, payload=[[1], {"a": 1}, {}])
def test_what_passes_the_check_is_taken_by_celerys_request(
    headers: dict[str, Any], payload: Any
) -> None:
    message = Message(
        json.dumps(payload),
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "add", "id": "1", **headers},
        delivery_info={},
        properties={},
    )

    with suppress(Undecodable):
        task_message.read(message.decode, message.headers)
        request = Request(message, app=app, task=app.tasks["add"], hostname="unit")
        assert not request.revoked()
        request.execute_using_pool(Mock())
        json.dumps(request.argsrepr)
