"""Tasks of ours to measure with: ``TASK_PACKAGES=bench`` adds them."""

from __future__ import annotations

from celery import shared_task

from bench import empty
from bridge.topology import MAIL_QUEUE


@shared_task(name="add_in_thread", threaded=True)
def add(x: float, y: float) -> float:
    """Return the sum of two numbers, by a thread of the worker's main process."""
    return x + y


@shared_task(name="nothing", threaded=True, queue=MAIL_QUEUE)
def nothing(subject: str, text: str, html: str, to: str) -> dict[str, str]:
    """Take a mail as ``sendmail`` does, from its queue and in its threads, and do nothing."""
    empty.end()
    return {"subject": subject, "to": to}
