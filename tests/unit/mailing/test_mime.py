"""``build``: readers see exactly what was composed, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailing import InvalidMessage, build, compose, message_id
from mailing.address import Mailbox
from mailing.header import LINE_LENGTH, encoded_words, header_field
from tests.readers import assert_well_formed, decoded, parsed, raw

NOW = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
FROM = "Me <me@example.com>"

values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=300).filter(
    lambda text: "=?" not in text
)
bodies = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def built(**changes: Any) -> bytes:
    mail = compose(**{"subject": "s", "text": "t", "to": "a@b", "from_": FROM, **changes})
    return build(mail, mail_id="0197-abc", accepted_at=NOW)


def normal(text: str) -> str:
    """Return a body as it comes out: line breaks are one kind, the last line has one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def body(part: Any) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def test_a_mail_reads_as_a_person_expects() -> None:
    content = built(to="Ann <ann@example.com>", cc="c@d", bcc="secret@example.com", reply_to="r@s")

    assert content == (
        b"From: Me <me@example.com>\r\n"
        b"To: Ann <ann@example.com>\r\n"
        b"Cc: c@d\r\n"
        b"Reply-To: r@s\r\n"
        b"Subject: s\r\n"
        b"Date: Tue, 03 Feb 2026 04:05:06 +0000\r\n"
        b"Message-ID: <0197-abc@example.com>\r\n"
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: text/plain; charset="utf-8"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"t\r\n"
    )


@given(subject=values, text=bodies, html=bodies | st.none(), header=values)
@example(subject=" a  b ", text="\r\r\n\n", html=".", header="x" * 997)
@example(subject="a" * 998, text="x" * 5000, html="--=_", header="é" * 200)
@example(subject="\U0001f600" * 60, text="From me\n.\n", html="\x00\x85\u2028", header="?=")
def test_whatever_is_composed_is_what_readers_see(
    subject: str, text: str, html: str | None, header: str
) -> None:
    content = built(subject=subject, text=text, html=html, headers={"X-Header": header})

    assert_well_formed(content)
    message = raw(content)
    assert decoded(content, "Subject") == subject
    assert decoded(content, "X-Header") == header
    parts = list(message.get_payload()) if message.is_multipart() else [message]
    expected = [("text/html", normal(html))] if html else []
    if text or not html:  # an empty part beside the other would be what some readers show
        expected.insert(0, ("text/plain", normal(text)))
    assert [(part.get_content_type(), body(part)) for part in parts] == expected


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_no_input_adds_a_header(subject: str, name: str, value: str) -> None:
    plain = [key for key, _ in raw(built()).items()]
    try:
        content = built(subject=subject, to=f"{name} <a@b>", headers={"X-Foo": value})
    except InvalidMessage:
        return

    assert_well_formed(content)
    keys = [key for key, _ in raw(content).items()]
    assert [key for key in keys if key != "X-Foo"] == plain
    assert parsed(content)["To"].addresses[-1].addr_spec == "a@b"


@pytest.mark.parametrize(
    "subject",
    ["=?utf-8?q?caf=C3=A9?=", "a =?utf-8?b?eA==?= b", "=?", " lead", "trail ", "a   b", "a_b ?= c"],
)
def test_what_looks_like_an_encoded_word_is_shown_as_it_is(subject: str) -> None:
    assert decoded(built(subject=subject), "Subject") == subject
    assert parsed(built(subject=subject))["Subject"] == subject


@given(st.lists(values.filter(lambda name: len(name) <= 100), min_size=1, max_size=5))
def test_display_names_survive(names: list[str]) -> None:
    to = [f'"{re.sub(r"([^ ])", _escape, name)}" <a{n}@b>' for n, name in enumerate(names)]

    content = built(to=to)

    assert_well_formed(content)
    addresses = parsed(content)["To"].addresses
    assert [one.addr_spec for one in addresses] == [f"a{n}@b" for n in range(len(names))]


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[1]}" if match[1] in '"\\' else match[1]


