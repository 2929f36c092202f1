"""A call's options: delays in whole seconds, and a clear refusal of what cannot be kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task

from bridge import DurableTask, InvalidOption
from bridge.sending.options import TASK_HEADERS, carried, normalise, whole_delay
from bridge.topology import DEFAULT, LONGEST_DELAY_S


@pytest.fixture(scope="module")
def app() -> Celery:
    app = Celery("options", task_cls=DurableTask, set_as_current=False)
    app.conf.task_queues = DEFAULT.kombu_queues()
    app.conf.task_create_missing_queues = False
    return app


@pytest.fixture(scope="module")
def task(app: Celery) -> Task:
    def nothing() -> None: ...

    return app.task(name="nothing", shared=False)(nothing)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("given", "whole"),
    [(0.001, 1), (0.5, 1), (1, 1), (1.5, 2), (59.01, 60), (LONGEST_DELAY_S, 2**28 - 1)],
)
def test_a_countdown_is_rounded_up_to_whole_seconds(app: Celery, given: float, whole: int) -> None:
    countdown, eta = whole_delay(app, given, None)

    assert (countdown, eta) == (whole, None)
    assert type(countdown) is int


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(("given", "whole"), [(0.5, 1), (99.5, 100)])
def test_an_eta_of_a_python_program_becomes_a_countdown(
    app: Celery, given: float, whole: int, as_text: bool
) -> None:
    moment = in_seconds(given)

    delay = whole_delay(app, None, moment.isoformat() if as_text else moment)

    assert delay == (whole, None)


def test_an_eta_without_a_zone_is_in_utc_as_celery_has_it(app: Celery) -> None:
    assert whole_delay(app, None, in_seconds(99.5).replace(tzinfo=None)) == (100, None)


@pytest.mark.parametrize("now", [(None, None), (0, None), (-3, None), (None, in_seconds(-5))])
def test_what_is_due_already_is_left_to_celery(app: Celery, now: tuple[Any, Any]) -> None:
    assert whole_delay(app, *now) == now


@pytest.mark.parametrize("nothing", [{"countdown": 0}, {"countdown": None}, {"eta": None}, {}])
def test_no_delay_is_no_option(app: Celery, nothing: dict[str, Any]) -> None:
    assert normalise(app, nothing) == {}


@pytest.mark.parametrize(
    "countdown", [-1, -0.001, 2**28, 2**28 - 0.5, float("inf"), float("nan"), 10**400]
)
def test_a_countdown_that_cannot_be_kept_is_refused(app: Celery, countdown: float) -> None:
    with pytest.raises(InvalidOption) as caught:
        normalise(app, {"countdown": countdown})

    assert caught.value.option == "countdown"


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-8))])
def test_an_eta_becomes_a_countdown(app: Celery, as_text: bool, zone: timezone) -> None:
    moment = in_seconds(99.5).astimezone(zone)

    options = normalise(app, {"eta": moment.isoformat() if as_text else moment})

    assert options == {"countdown": pytest.approx(99.5, abs=0.4)}


def test_an_eta_may_end_in_z(app: Celery) -> None:
    eta = in_seconds(99.5).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    assert normalise(app, {"eta": eta}) == {"countdown": pytest.approx(99.5, abs=0.4)}


@pytest.mark.parametrize("option", ["eta", "expires"])
@pytest.mark.parametrize(
    ("moment", "why"),
    [
        ("2099-01-01T12:00:00", "time zone"),
        ("0001-01-01T00:00:00+01:00", "ISO 8601"),  # in UTC it is before Python's first year
        (datetime(2099, 1, 1, 12), "time zone"),
        ("tomorrow", "ISO 8601"),
        ("", "ISO 8601"),
        ([], "ISO 8601"),
        ("2001-01-01T12:00:00Z", "past"),
        ("2999-01-01T12:00:00Z", "too far"),
    ],
)
def test_a_moment_that_cannot_be_used_is_refused(
    app: Celery, option: str, moment: Any, why: str
) -> None:
    with pytest.raises(InvalidOption, match=why) as caught:
        normalise(app, {option: moment})

    assert caught.value.option == option


def test_an_eta_and_a_countdown_exclude_each_other(app: Celery) -> None:
    with pytest.raises(InvalidOption, match="either"):
        normalise(app, {"eta": in_seconds(60), "countdown": 60})


@pytest.mark.parametrize("expires", [0.5, 60, in_seconds(86_400)])
def test_expires_is_left_as_it_was_given(app: Celery, expires: Any) -> None:
    assert normalise(app, {"expires": expires}) == {"expires": expires}


def test_an_expiry_in_a_form_that_celery_does_not_read_becomes_a_time(app: Celery) -> None:
    checked = normalise(app, {"expires": "2030-01-01x00:00:00+00:00:30"})

    assert checked["expires"].isoformat() == "2029-12-31T23:59:30+00:00"


@pytest.mark.parametrize("expires", [0, -1, 2**28])
def test_an_expiry_in_the_past_or_too_far_ahead_is_refused(app: Celery, expires: float) -> None:
    with pytest.raises(InvalidOption) as caught:
        normalise(app, {"expires": expires})

    assert caught.value.option == "expires"


def test_a_known_queue_is_taken(app: Celery) -> None:
    assert normalise(app, {"queue": "mail"}) == {"queue": "mail"}


def test_an_unknown_queue_is_refused_and_the_known_ones_are_named(app: Celery) -> None:
    with pytest.raises(InvalidOption, match="celery, mail") as caught:
        normalise(app, {"queue": "mial"})

    assert caught.value.option == "queue"


@pytest.mark.parametrize(
    ("own", "given", "sent"),
    [
        ((None, None), (1.5, 1), (2, 1)),
        ((None, None), (1.5, None), (2, 2)),
        ((1500, 1440), (1.5, None), (2, 2)),
        ((1500, 1440), (5, 9), (5, 5)),
        ((1500, 5), (10, None), (10, 5)),
        ((60, 60), (None, 90), (60, 60)),
        ((60, 60), (90, None), (90, 60)),
    ],
)
def test_a_calls_limits_are_whole_and_the_soft_one_is_never_over_the_hard_one(
    task: Task,
    own: tuple[float | None, float | None],
    given: tuple[float | None, float | None],
    sent: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "time_limit", own[0])
    monkeypatch.setattr(task, "soft_time_limit", own[1])

    options = carried(task, {"time_limit": given[0], "soft_time_limit": given[1]})

    assert options == {"time_limit": sent[0], "soft_time_limit": sent[1]}


def test_other_options_pass(app: Celery) -> None:
    assert normalise(app, {"headers": {"a": 1}, "priority": None}) == {"headers": {"a": 1}}


def test_what_the_caller_gave_is_not_changed(app: Celery) -> None:
    given = {"countdown": 0.5, "expires": 60}

    normalise(app, given)

    assert given == {"countdown": 0.5, "expires": 60}


NO_SECONDS = ["1", float("nan"), float("inf"), timedelta(seconds=1)]


@pytest.mark.parametrize("value", NO_SECONDS)
def test_a_countdown_that_is_no_number_of_seconds_is_refused_whoever_calls(
    app: Celery, value: Any
) -> None:
    with pytest.raises(InvalidOption) as caught:
        whole_delay(app, value, None)

    assert caught.value.option == "countdown"


@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
@pytest.mark.parametrize("value", NO_SECONDS)
def test_what_is_no_number_of_seconds_is_refused_whoever_calls(
    task: Task, name: str, value: Any
) -> None:
    with pytest.raises(InvalidOption) as caught:
        task.apply_async(**{name: value})

    assert caught.value.option == name
    assert str(caught.value) == f"{name}: is not a number of seconds"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_id", "x" * 256),
        ("task_id", "é" * 128),
        ("task_id", uuid4()),
        ("task_id", "\ud800"),
        ("routing_key", "x" * 256),
        ("priority", 256),
        ("priority", -1),
        ("priority", "a"),
        ("priority", 1.0),
        ("serializer", "nope"),
        ("compression", "nope"),
        ("compression", []),
    ],
)
def test_what_no_message_carries_is_refused_whoever_calls(
    task: Task, name: str, value: Any
) -> None:
    with pytest.raises(InvalidOption) as caught:
        task.apply_async(**{name: value})

    assert caught.value.option == name


def test_the_headers_that_celery_makes_are_its_own(app: Celery) -> None:
    made = app.amqp.as_task_v2("an id", "nothing").headers.keys()
    assert made <= TASK_HEADERS

    for name in TASK_HEADERS:
        with pytest.raises(InvalidOption, match=name) as caught:
            normalise(app, {"headers": {"mine": 1, name: None}})
        assert caught.value.option == "headers"


def test_headers_are_a_mapping(app: Celery) -> None:
    with pytest.raises(InvalidOption):
        normalise(app, {"headers": 5})
