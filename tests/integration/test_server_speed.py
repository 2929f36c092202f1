"""What makes the server faster changes nothing that a client sees: uvloop, no task-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.outside import Tap
from tests.system import Server

pytestmark = pytest.mark.usefixtures("celery_worker")


@pytest.fixture(scope="module")
def fast(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server on uvloop that sends no events."""
    settings = {"EVENT_LOOP": "uvloop", "TASK_SENT_EVENTS": "off"}
    with Server(logs / "fast-server.log", settings, free_port()) as process:
        yield process


def events_of(server: Server, *wanted: str) -> dict[str, list[str]]:
    """Call a task twice and return the kinds of events of each call, the wanted ones and others."""
    kinds: dict[str, list[str]] = {}
    with Tap(str(config.options.broker_url), "celeryev") as events:
        for _ in range(2):  # Celery's own way, and a prepared call
            task_id = server.post("/celery/add?wait=10", {"args": [4, 5]}).json()["id"]
            kinds[task_id] = []

        def ended(message: object) -> bool:
            told = json.loads(message.body)  # type: ignore[attr-defined]
            for event in told if isinstance(told, list) else [told]:  # a worker sends several
                if event.get("uuid") in kinds:
                    kinds[event["uuid"]].append(event["type"])
            return all(set(wanted) <= set(seen) for seen in kinds.values())

        events.wait_for(ended, f"{wanted} of both calls")
    return kinds


def test_flower_hears_of_queued_tasks(server: Server) -> None:
    both = events_of(server, "task-sent", "task-succeeded")

    assert len(both) == 2


def test_flower_hears_of_tasks_when_they_begin_where_sent_events_are_off(fast: Server) -> None:
    both = events_of(fast, "task-started", "task-succeeded")

    assert all("task-sent" not in seen for seen in both.values())


def test_a_mail_is_sent_and_told_of_on_uvloop(fast: Server) -> None:
    mail = {"to": "ann@example.com", "subject": "Hello", "text": "How are you?"}

    answer = fast.post("/emails?wait=10", mail)

    assert (answer.status, answer.json()["status"]) == (200, "sent")
    timeline = fast.get(f"/emails/{answer.json()['id']}/events")
    assert b"event: sent\n" in timeline.body


def test_sigterm_stops_a_server_on_uvloop(broker: BrokerNode, logs: Path) -> None:
    settings = {"EVENT_LOOP": "uvloop"}
    with Server(logs / "uvloop-stop.log", settings, free_port()) as stopping:
        assert stopping.stop() == 0