def test_a_comma_in_an_encoded_name_stays_in_the_name() -> None:
    content = built(to='"Doe, Jörg, victim@example.com" <a@b>, "X, Y" <c@d>')

    addresses = parsed(content)["To"].addresses
    assert [(one.display_name, one.addr_spec) for one in addresses] == [
        ("Doe, Jörg, victim@example.com", "a@b"),
        ("X, Y", "c@d"),
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_encoded_words_keep_to_their_length(text: str) -> None:
    words = list(encoded_words(text, 40))

    assert len(words[0]) <= 40
    assert all(len(word) <= 75 for word in words)
    assert all(re.fullmatch(r"=\?utf-8\?[qb]\?[!-~]*\?=", word) for word in words)
    for word in words:  # no character is cut in two
        str(make_header(decode_header(word)))


def test_no_header_line_is_too_long() -> None:
    longest = "a" * (LINE_LENGTH - len("X-Foo: "))

    assert header_field("X-Foo", f" {longest}\r\n {longest}").startswith(f"X-Foo: {longest}\r\n")
    for value in (f" {longest}a", f" a\r\n {longest}{longest}"):
        with pytest.raises(InvalidMessage):
            header_field("X-Foo", value)


def test_header_lines_are_folded() -> None:
    names = ", ".join(f"Somebody {n} <address{n}@example.com>" for n in range(40))
    links = "<https://example.com/" + "u" * 300 + ">, <mailto:x@example.com>"
    content = built(to=names, subject="word " * 60 + "end", headers={"List-Unsubscribe": links})

    assert_well_formed(content)
    lines = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line for line in lines if len(line) > 78] == [
        f"List-Unsubscribe: {links.split()[0]}".encode()
    ]
    assert len(parsed(content)["To"].addresses) == 40
    assert decoded(content, "List-Unsubscribe") == links


@given(bodies, values)
def test_the_same_mail_is_the_same_octets(text: str, subject: str) -> None:
    assert built(text=text, subject=subject, html=text) == built(
        text=text, subject=subject, html=text
    )


def test_another_id_is_another_boundary_and_message_id() -> None:
    mail = compose("s", "t", "a@b", html="<p>", from_=FROM)
    one, two = (parsed(build(mail, mail_id=mail_id, accepted_at=NOW)) for mail_id in ("one", "two"))

    assert one.get_boundary() != two.get_boundary()
    assert (one["Message-ID"], two["Message-ID"]) == ("<one@example.com>", "<two@example.com>")


def test_a_body_can_not_end_its_part() -> None:
    boundary = str(parsed(built(html="x")).get_boundary())
    attack = f"\n--{boundary}\nContent-Type: text/html\n\n<p>\n--{boundary}--\n"

    content = built(text=attack, html=attack)

    assert [body(part) for part in raw(content).get_payload()] == [attack, attack]


def test_base64_holds_canonical_line_breaks() -> None:
    message = raw(built(text="你好\n再见\r"))

    assert message["Content-Transfer-Encoding"] == "base64"
    assert message.get_payload(decode=True) == "你好\r\n再见\r\n".encode()


def test_the_date_is_the_time_of_acceptance_in_utc() -> None:
    mail = compose("s", "t", "a@b", from_=FROM)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))

    assert build(mail, mail_id="x", accepted_at=elsewhere) == build(
        mail, mail_id="x", accepted_at=NOW
    )
    with pytest.raises(ValueError, match="timezone"):
        build(mail, mail_id="x", accepted_at=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "mail_id", ["a b", "a@b", "é", "\ud800", ">\r\nBcc: x", "", ".a", "x" * 129]
)
def test_an_odd_id_still_makes_a_message_id(mail_id: str) -> None:
    mail = compose("s", "t", "a@b", from_=FROM)

    assert re.fullmatch(r"<[0-9a-f]{64}@example\.com>", message_id(mail, mail_id))
    assert_well_formed(build(mail, mail_id=mail_id, accepted_at=NOW))


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\r\nBcc: x@y"},
        {"headers": {"X-Foo": "a\nBcc: x@y"}},
        {"headers": {"Bcc": "x@y"}},
        {"to": (Mailbox("", "a@b\r\nBcc: x@y"),)},
        {"cc": (Mailbox("a\r\nBcc: x@y", "a@b"),)},
        {"from_": Mailbox("", "a@b\nBcc: x@y")},
    ],
)
def test_a_mail_that_was_not_composed_can_not_add_a_header(changes: dict[str, Any]) -> None:
    mail = msgspec.structs.replace(compose("s", "t", "a@b", from_=FROM), **changes)

    with pytest.raises(InvalidMessage):
        build(mail, mail_id="x", accepted_at=NOW)
