"""What is open when a key is revoked, or may do less."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.emails import accepted, later, mail
from tests.event_stream import EventStream
from tests.keys import Client, command, id_of, make
from tests.system import DEADLINE_S, Server, wait_until


@pytest.fixture
def server(broker: BrokerNode, logs: Path, var: Path, keys: Mapping[str, str]) -> Iterator[Server]:
    """A server of one process, all of which knows a key that one request shows to be known."""
    with Server(logs / "streams.log", {"VAR_DIR": str(var)}, free_port()) as server:
        yield server


@pytest.mark.parametrize("below", ["/emails", "/celery"])
def test_a_revoked_key_sees_no_further_events(
    server: Server, var: Path, keys: Mapping[str, str], below: str
) -> None:
    leaving = Client(server, make(var, name="leaving"))
    wait_until(lambda: leaving.get("/emails").status == 200, "the key is known")
    email_id = accepted(leaving.post("/emails", mail(scheduled_at=later(days=1))))
    shown = {"Authorization": f"Bearer {leaving.key}"}

    with EventStream(server.port, email_id, below=below, **shown) as stream:
        assert stream.status == 200
        command(var, "revoke", id_of(leaving.key))
        wait_until(lambda: leaving.get("/emails").status == 401, "the key is revoked")
        Client(server, keys["admin"]).post(f"/emails/{email_id}/cancel")

        told = [event.data.get("type", event.data.get("state")) for event in stream]

    assert not {"canceled", "REVOKED"} & set(told)
    assert "Traceback" not in server.text()


@pytest.mark.parametrize(
    ("whose", "before", "after"),
    [("its own", "send,read", "send"), ("another's", "admin", "send,read")],
    ids=["read", "admin"],
)
def test_a_key_that_may_not_read_any_more_sees_no_further_events(
    server: Server, var: Path, keys: Mapping[str, str], whose: str, before: str, after: str
) -> None:
    less = Client(server, make(var, f"--scope={before}", name="less"))
    wait_until(lambda: less.get("/emails").status == 200, "the key is known")
    sender = less if whose == "its own" else Client(server, keys["shop"])
    email_id = accepted(sender.post("/emails", mail(scheduled_at=later(days=1))))

    shown = {"Authorization": f"Bearer {less.key}"}
    with EventStream(server.port, email_id, below="/emails", **shown) as stream:
        assert stream.status == 200
        command(var, "update", id_of(less.key), f"--scope={after}")
        wait_until(lambda: less.get(f"/emails/{email_id}").status in (403, 404), "the change")
        Client(server, keys["admin"]).post(f"/emails/{email_id}/cancel")

        told = [event.data["type"] for event in stream]

    assert told
    assert "canceled" not in told
    assert "Traceback" not in server.text()


def test_a_revoked_keys_stream_ends_though_nothing_happens(
    broker: BrokerNode, logs: Path, var: Path
) -> None:
    env = {"VAR_DIR": str(var), "SSE_HEARTBEAT_S": "0.5"}
    with Server(logs / "silent-streams.log", env, free_port()) as server:
        leaving = Client(server, make(var, name="leaving"))
        wait_until(lambda: leaving.get("/emails").status == 200, "the key is known")
        email_id = accepted(leaving.post("/emails", mail(scheduled_at=later(days=1))))

        with EventStream(server.port, email_id, Authorization=f"Bearer {leaving.key}") as stream:
            assert stream.heartbeat()
            command(var, "revoke", id_of(leaving.key))
            revoked_at = time.monotonic()
            while stream.heartbeat():
                assert time.monotonic() < revoked_at + DEADLINE_S
