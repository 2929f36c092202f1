"""Mails whose message died: entering that they have failed, and bringing them back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

import config
from delivery import entry, parts
from delivery.identity import is_gone
from ledger import commands, queries
from ledger.accept import enter
from ledger.errors import NotPossible, UnknownEmail
from ledger.values import WAITING
from mailing import InvalidMessage


def bury(email_id: str, arguments: Mapping[str, Any] | None, detail: str) -> None:
    """Enter that a mail's message lies in the dead queue, so that the mail has failed.

    Args:
        arguments: of its task; None: they cannot be read.
        detail: why the message died.

    Raises:
        LedgerUnavailable
        NotPossible: an attempt may still be running; ask again later.
    """
    new = None
    if arguments is not None:
        try:
            new = entry.new_email(email_id, arguments, keep=False)
        except InvalidMessage:
            arguments = None  # entered at its acceptance, or it was never a mail
    payload = None if arguments is None else entry.payload(arguments)

    def operation(connection: Connection) -> None:
        if new is not None:
            enter(connection, [new])
        try:
            commands.give_up(
                connection,
                email_id,
                reason={"error": f"The message went to the dead queue: {detail}.", "dead": True},
                payload=payload,
                is_gone=is_gone,
                now=time.time(),
            )
        except UnknownEmail:
            return

    parts.ledger().commit(operation)


def revive(email_id: str) -> dict[str, Any] | None:
    """Queue a failed or held mail again, and return the arguments that its message must have.

    None: the mail needs no message, as it is sent or canceled, or nobody knows it.

    Raises:
        LedgerUnavailable
        NotPossible: an attempt may still be running.
    """
    now = time.time()
    try:
        sendable = parts.ledger().commit(
            partial(
                commands.retry,
                email_id=email_id,
                api_key=None,
                expires_at=now + config.options.mail_retry_for_s,
                now=now,
            )
        )
        return {**msgspec.json.decode(sendable.payload), entry.TRACK: sendable.track}
    except UnknownEmail:
        return None
    except NotPossible as exc:
        if exc.status not in WAITING:
            if exc.status in ("sent", "canceled"):
                return None
            raise
    return _of_interrupted(email_id)


def _of_interrupted(email_id: str) -> dict[str, Any] | None:
    """Return the arguments for a mail that an earlier replay has revived, but not published."""

    def query(connection: Connection) -> dict[str, Any] | None:
        mail = queries.get(connection, email_id=email_id, api_key=None)
        payload = queries.payload(connection, email_id=email_id)
        if mail is None or payload is None:
            return None
        return {**msgspec.json.decode(payload), entry.TRACK: mail.track}

    return parts.ledger().read(query)
