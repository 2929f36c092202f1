"""Mails that were revoked by Celery's own means, so that a worker drops their message."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from functools import partial

from sqlalchemy import Connection

import config
from delivery import parts
from delivery.identity import is_gone
from ledger import commands
from ledger.errors import NotPossible, UnknownEmail

logger = logging.getLogger(__name__)


def cancel_revoked(email_id: str) -> None:
    """Start recording in the ledger that a mail is canceled; do not wait for it.

    Flower's button and ``AsyncResult.revoke()`` tell the workers only.
    """
    entry = parts.ledger().write(partial(_enter, email_id=email_id))
    entry.add_done_callback(partial(_ended, email_id))


def _enter(connection: Connection, email_id: str) -> None:
    now, keep = time.time(), config.options.ledger_keep == "all"
    try:
        commands.cancel(connection, email_id, api_key=None, keep=keep, now=now)
    except UnknownEmail:
        return  # it has no row: a Python program sent it, and no attempt was made
    except NotPossible:
        # Perhaps a worker died while sending the mail, and its message was redelivered to us.
        reason = {"error": "The mail was revoked."}
        commands.give_up(
            connection, email_id, reason=reason, payload=None, is_gone=is_gone, now=now
        )


def _ended(email_id: str, entry: Future[None]) -> None:
    error = entry.exception()
    if error is not None:
        logger.warning("mail %s is revoked, and not entered as canceled: %s", email_id, error)
