"""What ``Limits`` allows, and which headers no limits open."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mailing import InvalidMessage, Limits, Mail, build, compose
from mailing.address import Mailbox
from tests.readers import decoded

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)

ONE_CLICK = {
    "List-Unsubscribe": "<https://example.com/u?id=1>, <mailto:u@example.com>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}


def composed(**values: Any) -> Mail:
    return compose(**{"subject": "s", "text": "t", "to": "a@b", "from_": "me@b", **values})


def refused(**values: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        composed(**values)
    return caught.value


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to"])
@pytest.mark.parametrize("as_list", [True, False])
def test_each_fields_recipients_are_limited(field: str, as_list: bool) -> None:
    limits = Limits(recipients_per_field=2)
    to = ["a@b", "c@d", "e@f"]

    assert Mailbox("", "c@d") in getattr(composed(**{field: to[:2]}, limits=limits), field)
    error = refused(**{field: to if as_list else ",".join(to)}, limits=limits)
    assert (error.field, error.detail) == (field, "must not hold more than 2 addresses")


def test_the_subject_is_limited_in_characters() -> None:
    assert composed(subject="é" * 998).subject == "é" * 998
    assert "998" in refused(subject="é" * 999).detail
    assert composed(subject="é" * 5, limits=Limits(subject_length=5)).subject == "é" * 5
    assert refused(subject="é" * 6, limits=Limits(subject_length=5)).field == "subject"


def test_the_number_of_headers_is_limited() -> None:
    headers = {"X-A": "1", "X-B": "2"}

    assert composed(headers=headers, limits=Limits(headers=2)).headers == headers
    assert "1 headers" in refused(headers=headers, limits=Limits(headers=1)).detail


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("Errors-To", "errors-to"), ("Thread-*", "THREAD-Index"), ("x-a*", "X-Ab"), ("Re*", "Region")],
)
def test_further_names_can_be_allowed(pattern: str, name: str) -> None:
    limits = Limits(header_names=(pattern,))

    mail = composed(headers={name: "a value"}, limits=limits)

    assert decoded(build(mail, mail_id="x", accepted_at=NOW), name) == "a value"
    assert (
        refused(headers={name: "a value"}, limits=Limits(header_names=())).field
        == f"headers.{name}"
    )


@pytest.mark.parametrize("name", ["X-", "X", "List-", "Referencesx", "AReferences", "Thread-Index"])
def test_what_no_pattern_allows_is_refused(name: str) -> None:
    assert refused(headers={name: "v"}).field == f"headers.{name}"


OWN = ["From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
       "Content-Foo", "Reply-To", "Sender", "Return-Path", "Received", "DKIM-Signature",
       "Resent-Bcc", "ARC-Seal", "Authentication-Results", "Delivered-To"]  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_no_limits_open_a_header_that_we_or_relays_write(name: str) -> None:
    wide = tuple(f"{letter}*" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    assert refused(headers={name: "v"}, limits=Limits(header_names=wide)).field == f"headers.{name}"
    assert not Limits(header_names=wide).allows(name)
    for pattern in (name, name.upper(), f"{name}*"):
        with pytest.raises(ValueError, match="can't be set"):
            Limits(header_names=("X-*", pattern))


@pytest.mark.parametrize("pattern", ["Content-*", "Resent-*", "DKIM-*", "Received-*"])
def test_no_pattern_is_for_our_headers_alone(pattern: str) -> None:
    with pytest.raises(ValueError, match="can't be set"):
        Limits(header_names=(pattern,))


@pytest.mark.parametrize(
    "pattern", ["", "*", "*-Id", "X-*-Y", "X-**", "a b", "a:", "a\n", "é", "a" * 65]
)
def test_what_is_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a header name"):
        Limits(header_names=(pattern,))


# -- lists and automatic mail


@pytest.mark.parametrize(
    "headers",
    [
        ONE_CLICK,
        {name.lower(): value for name, value in ONE_CLICK.items()},
        {**ONE_CLICK, "List-Unsubscribe": "<HTTPS://example.com/u>"},
        {"List-Unsubscribe": "<mailto:u@example.com>"},
        {"Auto-Submitted": "auto-generated"},
    ],
)
def test_headers_of_lists_and_machines_are_written_as_they_are(headers: dict[str, str]) -> None:
    content = build(composed(headers=headers), mail_id="x", accepted_at=NOW)

    assert {name: decoded(content, name) for name in headers} == headers


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"List-Unsubscribe-Post": "yes"}, "List-Unsubscribe-Post"),
        ({"List-Unsubscribe-Post": "list-unsubscribe=one-click"}, "List-Unsubscribe-Post"),
        ({"List-Unsubscribe": ""}, "List-Unsubscribe"),
        ({"List-Unsubscribe": "<mailto:u@example.com>"}, "List-Unsubscribe"),
        ({"List-Unsubscribe": "<http://example.com/u>"}, "List-Unsubscribe"),
        ({"List-Unsubscribe": "https://example.com/u"}, "List-Unsubscribe"),
        ({"List-Unsubscribe": "<https://a.example/>, <https://b.example/>"}, "List-Unsubscribe"),
    ],
)
def test_half_a_one_click_unsubscription_is_refused(headers: dict[str, str], field: str) -> None:
    assert refused(headers={**ONE_CLICK, **headers}).field == f"headers.{field}"


def test_one_click_needs_the_address() -> None:
    headers = {"List-Unsubscribe-Post": ONE_CLICK["List-Unsubscribe-Post"]}

    assert refused(headers=headers).field == "headers.List-Unsubscribe"
