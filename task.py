"""The Celery app and its tasks. ``celery -A task worker --loglevel=info`` runs them.

``delivery`` decides whether and when a mail is tried again; here its next message is published.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from amqp.exceptions import AccessRefused, NotAllowed
from celery import signals, states
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger
from kombu.exceptions import OperationalError
from msgspec import Meta

import config
import delivery
import lifecycle
from bridge import (
    DurableCelery,
    DurableTask,
    InvalidArgument,
    PrivateTask,
)
from bridge.task_message import deliveries_of
from bridge.topology import MAIL_QUEUE
from mailing import InvalidMessage, MailError

logger = get_task_logger(__name__)

#: The task id under which the results have the heartbeat's last run.
HEARTBEAT_ID = "heartbeat"
#: How long ``sleep`` holds its message at most, as a fraction of its soft time limit.
SLEEP_SLICE = 0.9
#: Try a publish once more, and at once: the pool's connection may have been dead.
AT_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: How long a worker waits at most before it gives a message back to the queue, in seconds.
LONGEST_RETURN_S = 60.0

Seconds = Annotated[float, Meta(ge=0, le=3600)]
Count = Annotated[int, Meta(ge=0, le=100_000)]
Addresses = str | list[str]

# The celery command has the working directory on the path while it imports this module, and
# takes it off again; TASK_PACKAGES are imported later.
sys.path.append(str(Path(__file__).parent))

app = DurableCelery("windmail")
app.config_from_object("celeryconfig")
lifecycle.install(app)
app.autodiscover_tasks(config.task_packages)


# -- mail


class MailTask(PrivateTask):
    """A task that sends a mail. The ledger keeps failed mails, so they make no dead letters."""

    abstract = True
    max_retries = None
    threaded = True
    once = True  # the ledger knows what was sent
    verdicts = (MailError,)
    throws = (MailError,)  # logged in one line, without a traceback: a refused mail is no bug

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Refuse what is not a valid mail before it is queued.

        Raises:
            InvalidArgument: naming the argument.
        """
        try:
            delivery.new_email("", arguments, keep=False)
        except InvalidMessage as exc:
            raise InvalidArgument(exc.field, exc.detail) from exc


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
    attachments: list[dict[str, Any]] | None = None,
    tags: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    expires_at: float | None = None,
    on_uncertain: Literal["retry", "hold"] = "retry",
    _scheduled_at: float | None = None,
    _api_key: str = "",
    _track: int = 1,
) -> dict[str, Any]:
    """Send a mail and return the relay's verdict.

    While the relay cannot be reached or answers 4xx, the mail is tried again, with growing delays,
    for the recipients without a final reply. ``expires_at``: Unix seconds; ``on_uncertain``: send
    the mail again or hold it, if it is unknown whether the relay has taken it, as after a crash.
    """
    arguments = {
        "subject": subject, "text": text, "to": to, "html": html, "from_": from_, "cc": cc,
        "bcc": bcc, "reply_to": reply_to, "headers": headers, "attachments": attachments,
        "tags": tags, "metadata": metadata, "expires_at": expires_at,
        "on_uncertain": on_uncertain, "_scheduled_at": _scheduled_at or _due_at(self),
        "_api_key": _api_key,
    }  # fmt: skip
    given = self.request.headers or {}
    step = delivery.send(
        self.request.id,
        arguments,
        track=_track,
        returns=self.request.retries,
        moment=given.get("accepted_at"),
    )
    match step:
        case delivery.Done():
            return step.result
        case delivery.Fail():
            raise step.error
        case delivery.Drop():
            if step.canceled:
                self.backend.mark_as_revoked(self.request.id, "canceled", request=self.request)
            raise Ignore
        case delivery.Again():
            raise _publish(self, arguments, step.track, step.due_at - time.time(), step.reason)
        case delivery.Wait():
            raise _publish(self, arguments, _track, step.delay_s, step.reason)


def _due_at(task: MailTask) -> float | None:
    """Return, in Unix seconds, when a mail is due that a Python program called with a delay.

    Mails sent over HTTP have ``_scheduled_at`` instead. A retry's ``eta`` is only its delay.
    """
    if task.request.retries or not task.request.eta:
        return None
    return datetime.fromisoformat(task.request.eta).timestamp()


def _publish(
    task: MailTask, arguments: Mapping[str, Any], track: int, delay_s: float, reason: Exception
) -> BaseException:
    """Publish the task again with a delay; return what the task must raise.

    If the publish fails, the old message goes back to the queue; when it comes again, the ledger
    says whether it is still valid. Each return counts towards the delivery limit, so the wait
    before it grows.
    """
    try:
        retry: BaseException = task.retry(
            args=(),
            kwargs={k: v for k, v in arguments.items() if v is not None} | {"_track": track},
            exc=reason,
            countdown=max(1, math.ceil(delay_s)),
            queue=MAIL_QUEUE,
            retry_policy=AT_ONCE,
            throw=False,
        )
    except Reject as exc:
        returned = deliveries_of(task.request.headers or {})
        time.sleep(min(2.0**returned, LONGEST_RETURN_S))
        retry = Reject(exc.reason, requeue=True)
    return retry


@app.task(ignore_result=True)
def prune() -> None:
    """Remove old mails from the ledger, and give up lost ones; beat sends this every hour."""
    delivery.prune()


# -- tasks to try the system with


@app.task
def add(x: float, y: float) -> float:
    """Return the sum of two numbers."""
    return x + y


@app.task(bind=True)
def sleep(self: DurableTask, seconds: Seconds) -> float:
    """Sleep, and return the seconds.

    RabbitMQ takes a message back that is held for too long, so a long sleep continues as a new
    message with the same id.
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
    """Show that beat, broker and worker work together; /readyz shows when it last ran."""
    app.backend.store_result(HEARTBEAT_ID, None, states.SUCCESS, request=self.request)


@signals.beat_init.connect
def _show_that_beat_runs(**_: Any) -> None:
    """Send a heartbeat when beat starts: its schedule sends the first one an interval later. If the
    broker is away, none is sent, and beat waits for it; if it refuses the login, beat ends."""
    try:
        heartbeat.apply_async(expires=config.options.beat_interval_s)
    except OperationalError as exc:
        logger.warning("no heartbeat is sent now: %s", exc)
    except (AccessRefused, NotAllowed) as exc:
        uri = app.connection_for_write().as_uri()
        raise SystemExit(f"The broker refuses {uri}: {exc.reply_text}") from exc
