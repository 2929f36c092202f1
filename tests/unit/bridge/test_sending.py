"""What goes out for a call: Celery's own message, mandatory, and silent about what is private."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.exceptions import Retry

from bridge import DurableCelery, PrivateTask
from bridge.ids import created_at, new_task_id
from bridge.message import Message
from bridge.sending.recorder import Recorder
from bridge.topology import DEFAULT, LONGEST_DELAY_S

SECRET = "hunter2"


@pytest.fixture(scope="module")
def app() -> Celery:
    """An app as task.py makes one, without a broker."""
    app = DurableCelery("sending", set_as_current=False)
    app.conf.update(
        broker_url="amqp://nobody@127.0.0.1:1//",
        task_queues=DEFAULT.kombu_queues(),
        task_default_queue="celery",
        task_default_exchange=DEFAULT.exchange,
        task_default_exchange_type="topic",
        task_default_queue_type="quorum",
        task_create_missing_queues=False,
        task_send_sent_event=True,
        task_time_limit=1500,
        task_soft_time_limit=1440,
    )

    def anything(*args: Any, **kwargs: Any) -> None: ...

    app.task(name="open", shared=False)(anything)
    app.task(name="private", base=PrivateTask, shared=False)(anything)
    return app


def sent(app: Celery, name: str, *args: Any, **options: Any) -> tuple[Message, ...]:
    """Call a task and return its message and its event."""
    recorder = Recorder()
    app.tasks[name].apply_async(args, producer=recorder, **options)
    return tuple(recorder.messages)


def text_of(message: Message) -> str:
    """Return all of a message but its body as text."""
    return repr((message.exchange, message.routing_key, message.properties.headers))


def test_a_task_is_sent_mandatory_and_persistent_to_its_exchange(app: Celery) -> None:
    message, _event = sent(app, "open", 4, 4)

    assert (message.exchange, message.routing_key) == ("windmail", "celery")
    assert message.mandatory
    assert message.properties.delivery_mode == 2
    assert msgspec.json.decode(message.body)[:2] == [[4, 4], {}]


def test_the_sent_event_follows_its_task_and_may_get_lost(app: Celery) -> None:
    message, event = sent(app, "open", 4, 4)

    body = msgspec.json.decode(event.body)
    assert body["type"] == "task-sent"
    assert body["uuid"] == message.properties.correlation_id
    assert not event.mandatory


def test_an_id_is_made_which_tells_its_time(app: Celery) -> None:
    message, _event = sent(app, "open")

    assert created_at(message.properties.correlation_id) is not None
    assert "accepted_at" not in message.properties.headers


@pytest.mark.parametrize("task_id", ["1b4e28ba-2fa1-41d2-883f-0016d3cca427", "mine"])
def test_an_id_of_another_kind_gets_its_time_in_a_header(app: Celery, task_id: str) -> None:
    message, _event = sent(app, "open", task_id=task_id)

    moment = created_at(new_task_id())
    assert moment is not None
    assert message.properties.correlation_id == task_id
    assert moment - 5 <= message.properties.headers["accepted_at"] <= moment


def test_the_time_of_acceptance_survives_a_retry(app: Celery) -> None:
    message, _event = sent(app, "open", task_id="mine", headers={"accepted_at": 12})

    assert message.properties.headers["accepted_at"] == 12


def test_the_worker_sees_the_expiry_and_the_broker_does_not(app: Celery) -> None:
    message, _event = sent(app, "open", expires=60)

    assert message.properties.expiration is None
    assert message.properties.headers["expires"]


def test_a_countdown_goes_by_native_delayed_delivery(app: Celery) -> None:
    message, _event = sent(app, "open", countdown=5)

    assert message.exchange == "celery_delayed_2"
    assert message.routing_key == ".".join(f"{5:028b}") + ".celery"
    assert message.mandatory


SOON: list[Callable[[], dict[str, Any]]] = [
    lambda: {"countdown": 0.5},
    lambda: {"eta": datetime.now(UTC) + timedelta(seconds=0.8)},
]


@pytest.mark.parametrize("soon", SOON, ids=["countdown", "eta"])
def test_a_delay_under_a_second_is_one_second(
    app: Celery, soon: Callable[[], dict[str, Any]]
) -> None:
    recorder = Recorder()
    app.tasks["open"].apply_async(producer=recorder, **soon())
    app.send_task("open", producer=recorder, **soon())
    app.send_task("elsewhere", producer=recorder, **soon())  # a task that this program has not

    tasks = [message for message in recorder.messages if message.mandatory]
    assert [message.exchange for message in tasks] == ["celery_delayed_0"] * 3


def test_a_task_may_be_retried_within_a_second(app: Celery) -> None:
    recorder = Recorder()
    task = app.tasks["open"]
    task.push_request(id=new_task_id(), args=(), kwargs={}, called_directly=False)
    try:
        with pytest.raises(Retry):
            task.retry(countdown=0.5, producer=recorder)
    finally:
        task.pop_request()

    assert recorder.messages[0].exchange == "celery_delayed_0"


@pytest.mark.parametrize(
    ("countdown", "level"), [(1, 0), (2, 1), (3, 1), (86_400, 16), (LONGEST_DELAY_S, 27)]
)
def test_a_delay_begins_at_its_highest_level(app: Celery, countdown: int, level: int) -> None:
    message, _event = sent(app, "open", countdown=countdown)

    assert message.exchange == f"celery_delayed_{level}"


@pytest.mark.parametrize(
    ("own", "sent_limits"),
    [
        ({}, [1500, 1440]),
        ({"time_limit": 60}, [60, 60]),
        ({"time_limit": 2.5, "soft_time_limit": 2}, [3, 2]),
        ({"soft_time_limit": 0.5}, [1500, 1]),
        ({"soft_time_limit": 2000}, [1500, 1500]),
    ],
)
def test_a_tasks_own_limits_are_whole_and_fit_the_settings(
    app: Celery, own: dict[str, float], sent_limits: list[int]
) -> None:
    def nothing() -> None: ...

    task = app.task(name=f"limited {own}", shared=False, **own)(nothing)

    message, _event = sent(app, task.name)

    assert message.properties.headers["timelimit"] == sent_limits
    assert [task.time_limit, task.soft_time_limit] == sent_limits  # as the worker reads them


def test_a_calls_own_hard_limit_is_kept(app: Celery) -> None:
    message, _event = sent(app, "open", time_limit=9.5)

    assert message.properties.headers["timelimit"] == [10, 10]


CALLS: list[Callable[[Celery, Recorder], Any]] = [
    lambda app, to: app.tasks["private"].apply_async((SECRET,), {"key": SECRET}, producer=to),
    lambda app, to: app.send_task("private", (SECRET,), {"key": SECRET}, producer=to),
    lambda app, to: app.tasks["private"].s(SECRET, key=SECRET).apply_async(producer=to),
    lambda app, to: app.tasks["private"].apply_async(
        (SECRET,), {"key": SECRET}, producer=to, argsrepr=SECRET, kwargsrepr=SECRET
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=["task", "send_task", "signature", "reprs"])
def test_a_private_tasks_arguments_stand_in_its_body_alone(
    app: Celery, call: Callable[[Celery, Recorder], Any]
) -> None:
    recorder = Recorder()

    call(app, recorder)

    message, event = recorder.messages
    assert SECRET.encode() in message.body
    assert SECRET not in text_of(message)
    assert SECRET not in text_of(event)
    assert SECRET.encode() not in event.body
    assert message.properties.headers["argsrepr"] == "(1 hidden)"


def test_other_tasks_show_their_arguments(app: Celery) -> None:
    message, event = sent(app, "open", "shown")

    assert message.properties.headers["argsrepr"] == "('shown',)"
    assert b"shown" in event.body
