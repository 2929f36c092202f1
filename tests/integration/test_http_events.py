"""``/celery/<id>/events``: a task's state changes as server-sent events."""

from __future__ import annotations

import time
from uuid import uuid4

import config
from task import app
from tests.event_stream import EventStream
from tests.system import Process, Server, wait_until


def call(server: Server, task: str, *args: object) -> str:
    return str(server.post(f"/celery/{task}", {"args": args}).json()["id"])


def test_a_stream_goes_on_behind_an_end_that_was_not_the_last(server: Server) -> None:
    task_id = str(uuid4())
    for result, state in ((ValueError("x"), "FAILURE"), (None, "STARTED"), (8, "SUCCESS")):
        app.backend.store_result(task_id, result, state)
    where = f"/celery/{task_id}"
    wait_until(lambda: server.get(where).json()["state"] == "SUCCESS", "the last state")

    with EventStream(server.port, task_id) as stream:
        whole = list(stream)
    with EventStream(server.port, task_id, Last_Event_ID=whole[0].id) as stream:
        rest = list(stream)
    with EventStream(server.port, task_id, Last_Event_ID=whole[-1].id) as stream:
        assert stream.status == 204

    assert [event.data["state"] for event in whole] == ["FAILURE", "STARTED", "SUCCESS"]
    assert rest == whole[1:]


def test_each_state_change_is_an_event_and_the_stream_ends_with_the_task(
    server: Server, celery_worker: Process
) -> None:
    with EventStream(server.port, call(server, "count", 3, 0.2)) as stream:
        events = list(stream)

    assert stream.status == 200
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.headers["X-Accel-Buffering"] == "no"  # nginx would keep the events back
    assert stream.headers["Cache-Control"] == "no-store"
    states = [event.data["state"] for event in events]
    assert states == ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert [e.data["progress"]["done"] for e in events[1:4]] == [1, 2, 3]
    assert events[-1].data["result"] == 3
    offsets = [int(event.id) for event in events]
    assert offsets == sorted(set(offsets))


def test_events_come_as_they_happen(server: Server, celery_worker: Process) -> None:
    task_id = call(server, "count", 3, 0.5)

    with EventStream(server.port, task_id) as stream:
        stream.until("PROGRESS")
        now = server.get(f"/celery/{task_id}").json()

    assert not now["ready"]


def test_who_comes_late_gets_the_history_first(server: Server, celery_worker: Process) -> None:
    task_id = call(server, "count", 2, 0)
    server.get(f"/celery/{task_id}?wait=10")

    with EventStream(server.port, task_id) as stream:
        late = list(stream)
    with EventStream(server.port, task_id) as stream:
        again = list(stream)

    assert [e.data["state"] for e in late] == ["STARTED", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert again == late


def test_a_stream_is_resumed_at_another_server_without_gap_or_repetition(
    server: Server, lively: Server, celery_worker: Process
) -> None:
    task_id = call(server, "count", 6, 0.2)
    with EventStream(server.port, task_id) as stream:
        first = stream.until("PROGRESS")

    with EventStream(lively.port, task_id, Last_Event_ID=first[-1].id) as stream:
        rest = list(stream)

    with EventStream(server.port, task_id) as stream:
        assert first + rest == list(stream)
    assert len(first) == 2


def test_the_middle_of_a_history_is_resumed(server: Server, celery_worker: Process) -> None:
    task_id = call(server, "count", 3, 0)
    with EventStream(server.port, task_id) as stream:
        history = list(stream)

    with EventStream(server.port, task_id, Last_Event_ID=history[1].id) as stream:
        rest = list(stream)

    assert rest == history[2:]


def test_who_has_seen_the_end_is_told_to_stop(
    server: Server, lively: Server, celery_worker: Process
) -> None:
    task_id = call(server, "add", 1, 2)
    with EventStream(server.port, task_id) as stream:
        end = list(stream)[-1]

    for port in (server.port, lively.port):
        with EventStream(port, task_id, Last_Event_ID=end.id) as stream:
            assert stream.status == 204


def test_a_silent_stream_is_kept_alive_by_comments(
    server: Server, lively: Server, celery_worker: Process
) -> None:
    with EventStream(lively.port, call(server, "sleep", 1)) as stream:
        states = [event.data["state"] for event in stream]

    assert states == ["STARTED", "SUCCESS"]
    assert 3 <= stream.comments <= 15


def test_a_stream_is_open_before_anything_happens(server: Server) -> None:
    begin = time.monotonic()
    with EventStream(server.port, str(uuid4())) as stream:
        assert stream.status == 200
        assert time.monotonic() < begin + config.options.sse_heartbeat_s / 2


def test_a_task_that_nobody_knows_yet_is_waited_for(lively: Server) -> None:
    with EventStream(lively.port, str(uuid4())) as stream:
        lines = iter(stream._answer.readline, b"")
        assert [next(lines) for _ in range(4)] == [b":\n", b"\n"] * 2


def test_an_event_without_change_is_the_document_of_the_state(
    server: Server, celery_worker: Process
) -> None:
    task_id = call(server, "add", 1, 2)

    with EventStream(server.port, task_id) as stream:
        last = list(stream)[-1]

    assert last.data == server.get(f"/celery/{task_id}").json()
