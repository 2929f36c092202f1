"""The Celery app and its tasks. ``celery -A task worker --loglevel=info`` runs them.

This module alone decides what is tried again, when, and for how long.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from celery import Celery, signals, states
from celery.exceptions import Reject
from celery.utils.log import get_task_logger
from msgspec import Meta

import config
import mailing
from bridge import (
    DeclareTopology,
    DurableTask,
    InvalidArgument,
    PrivateTask,
    TaskAMQP,
    bound_warm_shutdown,
)
from bridge.ids import created_at
from mailing import (
    InvalidMessage,
    MailError,
    Recipient,
)

logger = get_task_logger(__name__)

#: Under which id the heartbeat's newest run stands among the results.
HEARTBEAT_ID = "heartbeat"
#: A task may hold its message for so long at most (see ``sleep``), in parts of the limit.
SLEEP_SLICE = 0.9

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Count = Annotated[int, Meta(ge=0, le=100_000)]
Addresses = str | list[str]

# The celery command has the working directory on the path while it imports this module, and
# takes it off again; TASK_PACKAGES are imported later.
sys.path.append(str(Path(__file__).parent))

app = Celery("windmail", amqp=TaskAMQP, task_cls=DurableTask)
app.config_from_object("celeryconfig")
app.steps["consumer"].add(DeclareTopology)
app.autodiscover_tasks(config.task_packages)


# -- mail


class MailTask(PrivateTask):
    """A task that sends a mail."""

    abstract = True
    max_retries = None

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Refuse what is no mail before it is queued."""
        try:
            mailing.compose(**_composed(**arguments))
        except InvalidMessage as exc:
            raise InvalidArgument(exc.field, exc.detail) from exc

    def accepted_at(self) -> datetime:
        """Return when the mail was accepted: every attempt has the same Date."""
        moment = created_at(self.request.id)
        if moment is None:  # an id that Celery's canvas made
            moment = float((self.request.headers or {}).get("accepted_at") or time.time())
        return datetime.fromtimestamp(moment, UTC)

    def time_left_s(self) -> float:
        """Return for how long the mail may still be tried, in seconds."""
        return float(self.accepted_at().timestamp() + config.options.mail_retry_for_s - time.time())


def _composed(*, from_: str | None = None, **values: Any) -> dict[str, Any]:
    return {"from_": from_ or config.options.mail_from, **values}


@cache
def relay() -> mailing.Relay:
    """Return the relay of ``SMTP_URL``."""
    return mailing.Relay.from_url(
        config.options.smtp_url,
        timeout_s=config.options.smtp_timeout_s,
        data_timeout_s=config.options.smtp_data_timeout_s,
        idle_s=config.options.smtp_idle_s,
    )


@app.task(bind=True, base=MailTask)
def sendmail(
    self: MailTask,
    subject: str,
    text: str,
    to: Addresses,
    html: str | None = None,
    from_: str | None = None,
    cc: Addresses | None = None,
    bcc: Addresses | None = None,
    reply_to: Addresses | None = None,
    headers: dict[str, str] | None = None,
    _settled: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Send a mail and return the relay's verdict.

    Tried again, with growing delays, while the relay cannot be reached or answers 4xx, for
    those recipients only whose fate is open (``_settled`` carries the other ones' replies).
    """
    values = _composed(
        subject=subject, text=text, to=to, html=html, from_=from_, cc=cc, bcc=bcc,
        reply_to=reply_to, headers=headers,
    )  # fmt: skip
    mail = mailing.compose(**values)
    settled = [msgspec.convert(recipient, Recipient) for recipient in _settled]
    attempt = mailing.attempt(
        relay(),
        mail,
        mail_id=self.request.id,
        accepted_at=self.accepted_at(),
        before=settled,
        last=self.time_left_s() <= 0,
    )
    settled += attempt.settled
    if attempt.again is not None:
        raise _try_again(self, values, settled, attempt.again, requeue=not attempt.settled)
    return {
        **attempt.reply,
        "message_id": mailing.message_id(mail, self.request.id),
        "accepted": [msgspec.to_builtins(r) for r in settled if r.code < 300],
        "refused": [msgspec.to_builtins(r) for r in settled if r.code >= 300],
    }


def _try_again(
    task: MailTask,
    values: Mapping[str, Any],
    settled: Sequence[Recipient],
    reason: MailError,
    *,
    requeue: bool,
) -> BaseException:
    """Send the task again, later; once its time is over, return the reason instead.

    Published once, since a second copy would be a second mail. Where that fails, the old
    message goes back to the queue (``requeue``); but to the dead queue if the relay has
    accepted the mail for somebody by now, of which the old message does not know.
    """
    left_s = task.time_left_s()
    if left_s <= 0:
        return reason
    first_s, longest_s = config.options.mail_retry_first_s, config.options.mail_retry_longest_s
    delay_s = min(first_s * 4 ** min(task.request.retries, 20), longest_s)
    delay_s = min(delay_s * random.uniform(0.75, 1.25), left_s)  # noqa: S311 - jitter
    try:
        retry: BaseException = task.retry(
            args=(),
            kwargs={**values, "_settled": [msgspec.to_builtins(r) for r in settled]},
            exc=reason,
            countdown=max(1, math.ceil(delay_s)),
            queue="mail",
            retry=False,
            throw=False,
        )
    except Reject as exc:
        retry = Reject(exc.reason, requeue=requeue)
    return retry


# -- tasks to try the system with


@app.task
def add(x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


@app.task(bind=True)
def sleep(self: DurableTask, seconds: Seconds) -> float:
    """Sleep, and return the seconds.

    RabbitMQ takes a message back that is held for too long, so a long sleep goes on, under
    the same id, as a new message.
    """
    slept = int((self.request.headers or {}).get("slept", 0))
    longest = max(1, int(config.options.task_soft_time_limit_s * SLEEP_SLICE))
    if seconds - slept > longest:
        time.sleep(longest)
        raise self.replace(self.s(seconds).set(headers={"slept": slept + longest}))
    time.sleep(max(0.0, seconds - slept))
    return seconds


@app.task(ignore_result=True)
def hello(name: str) -> None:
    """Greet somebody in the worker's log; the result is ignored."""
    logger.info("Hello, %s!", name)


@app.task(bind=True)
def count(self: DurableTask, n: Count, interval: Seconds = 1.0) -> int:
    """Count to n, with a pause and a PROGRESS report at each step; return n."""
    for done in range(1, n + 1):
        time.sleep(interval)
        self.update_state(state="PROGRESS", meta={"done": done, "total": n})
    return n


@app.task(bind=True, ignore_result=True)
def heartbeat(self: DurableTask) -> None:
    """Show that beat, broker and worker work together; /readyz tells when it last ran."""
    app.backend.store_result(HEARTBEAT_ID, None, states.SUCCESS, request=self.request)


# -- life of the processes


@signals.beat_init.connect
def _show_that_beat_runs(**_: Any) -> None:
    """Send a heartbeat at once: a new schedule's first run is an interval away."""
    heartbeat.apply_async(expires=config.options.beat_interval_s)


@signals.worker_process_shutdown.connect
def _stop_pool_process(**_: Any) -> None:
    mailing.close_sessions()


@signals.worker_shutting_down.connect
def _bound_shutdown(how: str, **_: Any) -> None:
    if how == "Warm":
        bound_warm_shutdown(config.options.worker_shutdown_s)
