"""From a request's body to the arguments of the mail's task."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import config
import delivery
import task
from handlers.emails.arguments import arguments, moment_to_send
from handlers.emails.body import NAMED, EmailBody, Rescheduling, read
from handlers.problems import Problem
from mailing import InvalidMessage
from mailing.templates.rendering import Templates

NOW = 1_800_000_000.0
#: Members that become another argument, or another value.
TESTED_BELOW = ("attachments", "template", "tags", "scheduled_at", "expires_at")
MAIL = {"to": "ann@example.com", "subject": "Hello", "text": "?"}


def checked(**members: Any) -> dict[str, Any]:
    body = json.dumps({**MAIL, **members}).encode()
    return arguments(read(body, EmailBody), NOW)


def refused(**members: Any) -> tuple[str, str]:
    """Return which member is at fault, and Resend's name of the error."""
    with pytest.raises(Problem) as info:
        checked(**members)
    assert info.value.status_code == 422
    return info.value.members["errors"][0]["argument"], info.value.name


def iso(**delta: float) -> str:
    return (datetime.fromtimestamp(NOW, UTC) + timedelta(**delta)).isoformat()


def test_a_least_mail_has_no_more_arguments_than_it_needs() -> None:
    assert checked() == {**MAIL, "from_": config.options.mail_from}


@pytest.mark.parametrize("field", ["cc", "bcc"])
def test_a_mail_needs_no_to_if_somebody_gets_it(field: str) -> None:
    found = checked(**{"to": None, field: "ann@example.com"})

    assert "to" not in found
    assert found[field] == "ann@example.com"


def test_every_member_becomes_an_argument() -> None:
    given = {
        "from": "Me <me@example.com>",
        "to": ["a@example.com", "b@example.com"],
        "cc": "c@example.com",
        "bcc": ["d@example.com"],
        "reply_to": "e@example.com",
        "html": "<p>?</p>",
        "headers": {"X-A": "1"},
        "metadata": {"a": 1, "b": None, "c": True, "d": 0.5},
        "on_uncertain": "hold",
    }

    found = checked(**given)

    expected = {**MAIL, **given, "from_": given["from"]}
    del expected["from"]
    assert found == expected
    assert {*given, *MAIL, *TESTED_BELOW} == {*EmailBody.__struct_encode_fields__}
    assert found.keys() <= signature(task.sendmail.run).parameters.keys()


def test_a_mail_of_html_alone_has_an_empty_text() -> None:
    found = checked(text=None, html="<p>?</p>")

    assert (found["text"], found["html"]) == ("", "<p>?</p>")


@pytest.mark.parametrize(
    ("members", "argument"),
    [
        ({"to": None}, "to"),
        ({"to": []}, "to"),
        ({"subject": None}, "subject"),
        ({"text": None}, "text"),
        ({"attachments": [{"filename": "a"}]}, "attachments[0].content"),
        ({"template": {"variables": {}}}, "template.id"),
    ],
)
def test_what_is_missing_is_named(members: dict[str, Any], argument: str) -> None:
    assert refused(**members) == (argument, "missing_required_field")


