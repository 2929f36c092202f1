"""``build`` beside the standard library: readers find the same parts, names and octets in both."""

from __future__ import annotations

import base64
from email import policy
from email.message import EmailMessage, MIMEPart
from email.utils import format_datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mailing import Attachment, InvalidMessage, Mail, message_id
from tests.readers import assert_well_formed, parsed
from tests.unit.mailing.mime_parts import ID, NOW, built, composed, part

# -- the reference


def reference(mail: Mail) -> EmailMessage:
    """Build the same mail with the standard library's high-level interface.

    Its headers are read before they are written: Python 3.11.7 loses an address while folding
    (``Xß <a@b>, c@d, e@f`` in a long enough list).
    """
    outer = texts(mail.text, mail.html)
    inline = [one for one in mail.attachments if mail.html and one.content_id]
    if inline:
        outer = around(outer, "related", inline)
    attached = [one for one in mail.attachments if one not in inline]
    if attached:
        outer = around(outer, "mixed", attached)
    fields = {
        "From": [str(mail.from_)],
        "To": [*map(str, mail.to)],
        "Cc": [*map(str, mail.cc)],
        "Reply-To": [*map(str, mail.reply_to)],
        "Subject": [mail.subject],
        "Date": [format_datetime(NOW)],
        "Message-ID": [message_id(mail, ID)],
    }
    for name, values in {**fields, **{k: [v] for k, v in mail.headers.items()}}.items():
        if values:
            outer[name] = ", ".join(values)
    return outer


def texts(text: str, html: str | None) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    if text or not html:
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
    else:
        message.set_content(html, subtype="html")
    return message


def around(inner: EmailMessage, kind: str, files: list[Attachment]) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    getattr(message, f"make_{kind}")()
    del inner["MIME-Version"]
    message.attach(inner)
    for one in files:
        maintype, _, subtype = str(one.content_type).partition("/")
        more = {"cid": f"<{one.content_id}>"} if kind == "related" else {}
        getattr(message, "add_related" if kind == "related" else "add_attachment")(
            base64.b64decode(one.content),
            maintype=maintype,
            subtype=subtype,
            filename=one.filename,
            disposition="inline" if kind == "related" else "attachment",
            **more,
        )
    return message


def tree(message: MIMEPart) -> Any:
    """Return what readers see of a mail's parts."""
    if message.is_multipart():
        return [message.get_content_type(), *(tree(one) for one in message.iter_parts())]
    octets = message.get_payload(decode=True)
    assert isinstance(octets, bytes)
    if message.get_content_disposition() is None:
        octets = octets.replace(b"\r\n", b"\n")
    return (
        message.get_content_type(),
        message.get_content_disposition(),
        message.get_filename(),
        message["Content-ID"],
        octets,
    )


def headers(message: EmailMessage) -> dict[str, str]:
    return {
        name: str(value)
        for name, value in message.items()
        if not name.lower().startswith(("content-", "mime-"))
    }


# -- generated mails

characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
# Single spaces, no encoded words: where the standard library's own folding is trusted.
words = st.lists(
    st.text("abcXYZ019.,:;äß你好\U0001f600'()-", min_size=1, max_size=12), min_size=1, max_size=9
).map(" ".join)
addresses = st.lists(
    st.builds(
        "{} <{}@{}>".format,
        st.text("abcXYZäß你", min_size=1, max_size=20),
        st.from_regex(r"[a-z]{1,9}", fullmatch=True),
        st.sampled_from(["example.com", "bücher.example", "b"]),
    )
    | st.from_regex(r"[a-z]{1,9}@[a-z]{1,9}", fullmatch=True),
    min_size=1,
    max_size=6,
)
lines = st.sampled_from(["", ".", "..", ".x", "From x", "--", "x" * 1200, " ", "a\tb ", "é" * 90])
bodies = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.lists(
    lines | st.text(max_size=80), max_size=8
).map("\r\n".join)
filenames = st.text(characters, min_size=1, max_size=120).filter(
    lambda name: name.strip() == name and not set(name) & set("/\\") and "=?" not in name
)
files = st.lists(
    st.builds(
        part,
        filenames,
        st.binary(max_size=300),
        content_type=st.sampled_from([None, "image/png", "text/csv", "application/x-a.b+c"]),
        content_id=st.none() | st.uuids().map(str),
    ),
    max_size=4,
)


def composed_or_none(**values: Any) -> Mail | None:
    try:
        return composed(**values)
    except InvalidMessage:  # a text that is refused is another test's matter
        return None


@settings(max_examples=60)
@given(
    subject=words,
    text=bodies,
    html=bodies | st.none(),
    to=addresses,
    cc=addresses | st.none(),
    reply_to=addresses | st.none(),
    headers=st.dictionaries(st.sampled_from(["X-Foo", "Comments"]), words),
    attachments=files,
)
def test_readers_see_what_the_standard_library_would_have_shown(**values: Any) -> None:
    mail = composed_or_none(**values)
    if mail is None:
        return
    content = built(mail)

    assert_well_formed(content)
    expected = reference(mail)
    assert tree(parsed(content)) == tree(parsed(expected.as_bytes()))
    assert headers(parsed(content)) == headers(expected)


@given(filenames)
def test_a_filename_survives_in_short_lines(name: str) -> None:
    mail = composed_or_none(attachments=[part(name)])
    if mail is None:
        return
    content = built(mail)

    assert max(map(len, content.split(b"\r\n"))) <= 2 * 78
    attached = list(parsed(content).iter_attachments())
    # Not get_filename(), which takes "<" and ">" off.
    names = [one["Content-Disposition"].params["filename"] for one in attached]
    assert names == [mail.attachments[0].filename]
    assert [one.get_payload(decode=True) for one in attached] == [b"\x00\xff data"]


@given(filenames, filenames)
def test_no_filename_adds_a_header(name: str, other: str) -> None:
    evil = (part(f"{name}\r\nX-Evil: {other}"), part(f'{name}"; x="{other}'))
    mail = msgspec.structs.replace(composed(), attachments=evil)
    try:
        content = built(mail)
    except InvalidMessage:
        return

    first, second = parsed(content).iter_attachments()
    assert "X-Evil" not in first
    assert second["Content-Disposition"].params.keys() == {"filename"}
