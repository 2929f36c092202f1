"""Makes a mail, its octets and its entry for the ledger from the arguments of the mail's task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from inspect import signature
from typing import Any

import msgspec

import config
import mailing
from bridge.ids import created_at
from delivery import parts
from ledger import NewEmail
from ledger.values import Kind, Scalar, TagName, TagText, To
from mailing.address import Mailbox

#: The arguments that make the mail itself.
CONTENT = tuple(name for name in signature(mailing.compose).parameters if name != "limits")
#: Limits of tags and metadata, since every list of mails shows them, as long as the row is kept.
TAGS = 50
METADATA_MEMBERS = 50
METADATA_BYTES = 8192
#: The argument that holds the message's number; all the others describe the mail.
TRACK = "_track"


def compose(arguments: Mapping[str, Any]) -> mailing.Mail:
    """Check a mail's arguments and return the mail.

    Raises:
        InvalidMessage: naming the argument.
    """
    given = {name: arguments[name] for name in CONTENT if arguments.get(name) is not None}
    given.setdefault("from_", config.options.mail_from)
    for name in ("subject", "text", "to"):
        given.setdefault(name, "")
    return mailing.compose(**given, limits=parts.limits())


def accepted_at(email_id: str, otherwise: float | None = None) -> float:
    """Return when a mail was accepted: by its id, else ``otherwise``, else now."""
    return created_at(email_id) or otherwise or time.time()


def content(mail: mailing.Mail, email_id: str, moment: float) -> bytes:
    """Return a mail's octets, DKIM-signed if that is set; the same octets for each attempt.

    Raises:
        KeyUnusable
    """
    when = datetime.fromtimestamp(moment, UTC)
    octets = mailing.build(mail, mail_id=email_id, accepted_at=when)
    signer = parts.signer()
    return signer.sign(octets, signed_at=when) if signer else octets


def new_email(
    email_id: str,
    arguments: Mapping[str, Any],
    *,
    keep: bool,
    mail: mailing.Mail | None = None,
    moment: float | None = None,
) -> NewEmail:
    """Return a mail's entry for the ledger. ``moment``: when it was accepted, if the id contains no
    time; ``keep``: store the content at once, not only if the mail fails.

    Raises:
        InvalidMessage: naming the argument.
    """
    mail = mail or compose(arguments)
    begin = accepted_at(email_id, moment)
    expires_at = _moment("expires_at", arguments.get("expires_at"))
    scheduled_at = arguments.get("_scheduled_at")
    longest = max(scheduled_at or begin, begin) + config.options.mail_retry_for_s
    return NewEmail(
        id=email_id,
        api_key=arguments.get("_api_key") or "",
        sender=str(mail.from_),
        subject=mail.subject,
        recipients=recipients(mail),
        tags=_tags(arguments.get("tags") or {}),
        metadata=_metadata(arguments.get("metadata") or {}),
        on_uncertain=arguments.get("on_uncertain") or "retry",
        created_at=begin,
        scheduled_at=scheduled_at,
        expires_at=longest if expires_at is None else min(expires_at, longest),
        payload=payload(arguments),
        keep=keep or scheduled_at is not None,
    )


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not tags:  # as in most mails: this saves 4 µs, and 6 for metadata
        return {}
    try:
        checked = msgspec.convert(tags, dict[TagName, TagText])
    except msgspec.ValidationError as exc:
        raise mailing.InvalidMessage("tags", str(exc).replace("`", "")) from None
    if len(checked) > TAGS:
        raise mailing.InvalidMessage("tags", f"must not be more than {TAGS}")
    return checked


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the metadata as the ledger keeps them.

    Raises:
        InvalidMessage: they are too many or too large, or one is no scalar.
    """
    if not metadata:
        return {}
    try:
        plain = msgspec.to_builtins(metadata)  # Python programs may pass datetimes and Decimals
        checked = msgspec.convert(plain, dict[str, Scalar])
        size_bytes = len(msgspec.json.encode(checked))
    except (TypeError, ValueError) as exc:  # ValidationError is a ValueError
        raise mailing.InvalidMessage("metadata", str(exc).replace("`", "")) from None
    if len(checked) > METADATA_MEMBERS:
        detail = f"must not have more than {METADATA_MEMBERS} members"
        raise mailing.InvalidMessage("metadata", detail)
    if size_bytes > METADATA_BYTES:
        raise mailing.InvalidMessage("metadata", f"must not be over {METADATA_BYTES} bytes")
    return checked


def _moment(field: str, moment: float | None) -> float | None:
    """Return ``moment`` (Unix seconds), checked.

    Raises:
        InvalidMessage: it is before 1970, or not a number.
    """
    if moment is not None and not moment >= 0:
        raise mailing.InvalidMessage(field, "must not be before 1970")
    return moment


def payload(arguments: Mapping[str, Any]) -> bytes:
    """Return the arguments as the ledger keeps them."""
    return msgspec.json.encode({k: v for k, v in arguments.items() if k != TRACK and v is not None})


def recipients(mail: mailing.Mail) -> tuple[To, ...]:
    """Return the envelope's recipients: each address once, with its first kind (to, cc, bcc)."""
    found: dict[str, To] = {}
    fields: tuple[tuple[Kind, tuple[Mailbox, ...]], ...] = (
        ("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc),
    )  # fmt: skip
    for kind, mailboxes in fields:
        for one in mailboxes:
            found.setdefault(one.address, To(kind=kind, mailbox=str(one), address=one.address))
    return tuple(found.values())
