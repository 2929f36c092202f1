"""Stops a queued task: a mail is canceled in the ledger, any other task is revoked."""

from __future__ import annotations

import time
from contextlib import suppress

from celery.exceptions import TaskRevokedError
from sqlalchemy import Connection

import config
from access import Caller
from bridge import BridgeError, TaskResult
from handlers.services import Services
from ledger import LedgerUnavailable, NotPossible, UnknownEmail, commands


async def cancel(services: Services, caller: Caller, email_id: str) -> None:
    """Cancel a mail; on success, none of its messages will send it.

    Raises:
        UnknownEmail, NotPossible, LedgerUnavailable
    """
    keep = config.options.ledger_keep == "all"

    def operation(connection: Connection) -> None:
        now = time.time()  # here, so that the timeline is in order: the ledger may have to wait
        commands.cancel(connection, email_id, api_key=caller.sees, keep=keep, now=now)

    await services.ledger.change(operation, order=email_id)
    with suppress(BridgeError):  # the mail is canceled already; this only ends waits for its result
        await services.bridge.record(email_id, "REVOKED", TaskRevokedError("canceled"))


async def stop(
    services: Services, caller: Caller, result: TaskResult, *, ended: bool, terminate: bool
) -> bool:
    """Cancel a mail, or revoke another task; False: the mail is being sent or has ended, or the
    task has ended. ``ended``: whether the task's last state in the results is final; a mail may
    have been queued again since.

    Raises:
        BridgeError: the command could not be sent.
        LedgerUnavailable: ``ended`` is true, but a mail may have been queued again since.
    """
    try:
        await cancel(services, caller, result.id)
    except NotPossible:
        return False
    except UnknownEmail:
        if ended:
            return False
        await result.revoke(terminate=terminate)
    except LedgerUnavailable:
        if ended:
            raise
        await result.revoke(terminate=terminate)  # if it is a mail, the worker drops its message
    return True
