"""The tasks as Celery users call them: blocking, from any Python process."""

from __future__ import annotations

import email
import email.policy
from uuid import uuid4

import pytest
from amqp.exceptions import ChannelError
from celery import chain, chord, group
from celery.exceptions import TimeoutError as CeleryTimeoutError

import config
import task
from tests.outside import Tap, python
from tests.smtp_server import SMTPServer
from tests.system import Process, wait_until

pytestmark = pytest.mark.usefixtures("celery_worker")


def test_a_call_gives_the_result() -> None:
    result = task.add.delay(4, 4)

    assert result.get(timeout=30) == 8
    assert result.ready()
    assert result.successful()
    assert result.state == "SUCCESS"
    assert result.traceback is None


def test_a_call_that_waits_is_not_ready() -> None:
    result = task.add.apply_async((4, 4), countdown=60)

    assert not result.ready()
    assert result.state == "PENDING"
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.1)


def test_a_failure_is_raised_as_it_was() -> None:
    result = task.add.delay("a", 1)

    with pytest.raises(TypeError, match="concatenate"):
        result.get(timeout=30)
    assert result.state == "FAILURE"
    assert result.failed()
    assert "return x + y" in result.traceback


def test_a_failure_can_be_had_as_a_value() -> None:
    value = task.add.delay("a", 1).get(timeout=5, propagate=False)

    assert type(value) is TypeError


def test_another_process_gets_the_result_more_than_once() -> None:
    task_id = task.add.delay(4, 4).id

    code = f"""
for _ in range(2):
    result = task.app.AsyncResult({task_id!r})
    values = [result.get(timeout=30), task.app.AsyncResult({task_id!r}).get(timeout=30)]
    out([values, result.state])
"""

    assert python(code) == [[8, 8], "SUCCESS"]
    assert python(code) == [[8, 8], "SUCCESS"]


def test_another_process_gets_the_failure_with_its_traceback() -> None:
    task_id = task.add.delay("a", 1).id

    seen = python(
        f"result = task.app.AsyncResult({task_id!r})\n"
        "error = result.get(timeout=5, propagate=False)\n"
        "out([type(error).__name__, result.state, result.traceback])"
    )

    assert seen[:2] == ["TypeError", "FAILURE"]
    assert "return x + y" in seen[2]


def test_results_that_are_waited_for_out_of_order_arrive() -> None:
    results = [task.add.delay(n, n) for n in range(20)]

    values = [result.get(timeout=30) for result in reversed(results)]

    assert values == [2 * n for n in reversed(range(20))]


def test_a_group_gives_all_results_in_order() -> None:
    result = group(task.add.s(n, n) for n in range(5)).apply_async()

    assert result.get(timeout=30) == [0, 2, 4, 6, 8]


def test_a_chain_hands_each_result_to_the_next_task() -> None:
    result = chain(task.add.s(2, 2), task.add.s(4), task.add.s(0.5)).apply_async()

    assert result.get(timeout=30) == 8.5
    assert result.parent.get(timeout=30) == 8


def test_a_chord_is_refused_with_the_reason() -> None:
    with pytest.raises(NotImplementedError, match="does not support chords"):
        chord([task.add.s(1, 1), task.add.s(2, 2)], task.hello.s()).apply_async()


def test_a_greeting_leaves_no_result(celery_worker: Process) -> None:
    name = f"你好-{uuid4()}"

    result = task.hello.delay(name)

    wait_until(lambda: f"Hello, {name}!" in celery_worker.text(), "the greeting")
    assert result.get(timeout=30) is None
    assert task.app.AsyncResult(result.id).state == "PENDING"


def test_counting_reports_its_progress() -> None:
    result = task.count.delay(3, 0.3)

    wait_until(lambda: result.state == "PROGRESS", "PROGRESS")
    assert result.info["total"] == 3
    assert result.info["done"] in (1, 2, 3)
    assert result.get(timeout=30) == 3


def test_a_revoked_task_is_not_run(celery_worker: Process) -> None:
    result = task.add.apply_async((4, 4), countdown=2)

    result.revoke()

    discarded = f"Discarding revoked task: task.add[{result.id}]"
    wait_until(lambda: discarded in celery_worker.text(), discarded)
    assert result.state == "REVOKED"


def test_an_expiry_is_left_to_the_worker_which_records_it() -> None:
    with Tap(config.options.broker_url, "windmail") as tap:
        task_id = task.add.apply_async((4, 4), expires=60).id

        message = tap.task(task_id)

    assert "expiration" not in message.properties
    assert message.headers["expires"]


def test_an_unroutable_call_is_an_error_and_the_next_one_works() -> None:
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        task.add.apply_async((4, 4), routing_key="nowhere")

    assert task.add.delay(4, 4).get(timeout=30) == 8


def test_a_mail_in_any_script_arrives(relay: SMTPServer) -> None:
    result = task.sendmail.delay("你好", "非常好", "someone@example.com")

    verdict = result.get(timeout=30)

    (mail,) = (
        message
        for message in map(parsed, (mail.content for mail in relay.mails))
        if message["Message-ID"] == verdict["message_id"]
    )
    assert mail["Subject"] == "你好"
    assert mail["To"] == "someone@example.com"
    assert mail.get_content().strip() == "非常好"
    assert verdict["code"] == 250
    assert [one["address"] for one in verdict["accepted"]] == ["someone@example.com"]
    assert verdict["refused"] == []


def parsed(content: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(content, policy=email.policy.default)
