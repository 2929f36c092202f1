"""A Celery worker whose tasks do nothing, with results and with events, as Flower needs them.

``celery -A bench.peers.celery_empty worker -E``; ``python -m bench.peers.celery_empty COUNT`` fills
its queue.
"""

from __future__ import annotations

import sys

from bench import empty
from bench.peers.celery_app import app, declare

__all__ = ["app"]


@app.task(name="nothing")
def nothing(subject: str, text: str, html: str, to: str) -> dict[str, str]:
    """Take a mail, and do nothing."""
    empty.end()
    return {"subject": subject, "to": to}


if __name__ == "__main__":
    from bench.mails import MAIL

    declare()
    for _ in range(int(sys.argv[1])):
        nothing.delay(**MAIL)
