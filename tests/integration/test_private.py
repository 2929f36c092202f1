"""Of a mail only its body on the wire tells what it says: no header, no event, no log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from celery import chain

import config
import task
from bridge import Bridge
from tests.outside import Tap
from tests.system import Process

pytestmark = pytest.mark.usefixtures("celery_worker", "relay")

MAIL = ("Subject-hunter2", "Text-hunter2", "address-hunter2@example.com")


def by_chain() -> Any:
    """Call two tasks, the second of which the worker sends."""
    return chain(
        task.add.si(1, 2), task.sendmail.si(*MAIL, html="<p>Html-hunter2</p>")
    ).apply_async()


@pytest.mark.parametrize(
    "call",
    [
        lambda: task.sendmail.delay(*MAIL),
        lambda: task.sendmail.apply_async(MAIL, {"bcc": "bcc-hunter2@example.com"}),
        lambda: task.sendmail.apply_async(MAIL, argsrepr=repr(MAIL)),
        lambda: task.app.send_task("task.sendmail", MAIL),
        by_chain,
    ],
    ids=["delay", "apply_async", "own repr", "send_task", "chain"],
)
def test_a_mail_shows_in_its_messages_body_alone(
    call: Callable[[], Any], celery_worker: Process
) -> None:
    with Tap(config.options.broker_url, "windmail", "celeryev") as tap:
        task_id = call().id

        event = event_of(tap, task_id, "task-succeeded")
        sent = event_of(tap, task_id, "task-sent")

    check(tap, task_id)
    assert sent["args"] == "(3 hidden)"
    assert "hunter2" not in event["result"]
    assert "hunter2" not in celery_worker.text()


@pytest.mark.gen_test
async def test_a_mail_sent_by_the_bridge_shows_in_its_messages_body_alone() -> None:
    with Tap(config.options.broker_url, "windmail", "celeryev") as tap:
        async with Bridge(task.app) as bridge:
            result = await bridge.apply_async(task.sendmail, MAIL)
            await result.get(timeout=30)

        event_of(tap, result.id, "task-succeeded")
        event_of(tap, result.id, "task-sent")

    check(tap, result.id)


def check(tap: Tap, task_id: str) -> None:
    """See to it that of all messages only the mail's own have the secret, and in the body."""
    bodies = [
        message
        for message in tap.messages
        if message.delivery_info["exchange"] == "windmail" and b"hunter2" in raw(message)
    ]
    assert task_id in [message.headers["id"] for message in bodies]
    for message in tap.messages:
        assert "hunter2" not in repr((message.headers, message.properties))
        if message.delivery_info["exchange"] != "windmail":
            assert b"hunter2" not in raw(message)


def event_of(tap: Tap, task_id: str, kind: str) -> dict[str, Any]:
    """Return an event about the task; workers send several in one message."""

    def events(message: Any) -> list[dict[str, Any]]:
        if message.delivery_info["exchange"] != "celeryev":
            return []
        payload = msgspec.json.decode(raw(message))
        return payload if isinstance(payload, list) else [payload]

    def wanted(event: dict[str, Any]) -> bool:
        return event.get("uuid") == task_id and event["type"] == kind

    message = tap.wait_for(lambda message: any(map(wanted, events(message))), kind)
    return next(filter(wanted, events(message)))


def raw(message: Any) -> bytes:
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)
