"""Mails whose message went to the dead queue: recording their failure, queueing them again."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

import config
from delivery import entry, parts, retention
from delivery.identity import is_gone
from ledger import NewEmail, commands, queries
from ledger.accept import enter
from ledger.errors import EntryRefused, NotPossible, UnknownEmail
from ledger.outcomes import keep_payload
from ledger.values import WAITING

logger = logging.getLogger(__name__)


class DeadMail(msgspec.Struct, frozen=True, kw_only=True):
    """What a message in the dead queue says about its mail.

    ``detail``: why the message is there. ``track``: its number; ``payload``: the mail's arguments
    as JSON; both None if the message cannot be read. ``new``: the mail's entry for the ledger;
    None if the message cannot be read, or the mail is not valid.
    """

    id: str
    detail: str
    track: int | None = None
    payload: bytes | None = None
    new: NewEmail | None = None

    @classmethod
    def of(
        cls, email_id: str, arguments: Mapping[str, Any] | None, detail: str, moment: Any = None
    ) -> DeadMail:
        """Read a dead message.

        Args:
            arguments: of the mail's task; None: they cannot be read.
            moment: the message's header ``accepted_at``.
        """
        plain = cls(id=email_id, detail=detail)
        if arguments is None:
            return plain
        try:
            track = int(arguments.get(entry.TRACK, 1))
            plain = msgspec.structs.replace(plain, track=track, payload=entry.payload(arguments))
            new = entry.new_email(email_id, arguments, keep=False, moment=moment)
        except Exception as exc:  # noqa: BLE001 - of any type; an error would requeue it for ever
            logger.info("mail %s cannot be entered (%s)", email_id, type(exc).__name__)
            return plain
        return msgspec.structs.replace(plain, new=new)


def record_dead(mail: DeadMail) -> None:
    """Record that a mail has failed because its message is in the dead queue.

    A mail that has ended stays as it is; so does one that has a newer message, unless it is
    delayed. A mail without a row (a Python program sent it) is entered first.

    Raises:
        LedgerUnavailable
        NotPossible: an attempt may still be running; call again later.
    """
    try:
        parts.ledger().commit(lambda connection: _record_dead(connection, mail), order=mail.id)
    except EntryRefused:
        # The database cannot hold the mail, so it has no row that could say "failed".
        logger.warning("mail %s cannot be entered", mail.id)


def requeue(mail: DeadMail, *, held: bool) -> dict[str, Any] | None:
    """Mark a failed or held mail as queued, and return the arguments that its message must have.

    None: the mail needs no new message: it is sent or canceled, its message is in the queue, or
    the ledger neither knows it nor may enter it. ``held``: also send a mail held as uncertain.

    Raises:
        LedgerUnavailable
        NotPossible: an attempt may still be running; or the content is not kept; or the mail is
            held as uncertain, and ``held`` is False.
    """

    def operation(connection: Connection) -> dict[str, Any] | None:
        now = time.time()
        known = queries.get(connection, email_id=mail.id, api_key=None)
        if known is None and (mail.new is None or mail.new.expires_at < now):
            return None  # perhaps it was sent long ago, and its record is pruned
        _record_dead(connection, mail)  # perhaps no worker has done so yet
        return _requeue(connection, mail, held, now)

    return parts.ledger().commit(operation, order=mail.id)


def _record_dead(connection: Connection, mail: DeadMail) -> None:
    if mail.new is not None and not retention.is_forgotten(connection, mail.new):
        enter(connection, [mail.new])
    reason = {"error": f"The message went to the dead queue: {mail.detail}.", "dead": True}
    try:
        commands.give_up(
            connection,
            mail.id,
            reason=reason,
            payload=mail.payload,
            is_gone=is_gone,
            now=time.time(),
            track=mail.track,
        )
    except UnknownEmail:
        return


def _requeue(
    connection: Connection, mail: DeadMail, held: bool, now: float
) -> dict[str, Any] | None:
    row = queries.get(connection, email_id=mail.id, api_key=None)
    if row is None or row.status in ("sent", "canceled"):
        return None
    if row.status in WAITING:
        # An earlier replay has queued it, and may have ended before it published the message.
        payload = queries.payload(connection, email_id=mail.id)
        return None if payload is None else _arguments(payload, row.track)
    if row.status == "uncertain" and not held:
        raise NotPossible(row.status, "The mail is held: name it to send it, perhaps again.")
    keep_payload(connection, mail.id, mail.payload)
    expires_at = now + config.options.mail_retry_for_s
    sendable = commands.retry(connection, mail.id, api_key=None, expires_at=expires_at, now=now)
    return _arguments(sendable.payload, sendable.track)


def _arguments(payload: bytes, track: int) -> dict[str, Any]:
    return {**msgspec.json.decode(payload), entry.TRACK: track}
