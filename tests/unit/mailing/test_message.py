"""``compose``: what it takes, how it names what it does not take."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing import InvalidMessage, Mail, compose
from mailing.address import Mailbox, parse_mailbox, split_mailboxes
from mailing.masking import MASK

ADDRESS = "ann@example.com"


def composed(**values: Any) -> Mail:
    return compose(**{"subject": "s", "text": "t", "to": ADDRESS, "from_": ADDRESS, **values})


def refused(**values: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        composed(**values)
    return caught.value


# -- addresses


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("a@b", ("a@b",)),
        (" a@b ", ("a@b",)),
        ("a@b, c@d,", ("a@b", "c@d")),
        (["a@b", "C <c@d>"], ("a@b", "C <c@d>")),
        (("a@b",), ("a@b",)),
        ("A B <a@b>", ("A B <a@b>",)),
        ('"A, B" <a@b>, c@d', ('"A, B" <a@b>', "c@d")),
        ("J. R. <a@b>", ('"J. R." <a@b>',)),
        ("Sales (EU) <a@b>", ('"Sales (EU)" <a@b>',)),
        ('"say \\"hi\\"" <a@b>', ('"say \\"hi\\"" <a@b>',)),
        ("Jörg 你好 <a@b>", ("Jörg 你好 <a@b>",)),
        ("<a@b>", ("a@b",)),
        ("A@EXAMPLE.com", ("A@example.com",)),
        ("a@bücher.de", ("a@xn--bcher-kva.de",)),
        ("a@例子.公司", ("a@xn--fsqu00a.xn--55qx5d",)),
        ("a+b.c_d=e@b-c.d", ("a+b.c_d=e@b-c.d",)),
    ],
)
def test_addresses_are_read(to: object, expected: tuple[str, ...]) -> None:
    assert tuple(map(str, composed(to=to).to)) == expected


@pytest.mark.parametrize(
    ("values", "field", "detail"),
    [
        ({"to": ""}, "to", "at least one"),
        ({"to": []}, "to", "at least one"),
        ({"to": None}, "to", "at least one"),
        ({"to": 1}, "to", "text or a list"),
        ({"to": {"a@b": 1}}, "to", "text or a list"),
        ({"to": [1]}, "to[0]", "text"),
        ({"to": [""]}, "to[0]", "one address"),
        ({"to": "nobody"}, "to", "one address"),
        ({"to": "a@b, nobody"}, "to[1]", "one address"),
        ({"to": ["a@b", "c@d, e@f"]}, "to[1]", "one address"),
        ({"cc": ["a@b", "@d"]}, "cc[1]", "one address"),
        ({"bcc": "a@"}, "bcc", "one address"),
        ({"reply_to": "a@b c@d"}, "reply_to", "one address"),
        ({"from_": ""}, "from_", "one address"),
        ({"from_": "a@b, c@d"}, "from_", "one address"),
        ({"to": "a@b; c@d"}, "to", "one address"),
        ({"to": "a@b <c@d>"}, "to", "one address"),
        ({"to": "Friends: a@b;"}, "to", "one address"),
        ({"to": "<@relay:a@b>"}, "to", "one address"),
        ({"to": "a@b <"}, "to", "one address"),
        ({"to": '"a b"@c'}, "to", "quotes|one address"),
        ({"to": "a..b@c"}, "to", "quotes"),
        ({"to": "ü@b"}, "to", "SMTPUTF8"),
        ({"from_": "=?utf-8?q?boss=40bank.example=2c?=@b"}, "from_", "encoded word"),
        ({"to": "A <a.=?x?B?YUBi?=.a@b>"}, "to", "encoded word"),
        ({"to": "a@b..c"}, "to", "domain name"),
        ({"to": "a@-b"}, "to", "domain name"),
        ({"to": "a@b_c"}, "to", "domain name"),
        ({"to": "a@[192.0.2.1]"}, "to", "domain name"),
        ({"to": "a@straße.de"}, "to", "ambiguous"),
        ({"to": "a@b\u2100c"}, "to", "domain name|IDNA"),
        ({"to": "a@" + "é" * 64}, "to", "IDNA"),
        ({"to": "a" * 65 + "@b"}, "to", "too long"),
        ({"to": "a@" + "b." * 127 + "b"}, "to", "too long"),
        ({"to": "a@" + "b." * 999 + "b"}, "to", "too long"),
        ({"to": "N" * 257 + " <a@b>"}, "to", "name longer"),
        ({"to": ["a@b"] * 51}, "to", "50"),
        ({"to": "a@b\nc@d"}, "to", "control"),
        ({"to": "a@b\x00"}, "to", "control"),
    ],
)
def test_bad_addresses_are_refused(values: dict[str, Any], field: str, detail: str) -> None:
    error = refused(**values)

    assert error.field == field
    assert any(part in error.detail for part in detail.split("|")), error.detail
    assert MASK not in error.detail  # our own words are no address


def test_recipients_are_bare_and_each_once() -> None:
    mail = composed(to="A <a@b>, c@D", cc="a@B, e@f", bcc=["c@d", "G <g@h>"])

    assert mail.recipients == ("a@b", "c@d", "e@f", "g@h")


def test_bcc_alone_will_do() -> None:
    assert composed(to="", bcc=ADDRESS).recipients == (ADDRESS,)


def test_the_envelopes_sender_is_bare() -> None:
    assert composed(from_="Me <me@localhost>").envelope_from == "me@localhost"


@given(
    name=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60).filter(
        lambda name: "=?" not in name  # might be an encoded control character
    ),
    address=st.from_regex(r"[a-z!#'+]{1,9}@[a-z0-9]{1,9}(\.[a-z]{2,5})?", fullmatch=True),
)
def test_a_mailbox_reads_back_what_it_wrote(name: str, address: str) -> None:
    mailbox = Mailbox(name, address)

    assert parse_mailbox("to", str(mailbox)) == mailbox
    assert list(split_mailboxes(f"{mailbox}, {mailbox}")) == [str(mailbox)] * 2


@given(st.text(max_size=60))
def test_any_text_is_an_address_list_or_invalid(text: str) -> None:
    try:
        mail = composed(to=text)
    except InvalidMessage:
        return
    assert composed(to=list(map(str, mail.to))) == mail
    assert all(one.isascii() and " " not in one for one in mail.recipients)


# -- header injection

BREAKS = [*"\r\n\0\t\x0b\x0c\x1c\x7f\x85\u2028\u2029", "\r\n"]


def as_word(text: str, charset: str = "utf-8", kind: str = "b") -> str:
    octets = text.encode(charset)
    if kind == "b":
        content = base64.b64encode(octets).decode()
    else:
        content = "".join(f"={octet:02x}" for octet in octets)
    return f"=?{charset}?{kind}?{content}?="


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text,
        as_word,
        lambda text: as_word(text, kind="q"),
        lambda text: as_word(text, kind="Q").replace("utf-8", "UTF-8*en"),
        lambda text: as_word(text, "utf-16-le"),
        lambda text: as_word(text, "utf-7"),
        lambda text: as_word(text).replace("utf-8", "no-such-charset"),
        lambda text: f"ok {as_word(text)}",
        lambda text: as_word(as_word(text)),
        lambda text: as_word(as_word(as_word(text), kind="q")),
    ],
)
@pytest.mark.parametrize("field", ["subject", "headers.X-Foo", "to"])
def test_line_breaks_are_refused_in_any_disguise(
    field: str, disguise: Any, line_break: str
) -> None:
    value = disguise(f"a{line_break}Bcc: victim")
    if field == "to":
        value = f"{value} <a@b>"
    values = {"headers": {"X-Foo": value}} if "." in field else {field: value}

    error = refused(**values)

    assert error.field == field
    assert "control character" in error.detail
    assert "victim" not in str(error)


@pytest.mark.parametrize(
    "value",
    [
        "=?utf-7?q?+AA0A?= =?utf-7?q?Cg-?=",  # a line break cut in two
        "=?unicode_escape?q?\\x0aBcc:_x?=",  # a codec of Python's own
        "=?cp037?q?=25?=",  # EBCDIC: LF
        "=?utf-8?q?a\u2028b?=",
        "=?x?b?Cg?=",
        "=?utf-16-le?b?Cg?=",  # half a character, but a line break for readers without UTF-16
        "=?utf-8?q?=E2=80?= =?utf-8?q?=A8?=",  # a character cut in two
        "=?utf-7?q?+?= =?utf-7?q?+AAo-?=",  # a line break only while not joined
    ],
)
def test_further_disguises_are_refused(value: str) -> None:
    assert refused(subject=value).field == "subject"


@pytest.mark.parametrize(
    "value",
    ["=?utf-8?q?caf=C3=A9?=", "=?utf-8?b?!!!?=", "a =? b ?= c", "=?=?=?="],
)
def test_harmless_encoded_words_are_plain_text(value: str) -> None:
    assert composed(subject=value).subject == value


@pytest.mark.parametrize(
    "name", ["X-Foo", "x-foo_bar", "List-Unsubscribe", "list-id", "References", "IN-REPLY-TO",
             "Auto-Submitted", "Precedence", "Importance", "Priority", "Feedback-ID",
             "Organization", "Comments", "Keywords"],
)  # fmt: skip
def test_allowed_headers(name: str) -> None:
    assert composed(headers={name: "v"}).headers == {name: "v"}


@pytest.mark.parametrize(
    "name", ["Bcc", "To", "From", "Sender", "Subject", "Date", "Message-ID", "Reply-To", "Received",
             "Return-Path", "Content-Type", "MIME-Version", "DKIM-Signature", "Resent-To", "Foo",
             "X-", "", "X-Foo:", "X-Foo: a\r\nBcc", "X-Foo\n", "X Foo", "X-Föö", "X-a@b.example",
             "X-" + "a" * 80],
)  # fmt: skip
def test_other_headers_are_refused(name: str) -> None:
    error = refused(headers={"X-First": "v", name: "v"})

    assert error.field in (f"headers.{name}", "headers[1]")
    assert "example" not in str(error)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ([], "headers"),
        ({1: "v"}, "headers[0]"),
        ({"X-Foo": 1}, "headers.X-Foo"),
        ({"X-Foo": "a", "x-foo": "b"}, "headers.x-foo"),
        ({"List-Id": "é"}, "headers.List-Id"),
        ({"References": ""}, "headers.References"),
        ({"References": "a" * 998}, "headers.References"),
        ({"X-Foo": "a" * 8193}, "headers.X-Foo"),
        ({f"X-{n}": "v" for n in range(51)}, "headers"),
    ],
)
def test_bad_headers_are_refused(headers: Any, field: str) -> None:
    assert refused(headers=headers).field == field


# -- the rest


@pytest.mark.parametrize("field", ["subject", "text", "html"])
@pytest.mark.parametrize("value", [1, b"x", ["x"], "\ud800", "a\udfffb"])
def test_what_is_not_text_is_refused(field: str, value: object) -> None:
    error = refused(**{field: value})

    assert error.field == field


def test_subject_and_text_may_be_empty() -> None:
    assert composed(subject="", text="").subject == ""


def test_a_mail_travels_as_json_and_does_not_show() -> None:
    mail = composed(html="<p>", cc="Ü <u@example.com>", headers={"X-Foo": "bar"})

    assert msgspec.json.decode(msgspec.json.encode(mail), type=Mail) == mail
    assert repr(mail) == "<Mail, 2 recipients>"


def test_a_quote_without_an_end_is_read_once() -> None:
    text = '"' + '\\"' * 200_000  # takes minutes where it is looked for again at each quote

    assert list(split_mailboxes(text)) == [text]
