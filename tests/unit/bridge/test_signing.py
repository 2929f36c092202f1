"""Signatures over whole task messages: what they cover, by which keys, and what they leave out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from amqp.serialization import dumps, loads
from hypothesis import given
from hypothesis import strategies as st
from kombu.compression import decompress

from bridge.ids import new_task_id
from bridge.sending.calls import Calls
from bridge.signing import NotSigned, Signer
from tests.unit.bridge.test_calls import make_app

NEW, OLD, OTHER = "n" * 43, "o" * 43, "x" * 43
HEADERS: dict[str, Any] = {"task": "task.add", "id": "1", "retries": 0, "timelimit": [1500, 1440]}
PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "correlation_id": "1",
    "reply_to": "",
}
BODY = b"[[1, 2], {}, {}]"


def sealed(*keys: str) -> dict[str, Any]:
    return {**HEADERS, "signature": Signer(keys).sign(HEADERS, PROPERTIES, BODY)}


def test_what_was_signed_is_taken_as_text_and_as_octets() -> None:
    Signer([NEW]).check(sealed(NEW), PROPERTIES, BODY)
    Signer([NEW]).check(sealed(NEW), PROPERTIES, BODY.decode())


def test_the_first_key_signs_and_every_key_is_taken() -> None:
    assert sealed(NEW, OLD) == sealed(NEW)
    Signer([NEW, OLD]).check(sealed(OLD), PROPERTIES, BODY)
    with pytest.raises(NotSigned):
        Signer([NEW, OLD]).check(sealed(OTHER), PROPERTIES, BODY)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, 3, 4, 5, 678),
        datetime(2026, 1, 2, 3, 4, 5, 678, timezone(timedelta(hours=2))),
        [datetime(2026, 1, 2), b"\xff", (1, None)],
    ],
)
def test_a_header_is_signed_as_it_arrives(value: object) -> None:
    headers = {**HEADERS, "own": value}
    signature = Signer([NEW]).sign(headers, PROPERTIES, BODY)
    ((arrived,), _) = loads("F", dumps("F", [{**headers, "signature": signature}]), 0)

    Signer([NEW]).check(arrived, PROPERTIES, BODY)
    arrived["own"] = datetime(2026, 1, 2, 3, 4, 6)
    with pytest.raises(NotSigned):
        Signer([NEW]).check(arrived, PROPERTIES, BODY)


@given(st.sampled_from([*HEADERS, "slept", "eta", "x-own"]), st.none() | st.integers() | st.text())
def test_no_header_can_be_changed_or_added(name: str, value: object) -> None:
    headers = {**sealed(NEW), name: value}
    if name in HEADERS and repr(headers[name]) == repr(HEADERS[name]):
        return
    with pytest.raises(NotSigned):
        Signer([NEW]).check(headers, PROPERTIES, BODY)


def test_a_number_is_not_a_time_of_so_many_seconds() -> None:
    with pytest.raises(NotSigned):
        Signer([NEW]).check({**sealed(NEW), "retries": datetime(1970, 1, 1)}, PROPERTIES, BODY)


@pytest.mark.parametrize("name", [*HEADERS, "signature"])
def test_no_header_can_be_taken_away(name: str) -> None:
    headers = {k: v for k, v in sealed(NEW).items() if k != name}
    with pytest.raises(NotSigned):
        Signer([NEW]).check(headers, PROPERTIES, BODY)


@pytest.mark.parametrize("name", PROPERTIES)
def test_no_property_that_a_worker_heeds_can_be_changed(name: str) -> None:
    with pytest.raises(NotSigned):
        Signer([NEW]).check(sealed(NEW), {**PROPERTIES, name: "other"}, BODY)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(NotSigned):
        Signer([NEW]).check(sealed(NEW), PROPERTIES, BODY.replace(b"1", b"3"))


@pytest.mark.parametrize("signature", [None, 7, "", "é", ["a"]])
def test_a_signature_of_a_wrong_form_is_refused(signature: object) -> None:
    with pytest.raises(NotSigned):
        Signer([NEW]).check({**HEADERS, "signature": signature}, PROPERTIES, BODY)


def test_what_the_broker_and_a_second_publish_add_is_no_change() -> None:
    added = {"x-death": [{"count": 1}], "x-delivery-count": 3, "published_again": True}
    Signer([NEW]).check({**sealed(NEW), **added}, PROPERTIES, BODY)


@pytest.mark.parametrize(
    "settings", [{}, {"task_serializer": "msgpack"}, {"task_compression": "gzip"}]
)
def test_first_and_prepared_calls_are_signed_and_otherwise_as_they_are(
    settings: dict[str, str],
) -> None:
    plain, signing = make_app(**settings), make_app(**settings, task_signing_keys=[NEW])
    makers = [(app.tasks["open"], Calls(app)) for app in (plain, signing)]

    for argument in ("first", "prepared"):
        task_id = new_task_id()
        unsigned, signed = (
            calls.messages(task, (argument,), {}, task_id, {})[0] for task, calls in makers
        )
        headers, kind = signed.properties.headers, settings.get("task_compression")
        body = decompress(signed.body, f"application/x-{kind}") if kind else signed.body

        Signer([NEW]).check(headers, vars(signed.properties), body)
        del headers["signature"]
        assert headers == unsigned.properties.headers
        assert signed.body == unsigned.body
