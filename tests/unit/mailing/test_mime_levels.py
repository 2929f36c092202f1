"""The levels of a mail with HTML, images and files, and what stands in them."""

from __future__ import annotations

from email.message import MIMEPart
from typing import Any

import msgspec
import pytest

from mailing import Attachment, InvalidMessage
from tests.readers import assert_well_formed, parsed
from tests.unit.mailing.mime_parts import built, composed, part


def shape(message: MIMEPart) -> Any:
    if not message.is_multipart():
        return message.get_content_type()
    return (message.get_content_subtype(), *(shape(one) for one in message.iter_parts()))


PNG, PDF = part("logo.png", content_id="logo"), part("a.pdf")
PLAIN, HTML, IMAGE, FILE = "text/plain", "text/html", "image/png", "application/pdf"


@pytest.mark.parametrize(
    ("text", "html", "files", "expected"),
    [
        ("t", None, [], PLAIN),
        ("t", "", [], PLAIN),
        ("", None, [], PLAIN),
        ("", "", [], PLAIN),
        ("", "<p>", [], HTML),
        ("t", "<p>", [], ("alternative", PLAIN, HTML)),
        ("t", None, [PDF], ("mixed", PLAIN, FILE)),
        ("t", "", [PNG], ("mixed", PLAIN, IMAGE)),
        ("", "<p>", [PNG], ("related", HTML, IMAGE)),
        ("", "<p>", [PDF], ("mixed", HTML, FILE)),
        ("t", "<p>", [PNG], ("related", ("alternative", PLAIN, HTML), IMAGE)),
        (
            "t",
            "<p>",
            [PDF, PNG],
            ("mixed", ("related", ("alternative", PLAIN, HTML), IMAGE), FILE),
        ),
    ],
)
def test_a_mail_has_only_the_levels_that_it_needs(
    text: str, html: str | None, files: list[Attachment], expected: Any
) -> None:
    content = built(composed(text=text, html=html, attachments=files))

    assert_well_formed(content)
    assert shape(parsed(content)) == expected


def test_a_mail_with_an_image_and_a_file_reads_as_a_person_expects() -> None:
    content = built(composed(html="<p>", attachments=[PNG, part("Übersicht 2026.pdf")]))

    seed = content.partition(b'boundary="=_m')[2][:40]
    assert content.partition(b"MIME-Version")[2].replace(seed, b"#").decode() == "\r\n".join(
        [
            ": 1.0",
            "Content-Type: multipart/mixed;",
            ' boundary="=_m#"',
            "",
            "--=_m#",
            'Content-Type: multipart/related; type="multipart/alternative";',
            ' boundary="=_r#"',
            "",
            "--=_r#",
            "Content-Type: multipart/alternative;",
            ' boundary="=_a#"',
            "",
            "--=_a#",
            'Content-Type: text/plain; charset="utf-8"',
            "Content-Transfer-Encoding: 7bit",
            "",
            "t",
            "",
            "--=_a#",
            'Content-Type: text/html; charset="utf-8"',
            "Content-Transfer-Encoding: 7bit",
            "",
            "<p>",
            "",
            "--=_a#--",
            "",
            "--=_r#",
            "Content-Type: image/png",
            "Content-Disposition: inline;",
            ' filename="logo.png"',
            "Content-Transfer-Encoding: base64",
            "Content-ID: <logo>",
            "",
            "AP8gZGF0YQ==",
            "",
            "--=_r#--",
            "",
            "--=_m#",
            "Content-Type: application/pdf;",
            ' name="Ubersicht 2026.pdf"',
            "Content-Disposition: attachment;",
            " filename*=utf-8''%C3%9Cbersicht%202026.pdf",
            "Content-Transfer-Encoding: base64",
            "",
            "AP8gZGF0YQ==",
            "",
            "--=_m#--",
            "",
        ]
    )


def test_an_image_is_what_the_html_refers_to() -> None:
    html = '<img src="cid:logo">'

    message = parsed(built(composed(html=html, attachments=[PNG])))

    root, image = message.iter_parts()
    assert message["Content-Type"].params["type"] == root.get_content_type()
    assert image["Content-ID"] == "<logo>"


def test_base64_lines_are_short_and_whole() -> None:
    content = bytes(range(256)) * 100

    message = built(composed(attachments=[part("a.bin", content)]))

    assert max(map(len, message.split(b"\r\n"))) <= 76
    [attached] = parsed(message).iter_attachments()
    assert attached.get_content() == content


def test_an_empty_file_may_be_attached() -> None:
    [attached] = parsed(built(composed(attachments=[part("a.bin", b"")]))).iter_attachments()

    assert attached.get_content() == b""


@pytest.mark.parametrize(
    "values",
    [
        {"content": "AAAA\r\n--=_m"},
        {"content": "é==="},
        {"content_type": "text/plain\r\nX-Evil: 1"},
        {"content_id": "a>\r\nX-Evil: 1"},
    ],
)
def test_an_attachment_that_was_not_composed_can_not_break_out(values: dict[str, str]) -> None:
    one = Attachment(**{"filename": "a", "content": "AAAA", "content_id": "a", **values})
    mail = msgspec.structs.replace(composed(html="<p>"), attachments=(one,))

    with pytest.raises(InvalidMessage):
        built(mail)
    if "content_id" in values:  # written with HTML alone
        built(msgspec.structs.replace(mail, html=None))


def test_an_uncomposed_attachment_gets_the_type_of_its_name() -> None:
    one = Attachment(filename="a.pdf", content="AAAA")
    mail = msgspec.structs.replace(composed(), attachments=(one,))

    assert shape(parsed(built(mail))) == ("mixed", PLAIN, FILE)
