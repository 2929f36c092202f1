"""An attachment as a value, and the checks of its content, name and type."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from mimetypes import MimeTypes
from pathlib import PurePosixPath

import msgspec

from mailing.errors import InvalidMessage, TooLarge
from mailing.header_check import check_text, check_value
from mailing.limits import Limits

#: Longest filename, characters: what file systems take.
FILENAME_LENGTH = 255

_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()
_WHITE_SPACE = b" \t\r\n"
_OCTETS = "application/octet-stream"
# Python's own table, not the machine's, so that every worker builds the same mail; and common
# types that it lacks (IANA's media types).
_OFFICE = "application/vnd.openxmlformats-officedocument"
_TYPES = {
    **MimeTypes().types_map[True],
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".gz": "application/gzip",
    ".ics": "text/calendar",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".webp": "image/webp",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
}
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,64}"  # nosec B105 # RFC 6838 section 4.2, no password
_TYPE = re.compile(rf"({_TOKEN})/{_TOKEN}((?: *; *{_TOKEN}=(?:{_TOKEN}|\"{_TOKEN}\"))*)")
_OWN_PARAMETER = re.compile(r"; *(?:name|boundary)", re.IGNORECASE)
_TYPE_LENGTH = 200
# RFC 2392 wants an addr-spec; mail readers and authors of HTML also use a plain word.
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$&'*+./=?^_`{|}~@-]{1,128}")
# These reverse the text's direction: a name that ends in "gpj.exe" would be shown as "exe.jpg".
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that goes with a mail.

    ``content`` is base64, as it travels in JSON. With a ``content_id`` the HTML can show it, as
    ``<img src="cid:...">``.
    """

    filename: str
    content: str
    content_type: str | None = None
    content_id: str | None = None

    @property
    def size_bytes(self) -> int:
        """Size of the decoded content."""
        return len(self.content) // 4 * 3 - self.content[-2:].count("=")

    def __repr__(self) -> str:
        return f"<Attachment, {self.size_bytes} bytes>"


def check_attachments(attachments: object, limits: Limits) -> tuple[Attachment, ...]:
    """Return attachments whose content is clean base64 and whose type is known.

    Raises:
        TooLarge: the content of one of them is too large.
        InvalidMessage: naming the field, such as ``attachments[0].content``.
    """
    if attachments is None:
        return ()
    if not isinstance(attachments, list | tuple):
        raise InvalidMessage("attachments", "must be a list")
    if len(attachments) > limits.attachments:
        raise InvalidMessage(
            "attachments", f"must not hold more than {limits.attachments} attachments"
        )
    checked: list[Attachment] = []
    for index, value in enumerate(attachments):
        field = f"attachments[{index}]"
        one = _attachment(field, value, limits)
        if one.content_id is not None and one.content_id in {known.content_id for known in checked}:
            raise InvalidMessage(f"{field}.content_id", "is used by another attachment, too")
        checked.append(one)
    return tuple(checked)


def base64_octets(field: str, content: str) -> bytes:
    """Return base64 without its white space, not decoded.

    Raises:
        InvalidMessage: it is not base64 of the standard alphabet with padding (RFC 4648
            section 4).
    """
    octets = content.encode("ascii", "replace").translate(None, _WHITE_SPACE)
    bare = octets.rstrip(b"=")
    if len(octets) % 4 or len(octets) - len(bare) > 2 or bare.translate(None, _ALPHABET):
        raise InvalidMessage(field, "is not base64 with padding (RFC 4648 section 4)")
    return octets


def guessed_type(filename: str) -> str:
    """Return the content type that the filename's extension stands for."""
    guessed = _TYPES.get(PurePosixPath(filename).suffix.lower(), _OCTETS)
    return guessed if _may_be_attached(guessed) else _OCTETS


def _attachment(field: str, value: object, limits: Limits) -> Attachment:
    if isinstance(value, Attachment):
        value = msgspec.structs.asdict(value)
    if not isinstance(value, Mapping):
        raise InvalidMessage(field, "must be an object")
    for name in value:
        if name not in Attachment.__struct_fields__:
            # The name is not shown: it may be any text.
            raise InvalidMessage(field, "has a field that is not known")
    for name in ("filename", "content"):
        if name not in value:
            raise InvalidMessage(f"{field}.{name}", "is missing")
    filename = _filename(f"{field}.filename", value["filename"])
    return Attachment(
        filename=filename,
        content=_content(f"{field}.content", value["content"], limits.attachment_bytes),
        content_type=_content_type(f"{field}.content_type", value.get("content_type"), filename),
        content_id=_content_id(f"{field}.content_id", value.get("content_id")),
    )


def _filename(field: str, value: object) -> str:
    filename = check_value(field, value, FILENAME_LENGTH)
    if filename.strip(" .") == "":
        raise InvalidMessage(field, "is empty")
    if "/" in filename or "\\" in filename:
        raise InvalidMessage(field, "must be a name without a path")
    if _BIDI.search(filename):
        raise InvalidMessage(field, "holds a control character")
    return filename.strip(" ")


def _content(field: str, value: object, limit_bytes: int) -> str:
    if isinstance(value, bytes):  # as a Python program may pass it
        raise InvalidMessage(field, "must be base64 as text, not bytes")
    octets = base64_octets(field, check_text(field, value))
    if len(octets) // 4 * 3 - octets[-2:].count(b"=") > limit_bytes:
        raise TooLarge(field, f"is larger than {limit_bytes} bytes", limit_bytes)
    return octets.decode("ascii")


def _content_type(field: str, value: object, filename: str) -> str:
    if value is None:
        return guessed_type(filename)
    text = check_text(field, value)
    match = _TYPE.fullmatch(text) if len(text) <= _TYPE_LENGTH else None
    if not match or _OWN_PARAMETER.search(match[2]):
        raise InvalidMessage(field, "is not a content type, such as application/pdf")
    if not _may_be_attached(text):
        raise InvalidMessage(field, "must not be multipart or message, which are never base64")
    return text


def _may_be_attached(content_type: str) -> bool:
    """Say whether a type may be base64-encoded (RFC 2046 sections 5.1 and 5.2)."""
    return not content_type.lower().startswith(("multipart/", "message/"))


def _content_id(field: str, value: object) -> str | None:
    if value is None:
        return None
    text = check_text(field, value)
    text = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    if not _CONTENT_ID.fullmatch(text):
        raise InvalidMessage(field, "must be a word of up to 128 ASCII characters")
    return text
