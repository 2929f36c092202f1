"""A queue that is too long refuses mails, and says when it will be shorter; on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from bridge.loop.gauge import POLL_S
from dev.broker import BrokerNode
from dev.ports import free_port
from tests.emails import accepted, later, mail
from tests.openapi import conforms
from tests.outside import virtual_host
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server, wait_until, worker

#: A mail takes so long, one at a time.
MAIL_S = 0.2
LIMIT_S = 4
BACKLOG = 90


class Parts:
    """A server, its worker (not started), and a slow relay."""

    def __init__(self, server: Server, process: Process, relay: SMTPServer) -> None:
        self.server = server
        self.worker = process
        self.relay = relay


@pytest.fixture
def parts(broker: BrokerNode, tmp_path: Path) -> Iterator[Parts]:
    with ExitStack() as stack:
        relay = stack.enter_context(SMTPServer())
        relay.behave(slow_final_dot=MAIL_S)
        env = {
            "BROKER_URL": stack.enter_context(virtual_host(broker)),
            "SMTP_URL": relay.url,
            "VAR_DIR": str(tmp_path),
            "MAIL_CONCURRENCY": "1",
            "QUEUE_WAIT_LIMIT_S": str(LIMIT_S),
        }
        server = stack.enter_context(Server(tmp_path / "server.log", env, free_port()))
        process = worker(tmp_path / "worker.log", env)
        yield Parts(server, process, relay)
        if process.popen is not None:
            process.kill()


def estimated_wait_s(server: Server) -> float | None:
    shown: float | None = server.get("/readyz").json()["estimated_wait_s"]
    return shown


def refused(answer: Answer) -> int:
    """Return the Retry-After of a refusal."""
    conforms(answer, "post", "/emails")
    assert (answer.status, answer.json()["queued"]) == (503, False)
    return int(answer.headers["Retry-After"])


def test_mails_are_refused_while_the_wait_is_too_long_and_told_when_it_is_not(
    parts: Parts,
) -> None:
    server, key = parts.server, {"Idempotency-Key": uuid4().hex}
    # Without a worker nothing is known, so nothing is refused.
    first = server.post("/emails", mail(), **key)
    for _ in range(BACKLOG // 30):
        assert server.post("/emails/batch", [mail()] * 30).status == 202
    assert "estimated_start" not in first.json()

    parts.worker.start()
    wait_until(lambda: (estimated_wait_s(server) or 0) > LIMIT_S, "an estimate")
    retry_after_s, told_at = refused(server.post("/emails", mail())), time.monotonic()

    call = {"args": ["a", "b", "ann@example.com"]}
    assert server.post("/celery/sendmail", call).status == 503
    assert server.get("/celery?title=a&text=b&tomail=ann@example.com").status == 503
    assert server.post("/emails/batch", [mail()]).status == 503
    assert server.post("/emails", mail(scheduled_at=later(days=1))).status == 202
    assert accepted(server.post("/emails", mail(), **key)) == first.json()["id"]

    wait_until(lambda: (estimated_wait_s(server) or 0) <= LIMIT_S, "room", 60)
    answer = server.post("/emails", mail())
    waited_s = time.monotonic() - told_at
    assert retry_after_s / 2 - 2 * POLL_S < waited_s < 2 * retry_after_s + 2 * POLL_S

    conforms(answer, "post", "/emails")
    estimated = datetime.fromisoformat(answer.json()["estimated_start"])
    sent = server.get(f"/emails/{answer.json()['id']}?wait=30").json()
    assert sent["status"] == "sent"
    shown = server.get(f"/celery/{sent['id']}").json()
    started = datetime.fromisoformat(shown["started_at"])
    print(f"{retry_after_s=} {waited_s=:.1f} late by {(started - estimated).total_seconds():.1f} s")
    assert abs((started - estimated).total_seconds()) < LIMIT_S + 2 * POLL_S

    wait_until(lambda: estimated_wait_s(server) == 0, "the end")
    assert "estimated_start" in server.post("/emails", mail()).json()
