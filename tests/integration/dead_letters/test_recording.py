"""Whatever dies is told from the others, and recorded once the app can."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge import Undecodable
from dev.broker import BrokerNode
from tests.dead_system import DeadSystem, headers
from tests.outside import virtual_host
from tests.system import wait_until

SECRET = "hunter2"


def nested(depth: int) -> str:
    return f"[[{'[' * depth}{']' * depth}], {{}}, null]"


def deep_table(depth: int) -> dict[str, Any]:
    return {"a": deep_table(depth - 1)} if depth else {}


POISON: dict[str, dict[str, Any]] = {
    "invalid utf-8": {"body": b'[["hunter2\xff"], {}, null]'},
    "no json": {"body": "hunter2"},
    "empty": {"body": b""},
    "msgpack garbage": {"body": b"\xc1hunter2", "content_type": "application/x-msgpack"},
    "pickle": {"body": b"hunter2", "content_type": "application/x-python-serialize"},
    "no serializer": {"body": b"hunter2", "content_type": "text/hunter2"},
    "unknown compression": {"headers": {"compression": "application/x-hunter2"}},
    "wrong compression": {"headers": {"compression": "application/x-gzip"}},
    "compression is a table": {"headers": {"compression": {"a": 1}}},
    "no list": {"body": '"hunter2"'},
    "a number": {"body": "5"},
    "two items": {"body": '[["hunter2"], {}]'},
    "args is a text": {"body": '["hunter2", {}, null]'},
    "kwargs is a list": {"body": '[[], ["hunter2"], null]'},
    "embed is a text": {"body": '[[], {}, "hunter2"]'},
    "an object": {"body": '{"a": "hunter2"}'},
    "deep json": {"body": nested(200_000)},
    "deeper than a pool process takes": {"body": nested(900)},
    "deep headers": {"headers": {"a": deep_table(250)}},
    "task is a table": {"headers": {"task": {"a": 1}}},
    "timelimit is a text": {"headers": {"timelimit": "hunter2"}},
    "timelimit of texts": {"headers": {"timelimit": ["hunter2", "hunter2"]}},
    "eta is no time": {"headers": {"eta": "hunter2"}},
    "expires is no time": {"headers": {"expires": "hunter2"}},
    "stamps are texts": {"headers": {"stamped_headers": ["a"], "stamps": "hunter2"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
def test_what_is_no_task_is_buried_without_its_body_and_the_worker_goes_on(
    system: DeadSystem, kind: str
) -> None:
    poison = {"body": '[["hunter2"], {}, null]', **POISON[kind]}
    task_id = str(uuid4())
    fields = headers(task_id, **poison.pop("headers", {}))

    system.publish(headers={k: v for k, v in fields.items() if v is not None}, **poison)

    assert system.recorded(task_id)["reason"] == "undecodable"
    assert system.recorded(task_id)["queue"] == "celery"
    (letter,) = system.letters()
    with pytest.raises(Undecodable) as caught:
        letter.arguments()
    log = system.worker.text()
    assert log.count(f"[{task_id}] goes to the dead queue: ") == 1
    assert SECRET not in log
    assert SECRET not in repr((letter, caught.value, caught.value.args))
    assert "missed heartbeat" not in log


@pytest.mark.parametrize("body", [SECRET, '{"task": "tests.dead_app.work", "args": ["hunter2"]}'])
def test_a_message_without_any_id_is_buried_too(system: DeadSystem, body: str) -> None:
    before = len(system.records())

    system.publish(body, {})

    wait_until(lambda: len(system.records()) > before, "the record")
    (letter,) = system.letters()
    assert (letter.id, letter.task, letter.reason) == (None, None, "undecodable")
    assert SECRET not in system.worker.text()


def test_arguments_that_are_nested_as_deeply_as_allowed_reach_the_task(system: DeadSystem) -> None:
    task_id = str(uuid4())

    system.publish(nested(190), headers(task_id))

    assert system.recorded(task_id)["reason"] == "failed"


def test_a_message_of_protocol_1_runs(system: DeadSystem) -> None:
    (system.folder / "well").touch()
    task_id = str(uuid4())
    body = {"task": "tests.dead_app.work", "id": task_id, "args": [1], "kwargs": {}}

    system.publish(json.dumps(body), {})

    assert system.result(task_id)[0] == "SUCCESS"


def test_an_unknown_task_is_buried_and_has_failed(system: DeadSystem) -> None:
    task_id = system.call("nobody.knows.this", SECRET)

    record = system.recorded(task_id)

    assert (record["reason"], record["task"]) == ("unknown_task", "nobody.knows.this")
    state, error = system.result(task_id)
    assert state == "FAILURE"
    assert "'nobody.knows.this' never registered" in error
    assert [letter.arguments() for letter in system.letters()] == [((SECRET,), {})]
    assert SECRET not in system.worker.text()


def test_what_cannot_be_read_has_failed_for_whoever_waits_for_it(system: DeadSystem) -> None:
    task_id = str(uuid4())

    system.publish(SECRET, headers(task_id))

    state, error = system.result(task_id)
    assert state == "FAILURE"
    assert error == "InvalidTaskError('its body cannot be decoded (DecodeError)')"


def test_a_task_that_kills_its_worker_each_time_dies_of_the_delivery_limit(
    system: DeadSystem,
) -> None:
    task_id = str(uuid4())
    system.publish("[[], {}, null]", {"task": "tests.dead_app.crash", "id": task_id}, queue="short")

    record = system.recorded(task_id)

    assert (record["reason"], record["queue"]) == ("delivery_limit", "short")
    state, error = system.result(task_id)
    assert state == "FAILURE"
    assert "delivered too often" in error


@pytest.mark.parametrize("countdown", [None, 1])
def test_a_failed_task_is_told_from_a_message_that_is_none(
    system: DeadSystem, countdown: int | None
) -> None:
    code = (
        f"from tests.dead_app import work; print(work.apply_async((7,), countdown={countdown}).id)"
    )
    task_id = system.run("-c", code).stdout.strip()

    record = system.recorded(task_id)

    assert (record["reason"], record["queue"]) == ("failed", "celery")
    (letter,) = system.letters()
    assert letter.arguments() == ((7,), {})
    assert letter.died_at is not None
    assert abs(letter.died_at.timestamp() - time.time()) < 30


def test_a_letter_is_offered_again_until_it_is_recorded_and_holds_up_no_other(
    system: DeadSystem,
) -> None:
    (system.folder / "refuse").touch()
    first = system.call("nobody")
    wait_until(lambda: f"nobody[{first}] is not recorded" in system.worker.text(), "a refusal")
    (system.folder / "refuse").unlink()
    second = system.call("nobody")

    system.recorded(second)
    system.recorded(first)

    ids = [record["id"] for record in system.records()]
    assert (ids.count(first), ids.count(second)) == (1, 1)
    assert ids.index(second) < ids.index(first)
    assert SECRET not in system.worker.text()


def test_a_worker_that_cannot_record_stops_at_once(broker: BrokerNode, tmp_path: Path) -> None:
    with virtual_host(broker) as url:
        system = DeadSystem(url, tmp_path)
        (tmp_path / "refuse").touch()
        with system.worker, system.connection:
            task_id = system.call("nobody")
            wait_until(lambda: f"{task_id}] is not recorded" in system.worker.text(), "a refusal")

            begin = time.monotonic()
            assert system.worker.stop() == 0
            took_s = time.monotonic() - begin

            (tmp_path / "refuse").unlink()
            system.worker.start()
            system.recorded(task_id)
    assert took_s < 25  # WORKER_SHUTDOWN_S is 30; most of it is Celery's own