@pytest.mark.parametrize(
    ("members", "argument", "name"),
    [
        ({"subject": 1}, "subject", "validation_error"),
        ({"from": 1}, "from", "invalid_from_address"),
        ({"to": {"a": 1}}, "to", "validation_error"),
        ({"on_uncertain": "drop"}, "on_uncertain", "validation_error"),
        ({"headers": {"X": 1}}, "headers[...]", "validation_error"),
        ({"metadata": {"a": {}}}, "metadata[...]", "validation_error"),
        ({"tags": [{"name": "a b"}]}, "tags[0].name", "validation_error"),
        ({"tags": [{"name": ""}]}, "tags[0].name", "validation_error"),
        ({"tags": [{"name": "a", "value": "ä"}]}, "tags[0].value", "validation_error"),
        ({"tags": [{"name": "a\n"}]}, "tags[0].name", "validation_error"),
        ({"tags": [{"name": "a", "value": "b\n"}]}, "tags[0].value", "validation_error"),
        ({"tags": [{"name": "a" * 257}]}, "tags[0].name", "validation_error"),
        ({"tags": [{"name": "a"}, {"name": "a"}]}, "tags", "validation_error"),
        ({"attachments": [{"content": [256]}]}, "attachments[0].content[0]",
         "invalid_attachment"),
        ({"attachments": [{"path": "https://example.com/a"}]}, "attachments[0].path",
         "invalid_attachment"),
        ({"template": {"id": "a"}}, "text", "validation_error"),
        ({"expires_at": iso(seconds=-1)}, "expires_at", "validation_error"),
        ({"expires_at": iso(hours=1), "scheduled_at": iso(hours=2)}, "expires_at",
         "validation_error"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(members: dict[str, Any], argument: str, name: str) -> None:
    assert refused(**members) == (argument, name)


def test_all_unknown_members_are_named_at_once() -> None:
    with pytest.raises(Problem) as info:
        checked(sujet="?", a="b")

    assert info.value.detail == "a, sujet: is not a known member"
    assert [error["argument"] for error in info.value.members["errors"]] == ["a", "sujet"]


def test_of_very_many_unknown_members_some_are_named() -> None:
    with pytest.raises(Problem) as info:
        checked(**{f"x{number}": 1 for number in range(1000)})

    assert len(info.value.members["errors"]) == NAMED
    assert len(info.value.detail) < 200


def test_an_unknown_member_within_is_named_with_its_place() -> None:
    assert refused(template={"id": "a", "vars": {}})[0] == "template.vars"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b'{"x": 1,', b'{"template": {"variables": ' + b'{"a": ' * 100_000]
)
def test_what_is_no_json_is_400(raw: bytes) -> None:
    with pytest.raises(Problem) as info:
        read(raw, EmailBody)

    assert info.value.status_code == 400


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null"])
def test_what_is_no_object_is_422(raw: bytes) -> None:
    with pytest.raises(Problem) as info:
        read(raw, EmailBody)

    assert info.value.status_code == 422


@pytest.mark.parametrize("content", ["aGVsbG8=", list(b"hello")])
def test_an_attachment_travels_as_base64(content: Any) -> None:
    given = {"filename": "a.txt", "content": content, "content_type": "text/plain"}

    (found,) = checked(attachments=[given])["attachments"]

    assert base64.b64decode(found.pop("content")) == b"hello"
    assert found == {"filename": "a.txt", "content_type": "text/plain"}


@pytest.mark.parametrize("name", ["content_id", "contentId", "inline_content_id"])
def test_a_content_id_has_three_names(name: str) -> None:
    (found,) = checked(attachments=[{"filename": "a", "content": "", name: "logo"}])["attachments"]

    assert found["content_id"] == "logo"


def test_tags_become_a_mapping() -> None:
    found = checked(tags=[{"name": "a", "value": "b"}, {"name": "c"}])

    assert found["tags"] == {"a": "b", "c": ""}


def test_times_become_unix_seconds() -> None:
    found = checked(scheduled_at=iso(hours=1), expires_at=iso(hours=2))

    assert found["_scheduled_at"] == NOW + 3600
    assert found["expires_at"] == NOW + 7200


@pytest.mark.parametrize(
    "moment",
    ["in 1 min", iso(days=2)[:10], iso(hours=1).removesuffix("+00:00"), "",
     "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
     iso(), iso(seconds=-1), iso(days=30, seconds=1)],
)  # fmt: skip
def test_a_time_that_is_none_of_the_future_is_refused(moment: str) -> None:
    with pytest.raises(Problem) as info:
        moment_to_send(moment, NOW)

    assert info.value.members["errors"][0]["argument"] == "scheduled_at"


def test_the_longest_time_ahead_is_taken() -> None:
    assert moment_to_send(iso(days=30), NOW) == NOW + 30 * 86400


def test_a_rescheduling_needs_its_time() -> None:
    with pytest.raises(Problem) as info:
        read(b"{}", Rescheduling)

    assert info.value.name == "missing_required_field"


@pytest.fixture
def _template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "subject.txt").write_text("Hello {{ name }}")
    (folder / "text.txt").write_text("Dear {{ name }}")
    (folder / "html.html").write_text("<p>{{ name }}</p>")
    monkeypatch.setattr(delivery, "templates", lambda: Templates(tmp_path))


@pytest.mark.usefixtures("_template")
@pytest.mark.parametrize(("subject", "shown"), [(None, "Hello A&B"), ("Mine", "Mine")])
def test_a_template_makes_the_content(subject: str | None, shown: str) -> None:
    template = {"id": "hello", "variables": {"name": "A&B"}}

    found = checked(subject=subject, text=None, template=template)

    assert found["subject"] == shown
    assert (found["text"], found["html"]) == ("Dear A&B", "<p>A&amp;B</p>")
    assert "template" not in found


@pytest.mark.usefixtures("_template")
@pytest.mark.parametrize("template", [{"id": "nothing"}, {"id": "hello", "variables": {}}])
def test_a_template_that_cannot_be_filled_in_is_refused(template: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        checked(subject=None, text=None, template=template)
