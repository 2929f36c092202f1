"""What a dead letter tells of itself, whatever it is made of."""

from __future__ import annotations

import json
import zlib
from collections.abc import Container
from datetime import UTC, datetime
from typing import Any

import amqp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import DeadLetter, DeadReason, Undecodable

SECRET = "hunter2"
BODY = json.dumps([[SECRET], {"x": 1}, None])
DIED_AT = datetime(2026, 1, 2, 3, 4, 5)

Json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def letter(
    headers: dict[str, Any] | None = None,
    body: bytes | str = BODY,
    *,
    deaths: Any = None,
    known: Container[str] = ("add",),
    **properties: Any,
) -> DeadLetter:
    headers = {"task": "add", "id": "1", **(headers or {})}
    if deaths is not None:
        headers["x-death"] = deaths
    properties.setdefault("content_type", "application/json")
    message = amqp.Message(body, application_headers=headers, **properties)
    return DeadLetter.from_message(message, known=known, signer=None)


def death(reason: str, queue: str = "celery") -> dict[str, Any]:
    return {"reason": reason, "queue": queue, "time": DIED_AT, "count": 1}


def test_a_letter_tells_where_and_when_it_died() -> None:
    dead = letter(deaths=[death("delivery_limit", "mail")], correlation_id="other")

    assert (dead.id, dead.task, dead.reason) == ("1", "add", "delivery_limit")
    assert (dead.queue, dead.died_at) == ("mail", DIED_AT.replace(tzinfo=UTC))


def test_the_delays_before_do_not_count_as_the_death() -> None:
    deaths = [death("rejected"), death("expired", "celery_delayed_3")]

    dead = letter({"x-first-death-queue": "celery_delayed_3"}, deaths=deaths)

    assert (dead.queue, dead.reason) == ("celery", DeadReason.FAILED)


@pytest.mark.parametrize("name", ["q" * 256, "é" * 128, "two\nlines", 5, ["mail"]])
def test_what_is_no_name_of_a_queue_is_not_where_it_died(name: Any) -> None:
    headers = {"x-last-death-queue": name}

    assert letter(headers).queue is None
    assert letter(headers, deaths=[death("rejected", "mail")]).queue == "mail"


@pytest.mark.parametrize(
    ("body", "known", "reason"),
    [
        (BODY, {"add"}, DeadReason.FAILED),
        (BODY, {"other"}, DeadReason.UNKNOWN_TASK),
        (SECRET, {"add"}, DeadReason.UNDECODABLE),
    ],
)
def test_the_body_tells_what_the_brokers_rejected_does_not(
    body: str, known: set[str], reason: DeadReason
) -> None:
    assert letter(body=body, deaths=[death("rejected")], known=known).reason == reason


def test_a_letter_of_protocol_1_is_named_by_its_body() -> None:
    body = json.dumps({"task": "sub", "id": "7", "args": [1], "kwargs": {}})
    message = amqp.Message(body, content_type="application/json")

    dead = DeadLetter.from_message(message, known=(), signer=None)

    assert (dead.id, dead.task, dead.arguments()) == ("7", "sub", ((1,), {}))


def test_arguments_are_read_through_a_compression() -> None:
    compressed = letter({"compression": "application/x-gzip"}, zlib.compress(BODY.encode()))

    assert compressed.arguments() == ((SECRET,), {"x": 1})


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "text/plain", None])
def test_arguments_of_no_accepted_serializer_are_refused(content_type: str | None) -> None:
    with pytest.raises(Undecodable) as caught:
        letter(content_type=content_type).arguments()

    assert SECRET not in repr((caught.value, caught.value.args, caught.value.__cause__))


def test_a_letter_shows_nothing_of_what_it_holds() -> None:
    dead = letter({"argsrepr": SECRET}, deaths=[death("rejected")])

    assert SECRET not in f"{dead!r}{dead!s}{dead.detail}"


def test_a_letter_keeps_what_a_replay_needs_and_nothing_of_its_death() -> None:
    marks = {"x-first-death-queue": "q", "x-last-death-reason": "rejected", "x-delivery-count": 3}

    dead = letter(
        {**marks, "x-own": 1},
        deaths=[death("rejected")],
        reply_to="somebody",
        expiration="1000",
        user_id="guest",
    )

    assert dead.headers == {"task": "add", "id": "1", "x-own": 1}
    assert dead.properties == {"reply_to": "somebody"}
    assert dead.deliveries == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timelimit", ["a", None]),
        ("timelimit", 5),
        ("eta", "soon"),
        ("stamps", []),
        ("stamped_headers", "a"),
        ("retries", "1"),
        ("id", "a\nb"),
        ("id", "a" * 256),
        ("id", ""),
        ("deep", json.loads("[" * 250 + "]" * 250)),
    ],
)
def test_headers_that_would_stop_a_worker_make_a_message_undecodable(
    field: str, value: Any
) -> None:
    dead = letter({field: value}, deaths=[death("rejected")])

    assert dead.reason == DeadReason.UNDECODABLE


@given(
    headers=st.dictionaries(
        st.sampled_from(["task", "id", "x-death", "x-delivery-count", "compression", "timelimit"]),
        Json,
    ),
    body=st.binary(max_size=20) | Json.map(json.dumps),
    content_type=st.sampled_from([None, "application/json", "application/x-msgpack", "x"]),
)
def test_any_message_makes_a_letter(
    headers: dict[str, Any], body: bytes | str, content_type: str | None
) -> None:
    message = amqp.Message(body, application_headers=headers, content_type=content_type)

    dead = DeadLetter.from_message(message, known={"add"}, signer=None)

    assert repr(dead).isprintable()
