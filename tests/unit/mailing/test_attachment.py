"""Attachments: what ``compose`` takes, and how it names what it does not take."""

from __future__ import annotations

import base64
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing import Attachment, InvalidMessage, Limits, Mail, TooLarge, compose

HELLO = "SGVsbG8="


def composed(*attachments: Any, **values: Any) -> Mail:
    return compose("s", "t", "a@b", from_="me@b", attachments=attachments, **values)


def refused(*attachments: Any, **values: Any) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        composed(*attachments, **values)
    return caught.value


def one(**values: object) -> dict[str, object]:
    return {"filename": "a.pdf", "content": HELLO, **values}


def test_an_attachment_is_an_object_or_a_value() -> None:
    expected = Attachment(filename="a.pdf", content=HELLO, content_type="application/pdf")

    assert composed(one(content_type=None, content_id=None)).attachments == (expected,)
    assert composed(expected).attachments == (expected,)


def test_no_attachments_are_none() -> None:
    assert compose("s", "t", "a@b", from_="me@b", attachments=None).attachments == ()


def test_a_mail_with_attachments_travels_as_json_and_does_not_show() -> None:
    mail = composed(one(content_id="logo"))

    assert msgspec.json.decode(msgspec.json.encode(mail), type=Mail) == mail
    assert repr(mail.attachments) == "(<Attachment, 5 bytes>,)"


@pytest.mark.parametrize(
    ("attachments", "field", "detail"),
    [
        ("a", "attachments", "list"),
        ({"filename": "a"}, "attachments", "list"),
        (["a"], "attachments[0]", "object"),
        ([one(), None], "attachments[1]", "object"),
        ([{}], "attachments[0].filename", "missing"),
        ([{"filename": "a"}], "attachments[0].content", "missing"),
        ([one(path="https://example.com/secret")], "attachments[0]", "not known"),
        ([one(**{"secret@example.com": 1})], "attachments[0]", "not known"),
        ([{1: 2}], "attachments[0]", "not known"),
    ],
)
def test_what_is_no_attachment_is_refused(attachments: Any, field: str, detail: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        compose("s", "t", "a@b", from_="me@b", attachments=attachments)

    assert caught.value.field == field
    assert detail in caught.value.detail
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["A", "AA", "AAA", "AAAA=", "A===", "====", "AA=A", "=AAA", "AAAA-_AA", "AA.A", "é===",
     "AAAA AAA", "data:text/plain;base64,AAAA", "AAAA\x00", "AAAA\u00a0",
     "AAAA\r\n--=_m\r\n", "AAAAAA==" * 2],
)  # fmt: skip
def test_what_is_not_base64_is_refused(content: str) -> None:
    error = refused(one(content=content))

    assert (error.field, error.detail[:13]) == ("attachments[0].content", "is not base64")


@pytest.mark.parametrize("content", [None, 1, b"AAAA", [72], "\ud800"])
def test_content_is_text(content: object) -> None:
    assert refused(one(), one(content=content)).field == "attachments[1].content"


def test_the_bytes_of_a_file_are_no_content_until_they_are_base64() -> None:
    assert refused(one(content=b"%PDF-1.7")).detail == "must be base64 as text, not bytes"


def test_white_space_in_base64_is_nothing() -> None:
    [attachment] = composed(one(content=" SGVs\r\nbG8\t=\n")).attachments

    assert attachment.content == HELLO


@given(st.binary(max_size=100), st.booleans())
def test_any_octets_may_be_attached(octets: bytes, in_lines: bool) -> None:
    encode = base64.encodebytes if in_lines else base64.b64encode

    [attachment] = composed(one(content=encode(octets).decode())).attachments

    assert base64.b64decode(attachment.content, validate=True) == octets
    assert attachment.size_bytes == len(octets)


@pytest.mark.parametrize(
    ("filename", "detail"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (".", "empty"),
        ("..", "empty"),
        ("a/b", "path"),
        ("..\\b", "path"),
        ("a\nb", "control"),
        ("a\r\nX-Evil: 1", "control"),
        ("a\x00", "control"),
        ("a\u2028b", "control"),
        ("a\u202egpj.exe", "control"),
        ("=?utf-8?q?a=0Ab?=", "encoded"),
        ("a" * 256, "longer"),
        ("\ud800", "surrogate"),
        (1, "text"),
        (None, "text"),
    ],
)
def test_bad_filenames_are_refused(filename: object, detail: str) -> None:
    error = refused(one(filename=filename))

    assert error.field == "attachments[0].filename"
    assert detail in error.detail


