"""No tasks, but ways to die: a worker with ``TASK_PACKAGES=tests.crashing`` kills itself where a
file of ``CRASH_FOLDER`` has the name of the point. Mails run in its main process, whose end is
that of its pool processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery import current_app, signals

import delivery
from bridge.worker.request import DurableRequest
from delivery import Step
from ledger import Ledger, LedgerUnavailable
from tests.crashing import POISON

FOLDER = Path(os.environ["CRASH_FOLDER"])
_send = delivery.send


def crash_at(point: str) -> None:
    """Die here, once, if that is asked for."""
    try:
        (FOLDER / point).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def send(*args: Any, **kwargs: Any) -> Step:
    """Send, and die before it for a mail that is poison, or once the outcome is committed."""
    if POISON in args[1].values():
        os.kill(os.getpid(), signal.SIGKILL)
    step = _send(*args, **kwargs)
    crash_at("outcome")
    return step


delivery.send = send


def commit(self: Ledger, operation: Any, *, order: str = "") -> Any:
    """Commit, but lose the answer once where that is asked for."""
    value = _commit(self, operation, order=order)
    try:
        (FOLDER / "lose-answer").unlink()
    except FileNotFoundError:
        return value
    raise LedgerUnavailable("The answer was lost by the test.")


_commit = Ledger.commit
Ledger.commit = commit  # type: ignore[method-assign] # the loss is the test's


def publish(producer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Publish, but refuse a mail's next message while a file asks for it."""
    if name == "task.sendmail" and (FOLDER / "refuse-publish").exists():
        raise ConnectionError("refused by the test")
    return _publish(producer, name, *args, **kwargs)


_publish = current_app.amqp.send_task_message
current_app.amqp.send_task_message = publish


@signals.after_task_publish.connect  # type: ignore[untyped-decorator] # Celery's
def _published(sender: str, **_: Any) -> None:
    if sender == "task.sendmail":
        crash_at("published")


def acknowledge(self: DurableRequest) -> None:
    """Acknowledge, but die before it once the result is confirmed."""
    if self.name == "task.sendmail":
        crash_at("result")
    _acknowledge(self)


_acknowledge = DurableRequest.acknowledge
DurableRequest.acknowledge = acknowledge  # type: ignore[method-assign] # the death is the test's
