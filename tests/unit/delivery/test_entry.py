"""From a task's arguments to the ledger's entry and the octets."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

import config
import mailing
from bridge.ids import created_at, new_task_id
from delivery import compose, content, new_email
from delivery.entry import accepted_at
from mailing.address import Mailbox

ANN = "ann@b.example"
MAIL = {"subject": "A subject", "text": "A text.", "to": f"Ann <{ANN}>", "html": None}


def test_a_mail_is_what_its_arguments_say_and_the_settings_add() -> None:
    mail = compose(MAIL)

    assert (mail.subject, mail.to) == ("A subject", (Mailbox("Ann", ANN),))
    assert str(mail.from_) == config.options.mail_from


def test_a_mail_needs_neither_a_to_nor_a_text_nor_a_subject() -> None:
    mail = compose({"html": "<p>A text.</p>", "cc": ANN})

    assert (mail.subject, mail.to, mail.cc) == ("", (), (Mailbox("", ANN),))


def test_a_mail_without_recipients_is_none() -> None:
    with pytest.raises(mailing.InvalidMessage):
        compose({**MAIL, "to": ""})


def test_each_attempt_has_the_same_octets() -> None:
    email_id, mail = new_task_id(), compose(MAIL)
    moment = accepted_at(email_id)

    assert content(mail, email_id, moment) == content(compose(MAIL), email_id, moment)


def test_an_address_that_is_named_twice_gets_the_mail_once() -> None:
    entry = new_email(new_task_id(), {**MAIL, "cc": ANN, "bcc": "bob@b.example"}, keep=False)

    assert [(one.kind, one.address) for one in entry.recipients] == [
        ("to", ANN), ("bcc", "bob@b.example"),
    ]  # fmt: skip


def test_the_time_of_acceptance_is_the_ids_or_else_the_one_given() -> None:
    email_id = new_task_id()

    assert accepted_at(email_id, 1.0) == created_at(email_id)
    assert accepted_at("not-a-uuid", 1.0) == 1.0
    assert accepted_at("not-a-uuid") == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("earlier_s", [60.0, None])
def test_a_mail_expires_when_asked_and_at_the_settings_time_at_the_latest(
    earlier_s: float | None,
) -> None:
    email_id = new_task_id()
    begin = accepted_at(email_id)
    longest = begin + config.options.mail_retry_for_s
    asked = begin + earlier_s if earlier_s else longest + 1

    entry = new_email(email_id, {**MAIL, "expires_at": asked}, keep=False)

    assert entry.expires_at == min(asked, longest)


def test_a_scheduled_mail_lives_from_its_time_on_and_keeps_its_content() -> None:
    email_id = new_task_id()
    later = accepted_at(email_id) + 86400

    entry = new_email(email_id, {**MAIL, "_scheduled_at": later}, keep=False)

    assert (entry.scheduled_at, entry.keep) == (later, True)
    assert entry.expires_at == later + config.options.mail_retry_for_s


def test_1970_is_a_time_as_well() -> None:
    assert new_email(new_task_id(), {**MAIL, "expires_at": 0}, keep=False).expires_at == 0


def test_the_payload_has_all_but_the_number_of_the_message() -> None:
    entry = new_email(new_task_id(), {**MAIL, "_track": 7, "_api_key": "team"}, keep=True)

    assert entry.payload is not None
    assert msgspec.json.decode(entry.payload) == {
        "subject": "A subject", "text": "A text.", "to": f"Ann <{ANN}>", "_api_key": "team",
    }  # fmt: skip
    assert entry.api_key == "team"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tags", {"a\0": "b"}),
        ("tags", {"a": "b\n"}),
        ("tags", {"": "b"}),
        ("tags", {str(number): "" for number in range(51)}),
        ("metadata", {str(number): number for number in range(51)}),
        ("metadata", {"a": "x" * 8192}),
        ("metadata", {"a": {}}),
        ("metadata", {"a": "\ud800"}),
        ("metadata", {"a": object()}),
        ("metadata", [1]),
        ("expires_at", -1e308),
        ("expires_at", float("nan")),
    ],
)
def test_what_no_database_holds_or_no_answer_can_show_is_refused(field: str, value: object) -> None:
    with pytest.raises(mailing.InvalidMessage) as info:
        new_email(new_task_id(), {**MAIL, field: value}, keep=False)

    assert info.value.field == field


@pytest.mark.parametrize(
    "metadata", [{str(number): "x" * 150 for number in range(50)}, {"a": "x" * (8192 - 8)}]
)
def test_what_a_mail_may_say_at_most_is_taken(metadata: dict[str, str]) -> None:
    given = {"tags": {str(number): "" for number in range(50)}, "metadata": metadata}

    entry = new_email(new_task_id(), {**MAIL, **given}, keep=False)

    assert (entry.tags, entry.metadata) == (given["tags"], given["metadata"])


def test_times_and_decimals_in_a_programs_metadata_are_texts() -> None:
    metadata = {"at": datetime(2030, 1, 1, tzinfo=UTC), "price": Decimal("9.90")}

    entry = new_email(new_task_id(), {**MAIL, "metadata": metadata}, keep=False)

    assert entry.metadata == {"at": "2030-01-01T00:00:00Z", "price": "9.90"}
