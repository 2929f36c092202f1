"""One AMQP connection on the event loop, reopened for as long as it is wanted.

Life cycle: ``connecting`` (socket, handshake, channel, set-up) -> ``open`` -> ``waiting`` (lost;
backing off) -> ``connecting`` ..., and ``closed`` at the end. ``blocked`` differs from ``open``:
the broker has raised an alarm and reads no publishes until it ends
(https://www.rabbitmq.com/docs/connection-blocked). With several addresses (the nodes of a cluster)
each attempt takes the next one; the link pauses after each loss, and when all of them have failed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

from pika.exceptions import AMQPError

from bridge import tls
from bridge.loop.adapter import connect
from bridge.loop.address import CONNECT_TIMEOUT_S, Address
from bridge.loop.futures import fail, resolve

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0


class State(StrEnum):
    """Where a link is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    BLOCKED = "blocked"
    WAITING = "waiting"
    CLOSED = "closed"


class _Tries:
    """Which address is tried now, and how long the pause is before the next one."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._count = len(addresses)
        self._next = itertools.cycle(addresses)
        self.address = next(self._next)
        self.begin()

    def begin(self) -> None:
        """Count from the beginning: the next pause is a short one."""
        self._failed, self._backoff_s = 0, FIRST_BACKOFF_S

    def failed(self) -> None:
        """Count a failure."""
        self._failed += 1

    def go_on(self) -> float:
        """Turn to the next address; return the pause before it, in seconds. There is one after an
        open link was lost, and each time that all addresses have failed."""
        self.address = next(self._next)
        if self._failed % self._count:
            return 0.0
        pause_s = self._backoff_s * random.uniform(0.5, 1.0)  # nosec B311 # jitter
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
        return pause_s


class Link:
    """A connection with one channel, kept open.

    ``setup(channel)`` runs after each (re)connect, before the link counts as open;
    ``on_lost(reason)`` runs each time that an open link is lost.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        setup: Callable[[Any], Awaitable[None]],
        on_lost: Callable[[str], None],
        tls_options: tls.Options | None = None,
    ) -> None:
        self.name = name
        self.state = State.CLOSED
        self.problem: str | None = "not started"
        self._tries = _Tries([Address(url, f"windmail {name}", tls_options) for url in urls])
        self._setup = setup
        self._on_lost = on_lost
        self._opened = asyncio.Event()
        self._connection: Any = None
        self._lost: asyncio.Future[str] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the channel is set up; true while the broker blocks publishes, too."""
        return self._opened.is_set()

    @property
    def is_blocked(self) -> bool:
        return self.state is State.BLOCKED

    @property
    def url(self) -> str:
        """The address, with its password, of the node that the link is connected to, or tries."""
        return self._tries.address.url

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._keep_open(), name=f"link {self.name}")

    async def close(self) -> None:
        """Close the connection and stay closed."""
        if self._task is None:
            return
        closed, connection = asyncio.Event(), self._connection
        if connection is not None and connection.is_open:
            connection.add_on_close_callback(lambda *_: closed.set())
        else:
            closed.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task, self.state, self.problem = None, State.CLOSED, "closed"
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await closed.wait()

    async def wait_open(self) -> None:
        """Wait until the link is open; for a deadline, wrap it in ``asyncio.timeout``."""
        await self._opened.wait()

    async def open_channel(self) -> Any:
        """Open a further channel on this connection.

        Raises:
            ConnectionError: the connection is not open, or was lost meanwhile.
        """
        if self._connection is None:
            raise ConnectionError(f"{self.name}: {self.problem}")
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def on_open(channel: Any) -> None:
            if opened.cancelled():  # the caller was canceled: nobody else would close it
                channel.close()
            resolve(opened, channel)

        try:
            channel = self._connection.channel(on_open_callback=on_open)
        except AMQPError as exc:  # the connection is closing
            raise ConnectionError(f"{self.name}: {exc!r}") from exc
        channel.add_on_close_callback(lambda _ch, why: fail(opened, ConnectionError(str(why))))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await opened

    async def _keep_open(self) -> None:
        self._tries.begin()
        while True:
            self.state = State.CONNECTING
            try:
                lost = await self._open()
                self._tries.begin()
                reason = await lost
                self._on_lost(reason)
            except asyncio.CancelledError:
                if self.is_open:
                    self._on_lost("closed")
                raise
            except Exception as exc:  # noqa: BLE001 - whatever it is, the answer is to try again
                reason = f"{type(exc).__name__}: {exc}".rstrip(": ")
                self._tries.failed()
            finally:
                self._forget()
            self.state, self.problem = State.WAITING, reason
            address, pause_s = self._tries.address, self._tries.go_on()
            logger.warning(
                "%s: no connection to %s, next try in %.1f s (%s)",
                self.name, address, pause_s, reason,
            )  # fmt: skip
            await asyncio.sleep(pause_s)

    async def _open(self) -> asyncio.Future[str]:
        """Connect and set up; returns a future that will say why the connection was lost."""
        self._lost = lost = asyncio.get_running_loop().create_future()
        parameters = await self._tries.address.parameters()
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
            self._connection = await connect(parameters)
        self._connection.add_on_close_callback(lambda _c, reason: self._lose(reason))
        self._connection.add_on_connection_blocked_callback(self._on_blocked)
        self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
        channel = await self.open_channel()
        channel.add_on_close_callback(lambda _channel, reason: self._lose(reason))
        setup = asyncio.ensure_future(self._setup(channel))
        done, _ = await asyncio.wait((setup, lost), return_when=asyncio.FIRST_COMPLETED)
        if setup not in done:
            setup.cancel()
            raise ConnectionError(await lost)
        await setup
        self.state, self.problem = State.OPEN, None
        self._opened.set()
        logger.info("%s: connected to %s", self.name, self._tries.address)
        return lost

    def _lose(self, reason: object) -> None:
        if self._lost is not None:
            resolve(self._lost, str(reason))
        self._opened.clear()

    def _forget(self) -> None:
        self._opened.clear()
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            connection.close()

    def _on_blocked(self, _connection: Any, frame: Any) -> None:
        self.state = State.BLOCKED
        self.problem = f"the broker blocks publishes: {frame.method.reason}"
        logger.warning("%s: %s", self.name, self.problem)

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.state, self.problem = State.OPEN, None
        logger.info("%s: the broker takes publishes again", self.name)
