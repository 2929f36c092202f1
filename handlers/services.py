"""The objects that all handlers share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from celery import Celery

import config
from access import Keyring
from bridge import Bridge
from bridge.topology import MAIL_QUEUE, MAIL_TASK
from handlers.accepting.acceptance import Acceptance
from handlers.accepting.outgoing import publisher
from handlers.accepting.pressure import Pressure
from handlers.limits import Budget, Turns
from handlers.request_body import Bodies
from ledger import Ledger

#: How many mails' contents a process reads and builds at a time: each may have many megabytes, and
#: takes one of the few threads that all requests share.
CONTENTS_AT_ONCE = 4
#: How many calls of one API key run in these threads at a time; there are six on two cores.
CALLS_AT_ONCE = 4


class ServerStops(Exception):
    """The server stops, so the wait was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The objects that all handlers of a process share.

    ``waits``: the tasks that open requests await; when the server stops (``stopping``) it cancels
    them, and the requests are answered with what is known. ``contents``: held while a mail's
    content is read and built. ``answers``: counts large answers until their clients have read them.
    ``turns``: limits each API key's calls in threads.
    """

    app: Celery
    bridge: Bridge
    ledger: Ledger
    acceptance: Acceptance
    keyring: Keyring
    pressure: Pressure
    bodies: Bodies
    answers: Budget
    contents: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONTENTS_AT_ONCE))
    turns: Turns = field(default_factory=lambda: Turns(CALLS_AT_ONCE))
    waits: WeakSet[asyncio.Task[Any]] = field(default_factory=WeakSet)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


def make_services(app: Celery, bridge: Bridge, ledger: Ledger, keyring: Keyring) -> Services:
    """Make the handlers' services, according to the settings."""
    acceptance = Acceptance(
        ledger,
        publisher(bridge, app.tasks[MAIL_TASK]),
        publish_timeout_s=config.options.publish_timeout_s,
        kept_s=config.options.idempotency_s,
    )
    gauge = bridge.gauge(MAIL_QUEUE, MAIL_TASK)
    return Services(
        app=app,
        bridge=bridge,
        ledger=ledger,
        acceptance=acceptance,
        keyring=keyring,
        bodies=Bodies(config.options.max_bodies_size, config.options.max_body_size),
        answers=Budget(config.options.max_bodies_size),
        pressure=Pressure(gauge.wait_s, config.options.queue_wait_limit_s),
    )
