"""Mails as django-celery-email sends them: a task and a new SMTP connection for each.

``celery -A bench.peers.celery_email worker``; ``python -m bench.peers.celery_email COUNT`` fills
its queue.
"""

from __future__ import annotations

import os
import smtplib
import sys

from bench.loop import compose
from bench.peers.celery_app import app, declare

__all__ = ["app"]


@app.task(name="send")
def send(number: int, text: str, html: str) -> None:
    """Send one mail."""
    with smtplib.SMTP("127.0.0.1", int(os.environ["SINK_PORT"])) as smtp:
        smtp.send_message(compose(number, text, html))


if __name__ == "__main__":
    from bench.loop import HTML, TEXT

    declare()
    for n in range(int(sys.argv[1])):
        send.delay(n, TEXT, HTML)
