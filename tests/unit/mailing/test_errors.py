"""Errors show nothing private, and survive the proxies that Celery sends them on."""

from __future__ import annotations

import json
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing import (
    DeliveryError,
    InvalidMessage,
    MailError,
    PermanentFailure,
    RcptReply,
    TransientFailure,
    Uncertain,
)
from mailing.masking import mask
from mailing.reply import TEXT_LENGTH, parse

DELIVERY_ERRORS = (PermanentFailure, TransientFailure, Uncertain)
REFUSED = (RcptReply(address="ann@example.com", code=550, text="no", enhanced="5.1.1"),)


@pytest.mark.parametrize("kind", DELIVERY_ERRORS)
def test_a_delivery_error_carries_the_reply(kind: type[DeliveryError]) -> None:
    error = kind(550, "<ann@example.com>: unknown", "5.1.1", refused=REFUSED)

    assert (error.code, error.text, error.enhanced) == (550, "<…>: unknown", "5.1.1")
    assert str(error) == "550 5.1.1 <…>: unknown"
    assert error.refused == REFUSED
    assert "ann" not in repr(error)
    assert isinstance(error, MailError)


@pytest.mark.parametrize("kind", DELIVERY_ERRORS)
def test_the_docstring_is_the_default_message(kind: type[DeliveryError]) -> None:
    assert str(kind()) == (kind.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(
    "error",
    [kind(550, "no", "5.1.1", refused=REFUSED) for kind in DELIVERY_ERRORS]
    + [kind() for kind in DELIVERY_ERRORS]
    + [InvalidMessage("to[1]", "is wrong")],
)
def test_errors_survive_pickle_and_json(error: MailError) -> None:
    pickled = pickle.loads(pickle.dumps(error))
    rebuilt = type(error)(*json.loads(json.dumps(error.args)))

    assert vars(pickled) == vars(error)
    assert type(pickled) is type(rebuilt) is type(error)
    assert str(pickled) == str(rebuilt) == str(error)


def test_invalid_message_names_the_field() -> None:
    error = InvalidMessage("headers.<a@b>", "must not be a@b")

    assert str(error) == "headers.<…>: must not be …"
    assert (error.field, error.detail) == error.args


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("<user@example.com>: unknown", "<…>: unknown"),
        ("mailbox user@example.com, full", "mailbox …, full"),
        ('"john doe"@example.com is bad', "… is bad"),
        ('<"a>b"@example.com> is bad', "<…> is bad"),
        ('"a\\"b"@example.com', "…"),
        ("<@relay,@other:user@example.com> no", "<…> no"),
        ("user(comment)@example.com", "…"),
        ("user @ example.com", "…"),
        ("user@[192.0.2.1] no", "… no"),
        ("o'brien+tag=x@example.com.", "…"),
        ("mailto:a@b,c@d", "mailto:…,…"),
        ("user%example.com@relay", "…"),
        ("SPF: http://spf.test/why?id=user%40example.com;ip=::1", "SPF: http://spf.test/why?…;ip=::1"),
        ("user\uff20example.com and a&#64;b", "… and …"),
        ("用户@例子.公司", "…"),
        ("250 queued as 4F1 <host.example.com>", "250 queued as 4F1 <host.example.com>"),
    ],
)  # fmt: skip
def test_addresses_are_masked(text: str, masked: str) -> None:
    if "why?" in text:  # the query's name may go with the address
        assert "user" not in mask(text)
    else:
        assert mask(text) == masked


local_parts = st.one_of(
    st.text("LOCAL09!#$%&'*+/=?^_`{|}~.-\u00e9", max_size=9).map("LOCAL{}".format),
    st.text(" !#<>@,;:()LOCAL", max_size=9).map('"LOCAL{}"'.format),
    st.text(' "\\@>', max_size=5).map(
        lambda text: '"LOCAL' + "".join(f"\\{character}" for character in text) + '"'
    ),
)


@given(
    before=st.sampled_from(["", "a ", "a <", "a:", "<", "(", "a,", "'"]),
    local=local_parts,
    domain=st.sampled_from(["host.example", "[192.0.2.1]", "h\u00f6st.example", "-.example"]),
    after=st.sampled_from(["", " a", "> a", ":", ",b", ")", ">: a <b>"]),
)
def test_any_address_anywhere_is_masked(before: str, local: str, domain: str, after: str) -> None:
    masked = mask(f"{before}{local}@{domain}{after}")

    assert not {"LOCAL", "example", "192", "@"} & set(re.findall(r"LOCAL|example|192|@", masked))
    assert mask(masked) == masked


def test_private_words_are_masked() -> None:
    assert mask("no: 'A Secret Plan' is spam", ["a secret plan"]) == "no: '…' is spam"
    assert mask("hi is short", ["hi"]) == "hi is short"


def test_a_reply_is_parsed() -> None:
    reply = parse(550, b"5.1.1 The account\n5.1.1  <a@b>\x00 does\tnot exist")

    assert not reply.accepted
    assert not reply.transient
    assert reply == (550, "The account <…> does not exist", "5.1.1")


@pytest.mark.parametrize(
    ("code", "raw", "text", "enhanced"),
    [
        (250, b"OK", "OK", None),
        (250, b"5.1.1 is no 250", "5.1.1 is no 250", None),
        (250, b"2.0.0", "", "2.0.0"),
        (421, b"4.3.2 bye", "bye", "4.3.2"),
        (550, "5.7.1 né \ufffd".encode(), "né \ufffd", "5.7.1"),
        (550, b"\xff", "\ufffd", None),
    ],
)
def test_replies_of_all_kinds(code: int, raw: bytes, text: str, enhanced: str | None) -> None:
    assert parse(code, raw) == (code, text, enhanced)


def test_an_essay_is_cut() -> None:
    assert len(parse(550, b"word " * 10_000).text) == TEXT_LENGTH


@given(st.integers(200, 599), st.binary(max_size=200))
def test_any_reply_is_one_printable_line(code: int, raw: bytes) -> None:
    text = parse(code, raw).text

    assert "@" not in text
    assert len(text.splitlines()) <= 1


@pytest.mark.parametrize(
    ("code", "enhanced", "transient"),
    [
        (450, None, True),
        (421, None, True),
        (550, None, False),
        (552, None, True),  # too many recipients, as RFC 821 said it
        (552, "5.5.3", True),
        (552, "5.2.2", False),  # mailbox full
        (530, None, True),
        (535, "5.7.8", True),
        (250, None, False),
    ],
)
def test_which_recipients_are_worth_another_try(
    code: int, enhanced: str | None, transient: bool
) -> None:
    recipient = RcptReply(address="a@b", code=code, text="", enhanced=enhanced)

    assert recipient.transient is transient
    assert "a@b" not in repr(recipient)