@pytest.mark.parametrize(
    "filename", ["a", ".env", "a b (1).tar.gz", "Übersicht 你好.pdf", 'a"b', "é" * 255]
)
def test_filenames_in_all_scripts(filename: str) -> None:
    assert composed(one(filename=filename)).attachments[0].filename == filename


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PNG", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt", "text/plain"),
        ("a.ics", "text/calendar"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("data:text.html,x", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.nothing", "application/octet-stream"),
        ("a.eml", "application/octet-stream"),  # message/rfc822 may not be base64
    ],
)
def test_the_filename_says_the_content_type(filename: str, expected: str) -> None:
    assert composed(one(filename=filename)).attachments[0].content_type == expected


@pytest.mark.parametrize(
    "content_type",
    ["application/pdf", "image/svg+xml", "text/csv; charset=utf-8",
     'text/calendar; charset="utf-8"; method=REQUEST', "application/vnd.a.b-c+d"],
)  # fmt: skip
def test_content_types(content_type: str) -> None:
    [attachment] = composed(one(content_type=content_type)).attachments

    assert attachment.content_type == content_type


@pytest.mark.parametrize(
    "content_type",
    ["", "pdf", "a/", "/b", "a/b/c", "a b/c", "text/plain\r\nX-Evil: 1", "text/plain;", "é/b", 1,
     "text/plain; name=x", 'text/plain; Boundary="x"', "text/plain; name*=x", "text/plain; a",
     'text/plain; a="b\r\nX-Evil: 1"', 'text/plain; a="b', "a/" + "b" * 65, "\ud800/a",
     "text/plain" + "; a=b" * 40, "multipart/mixed", "Multipart/X", "message/rfc822"],
)  # fmt: skip
def test_bad_content_types_are_refused(content_type: object) -> None:
    assert refused(one(content_type=content_type)).field == "attachments[0].content_type"


@pytest.mark.parametrize("content_id", ["logo", "logo.png", "1@example.com", "<logo>"])
def test_content_ids(content_id: str) -> None:
    [attachment] = composed(one(content_id=content_id)).attachments

    assert attachment.content_id == content_id.strip("<>")


@pytest.mark.parametrize("content_id", ["", "<>", "a b", "a>", "<a", "a\r\n", "é", "a" * 129, 1])
def test_bad_content_ids_are_refused(content_id: object) -> None:
    assert refused(one(content_id=content_id)).field == "attachments[0].content_id"


def test_a_content_id_is_one_attachments_alone() -> None:
    error = refused(one(content_id="a"), one(), one(content_id="<a>"))

    assert error.field == "attachments[2].content_id"


# -- limits


def test_the_number_of_attachments_is_limited() -> None:
    limits = Limits(attachments=2)

    assert len(composed(one(), one(), limits=limits).attachments) == 2
    error = refused(one(), one(), one(), limits=limits)
    assert (error.field, error.detail) == ("attachments", "must not hold more than 2 attachments")
    assert not isinstance(error, TooLarge)


def test_an_attachments_decoded_size_is_limited() -> None:
    [attachment] = composed(
        one(content="SGVs\nbG8="), limits=Limits(attachment_bytes=5)
    ).attachments
    assert attachment.size_bytes == 5
    error = refused(one(), one(content=HELLO), limits=Limits(attachment_bytes=4))
    assert isinstance(error, TooLarge)
    assert error.args == ("attachments[0].content", "is larger than 4 bytes", 4)
    assert error.limit_bytes == 4


@pytest.mark.parametrize(
    ("text", "html", "field"),
    [("tt", "éé", "attachments"), ("x" * 6, None, "text"), ("", "é" * 3, "html")],
)
def test_the_size_of_all_together_is_limited(text: str, html: str | None, field: str) -> None:
    size_bytes = len(text.encode()) + len((html or "").encode()) + len("Hello")
    values: dict[str, Any] = {"from_": "me@b", "html": html, "attachments": [one()]}

    mail = compose("s", text, "a@b", **values, limits=Limits(total_bytes=size_bytes))
    assert mail.text == text
    with pytest.raises(TooLarge) as caught:
        compose("s", text, "a@b", **values, limits=Limits(total_bytes=size_bytes - 1))
    assert caught.value.field == field
    assert caught.value.limit_bytes == size_bytes - 1
    assert str(size_bytes - 1) in str(caught.value)


def test_too_large_survives_pickle_and_json() -> None:
    error = refused(one(), limits=Limits(attachment_bytes=4))
    pickled = pickle.loads(pickle.dumps(error))
    rebuilt = type(error)(*msgspec.json.decode(msgspec.json.encode(error.args)))

    assert vars(pickled) == vars(rebuilt) == vars(error)
    assert str(pickled) == str(rebuilt) == "attachments[0].content: is larger than 4 bytes"


def test_a_mail_of_seven_mebibytes_is_taken_by_default() -> None:
    attachment = one(content=base64.b64encode(bytes(5 * 2**20)).decode())

    assert composed(attachment).attachments[0].size_bytes == 5 * 2**20
    assert isinstance(refused(attachment, attachment), TooLarge)
