"""Sending a short message through an HTTP gateway.

Start server and worker with ``TASK_PACKAGES=examples.sms`` and ``SMS_GATEWAY_URL``, then
``POST /celery/send_sms`` with ``{"args": ["+4912345678", "Your code is 1234"]}``.
"""

from __future__ import annotations

import json
import os
from typing import Annotated, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from celery import shared_task
from msgspec import Meta

from bridge import PrivateTask

GATEWAY_TIMEOUT_S = 10

Number = Annotated[str, Meta(pattern=r"^\+[0-9]{6,15}$")]
Text = Annotated[str, Meta(min_length=1, max_length=1600)]


@shared_task(
    base=PrivateTask,  # numbers and texts stay out of headers, logs and Flower
    autoretry_for=(OSError,),  # the gateway is away, or answers with an error
    retry_backoff=5,
    retry_backoff_max=3600,
    retry_jitter=False,  # Celery's jitter begins at 0 s
    max_retries=10,
)
def send_sms(to: Number, text: Text) -> dict[str, Any]:
    """Send a short message and return the gateway's answer."""
    request = Request(
        os.environ.get("SMS_GATEWAY_URL", "http://127.0.0.1:8080/messages"),
        data=json.dumps({"to": to, "text": text}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=GATEWAY_TIMEOUT_S) as answer:  # nosec B310 # operator's URL
            body = answer.read()
    except HTTPError as exc:  # results cannot hold it: it is also a file
        raise OSError(f"the gateway answered {exc.code}") from exc
    return {"code": answer.status, "answer": _read(body)}


def _read(body: bytes) -> Any:
    """Return what the gateway says. It has taken the message, so none of that is an error: the
    task would end up in the queue `dead`, and a replay would send the message again."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")
