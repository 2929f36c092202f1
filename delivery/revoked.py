"""Mails whose message a worker drops because somebody has revoked it by Celery's own means."""

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
    """Have the ledger record that a mail is canceled; return at once.

    Flower's button and ``AsyncResult.revoke()`` reach the workers, but not the ledger.
    """
    entry = parts.ledger().write(partial(_enter, email_id=email_id))
    entry.add_done_callback(partial(_ended, email_id))


def _enter(connection: Connection, email_id: str) -> None:
    now, keep = time.time(), config.options.ledger_keep == "all"
    try:
        commands.cancel(connection, email_id, api_key=None, keep=keep, now=now)
    except UnknownEmail:
        return  # a Python program sent it, and nothing was tried
    except NotPossible:
        # Perhaps a worker died while sending the mail, and this was its message, redelivered.
        reason = {"error": "The mail was revoked."}
        commands.give_up(
            connection, email_id, reason=reason, payload=None, is_gone=is_gone, now=now
        )


def _ended(email_id: str, entry: Future[None]) -> None:
    error = entry.exception()
    if error is not None:
        logger.warning("mail %s is revoked, and not entered as canceled: %s", email_id, error)
