"""A mail's content at the relay: is it the mail's, and the same one for all copies?"""

from __future__ import annotations

import json
import time

import pytest

import delivery
from bridge.ids import new_task_id
from chaos.content import digest, says
from chaos.load import mail_of

CONTENT = b"Subject: Mail 7\r\nX-A: 1\r\n\r\nReceived: no header\r\n"


def test_a_mail_of_the_load_says_its_number_as_windmail_sends_it() -> None:
    body = json.loads(mail_of(7, seed=1).body())
    mail = delivery.compose({**body, "from_": body["from"], "headers": None})
    content = delivery.content(mail, new_task_id(), time.time())

    assert says(content, 7)
    assert not says(content, 77)
    assert not says(content.removesuffix(b"mail number 7.\r\n"), 7)


@pytest.mark.parametrize(
    "trace",
    [b"Received: from a\r\n\tby b; now\r\n", b"DKIM-Signature: v=1;\r\n b=abc\r\n"],
)
def test_trace_lines_make_no_other_mail(trace: bytes) -> None:
    assert digest(trace + CONTENT) == digest(CONTENT)


@pytest.mark.parametrize("at", [b"7", b"1", b"no header"])
def test_everything_else_does(at: bytes) -> None:
    assert digest(CONTENT.replace(at, b"?")) != digest(CONTENT)
