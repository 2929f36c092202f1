"""Asks each process whether it is ready, in the way in which its users reach it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import config
from dev import relay

Probe = Callable[[], bool]

REQUEST_TIMEOUT_S = 5.0
POLL_S = 0.2
#: Long enough for a worker's reply on a busy machine.
PING_S = 0.7
ANY_IPV4 = "0.0.0.0"  # nosec B104 # compared only, never bound


def wait_for(
    probes: Mapping[str, Probe],
    after: Mapping[str, str],
    stopping: Callable[[], bool],
    timeout_s: float,
) -> list[str]:
    """Ask all probes in parallel until each has said True; return those that never did.

    `after` names, for a probe, another one that has to be ready first.
    """
    deadline = time.monotonic() + timeout_s
    ready = set[str]()

    def ask(name: str, probe: Probe) -> None:
        while not stopping() and time.monotonic() < deadline:
            if after.get(name, name) in {name, *ready} and probe():
                ready.add(name)
                return
            time.sleep(POLL_S)

    threads = [
        threading.Thread(target=ask, args=item, daemon=True, name=f"ready-{item[0]}")
        for item in probes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()) + REQUEST_TIMEOUT_S)
    return [name for name in probes if name not in ready]


def get_json(
    host: str, port: int, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """GET from a server of ours; status 0 if none answers, None if the body is not JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT_S)
    with closing(connection):
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, None
    try:
        return status, json.loads(text)
    except ValueError:
        return status, None


def reachable(address: str) -> str:
    """Return where to connect to for a server that listens on an address."""
    return {"": "127.0.0.1", ANY_IPV4: "127.0.0.1", "::": "::1"}.get(address, address)


def web() -> bool:
    """GET /readyz says 200."""
    return _readyz()[0] == http.client.OK


def wants_key() -> bool:
    """GET of the list of mails without a key says 401: there are API keys."""
    address, port = reachable(config.options.address), config.options.port
    return get_json(address, port, "/emails?limit=1")[0] == http.client.UNAUTHORIZED


def _readyz() -> tuple[int, Any]:
    return get_json(reachable(config.options.address), config.options.port, "/readyz")


def heartbeat_is_new(body: object, since: datetime) -> bool:
    """True if the heartbeat that /readyz shows came after a time (with time zone)."""
    try:
        at = datetime.fromisoformat(body["heartbeat"]["at"])  # type: ignore[index]
    except (TypeError, KeyError, ValueError):
        return False
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) > since


def beat(since: datetime) -> Probe:
    """Return the probe: the worker has run a periodic task of beat's after `since`."""
    return lambda: heartbeat_is_new(_readyz()[1], since)


def mailbox() -> bool:
    """The mailbox greets with 220."""
    host, port = relay.address(config.options.smtp_url)
    try:
        with socket.create_connection((host, port), timeout=REQUEST_TIMEOUT_S) as sock:
            greeting = sock.recv(1024)
            sock.sendall(b"QUIT\r\n")
    except OSError:
        return False
    return greeting.startswith(b"220")


def worker(pid: Callable[[], int | None]) -> Probe:
    """Return the probe: the worker with our pid (not another on the same broker) answers."""

    def answers() -> bool:
        from task import app

        try:
            replies = app.control.broadcast("stats", reply=True, timeout=PING_S) or []
        except Exception:  # noqa: BLE001 - whatever it is, the worker did not answer yet
            return False
        pids = {stats.get("pid") for reply in replies for stats in reply.values()}
        return pid() in pids

    return answers


def flower(auth: str, worker_pid: Callable[[], int | None]) -> Probe:
    """Return the probe: Flower's API takes the credentials and shows our worker."""
    token = base64.b64encode(auth.encode()).decode()
    headers = {"Authorization": f"Basic {token}"}

    def shows_worker() -> bool:
        host, port = reachable(config.options.flower_address), config.options.flower_port
        # Flower asks the workers at its start, and after that only for `refresh`.
        _, known = get_json(host, port, "/api/workers?refresh=1", headers)
        workers = known.values() if isinstance(known, dict) else ()
        return worker_pid() in {w.get("stats", {}).get("pid") for w in workers}

    return shows_worker
