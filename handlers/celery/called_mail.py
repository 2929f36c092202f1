"""Turns a call of the task ``sendmail`` into a mail to be accepted, as any other mail is.

Celery's delays and expiries become the mail's own times: otherwise Celery would drop an expired
mail, and the ledger would not record it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from celery import Task

from access import Caller
from bridge.sending.options import normalise
from handlers.accepting.outgoing import Outgoing, outgoing
from handlers.celery import tasks
from handlers.emails.arguments import check_ahead, check_expiry


def called_mail(
    task: Task,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    *,
    caller: Caller,
) -> Outgoing:
    """Return the mail of a call with these options of ``apply_async``, ready to be accepted.

    Raises:
        InvalidArgument, InvalidOption, InvalidMessage, TooLarge, SenderRefused
        Problem: 422, naming the time that cannot be used.
    """
    arguments = tasks.named_arguments(task, args, kwargs)
    checked, now = normalise(task.app, options), time.time()
    due_at = now + checked.pop("countdown", 0)
    times: dict[str, float] = {}
    if due_at > now:
        check_ahead("countdown" if options.get("eta") is None else "eta", due_at, now)
        times["_scheduled_at"] = due_at
    expiries = _expiries(arguments, checked.pop("expires", None), now)
    for name, moment in expiries.items():
        check_expiry(name, moment, due_at)
    if expiries:
        times["expires_at"] = min(expiries.values())
    return outgoing({**arguments, **times}, checked, caller=caller)


def _expiries(
    arguments: Mapping[str, Any], expires: datetime | float | None, now: float
) -> dict[str, float]:
    """Return the times at which a mail expires, in Unix seconds, by their arguments' names."""
    found: dict[str, float] = {}
    if expires is not None:
        found["expires"] = expires.timestamp() if isinstance(expires, datetime) else now + expires
    if arguments.get("expires_at") is not None:
        found["expires_at"] = arguments["expires_at"]
    return found
