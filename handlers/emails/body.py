"""The bodies of requests to ``/emails``: which members there are, and decoding them.

Their names follow Resend's API (https://resend.com/docs/api-reference/emails/send-email).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from handlers.problems import Problem, invalid
from handlers.representation import Moment
from ledger.values import Scalar, TagName, TagText

Addresses = str | list[str]
Octet = Annotated[int, Meta(ge=0, le=255)]

T = TypeVar("T", bound="Member")

#: How many unknown members are named at most; a body may hold a million.
NAMED = 10

_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?(.*)`)?")
_MISSING = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$\.?(.*)`)?")


class Member(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of a body's objects."""


class Tag(Member, frozen=True, kw_only=True):
    """A mail's tag."""

    name: TagName
    value: TagText = ""


class Template(Member, frozen=True, kw_only=True):
    """The template that a mail is rendered from."""

    id: str
    variables: dict[str, Any] = {}


class Attachment(Member, frozen=True, kw_only=True, rename={"content_id_js": "contentId"}):
    """An attachment. ``content``: base64, or as Resend's SDK sends it, the octets' numbers."""

    filename: str | None = None
    content: str | list[Octet] | None = None
    content_type: str | None = None
    content_id: str | None = None
    content_id_js: str | None = None
    inline_content_id: str | None = None
    path: str | None = None


class EmailBody(Member, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The body of a mail. It needs to, cc or bcc; and subject with html or text, or template."""

    to: Addresses | None = None
    from_: str | None = None
    cc: Addresses | None = None
    bcc: Addresses | None = None
    reply_to: Addresses | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    headers: dict[str, str] | None = None
    attachments: list[Attachment] | None = None
    template: Template | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, Scalar] | None = None
    scheduled_at: Moment | None = None
    expires_at: Moment | None = None
    on_uncertain: Literal["retry", "hold"] | None = None


class Rescheduling(Member, frozen=True, kw_only=True):
    """The body of ``PATCH /emails/<id>``; Resend's SDK sends the id once more."""

    scheduled_at: Moment
    id: str | None = None


def read(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Decode a body.

    Raises:
        Problem: 400, it is not JSON; 422, naming the member that is unknown, missing or of a
            wrong type.
    """
    try:
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as exc:
            raise _not_valid(raw, kind, str(exc)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Problem(400, f"The body is not JSON: {exc}.") from None


def _not_valid(raw: bytes | msgspec.Raw, kind: type[T], message: str) -> Problem:
    if match := _UNKNOWN.fullmatch(message):
        name, path = match.groups()
        names = [name] if path else unknown_members(raw, kind)[:NAMED] or [name]
        where = [f"{path}.{name}" if path else name for name in names]
        errors = [{"argument": one, "detail": "is not a known member"} for one in where]
        return Problem(422, f"{', '.join(where)}: is not a known member", errors=errors)
    if match := _MISSING.fullmatch(message):
        name, path = match.groups()
        return missing(f"{path}.{name}" if path else name)
    detail, _, path = message.replace("`", "").partition(" - at $")
    if not path:
        return Problem(422, f"The body is not a JSON object: {detail}.")
    return invalid(path.removeprefix("."), detail)


def unknown_members(raw: bytes | msgspec.Raw, kind: type[Member]) -> list[str]:
    """Return the names of a body's members that are not known."""
    given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return sorted(given.keys() - set(kind.__struct_encode_fields__))


def missing(name: str) -> Problem:
    """Return the 422 that names what is missing."""
    return invalid(name, "is missing", name="missing_required_field")
