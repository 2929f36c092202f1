"""Publishing with confirms: a publish that returns is on the broker's disks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import pika.exceptions

from bridge.connection import Link
from bridge.errors import Blocked, NotConnected, PublishRejected, PublishTimeout, Unroutable
from bridge.futures import fail, resolve
from bridge.message import Message

logger = logging.getLogger(__name__)


class _ChannelLost(Exception):
    """The channel went away before the confirm came."""


class Publisher:
    """Sends messages on one link's channel and matches each confirm to its own publish.

    It is the link's set-up and loss handler: ``setup`` puts the channel into confirm mode,
    ``on_lost`` lets every publish that waits for a confirm try again until its deadline.
    """

    link: Link  # its owner sets it: each of the two needs the other

    def __init__(self) -> None:
        self._channel: Any = None
        self._last_tag = 0
        #: (delivery tag, message, future) of each publish without a confirm, oldest first.
        self._unconfirmed: deque[tuple[int, Message, asyncio.Future[None]]] = deque()
        self._returned: set[tuple[str, str, str]] = set()

    async def setup(self, channel: Any) -> None:
        """Put a fresh channel into confirm mode."""
        selected = asyncio.get_running_loop().create_future()
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=selected.set_result)
        await selected
        self._channel, self._last_tag = channel, 0

    def on_lost(self, reason: str) -> None:
        """Tell every waiting publish that its confirm will not come."""
        self._channel = None
        unconfirmed, self._unconfirmed = self._unconfirmed, deque()
        self._returned.clear()
        for _, _, future in unconfirmed:
            fail(future, _ChannelLost(reason))

    async def publish(self, message: Message, *, timeout_s: float) -> None:
        """Publish and wait for the confirm; after a lost connection, publish again.

        Success promises that the broker has the message on a queue (for a ``mandatory``
        one) and on disk (for a persistent one on a durable queue).

        Raises:
            Blocked: the broker has an alarm; nothing was sent.
            NotConnected: no connection within ``timeout_s``; nothing was sent.
            PublishTimeout: sent, but not confirmed within ``timeout_s``.
            PublishRejected: the broker refused it (nack).
            Unroutable: no queue took it.
        """
        sent = False
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self.link.is_blocked and not sent:
                        raise Blocked(self.link.problem)
                    await self.link.wait_open()
                    try:
                        confirmed = self._send(message)
                        sent = True
                        return await confirmed
                    except (_ChannelLost, pika.exceptions.AMQPError) as exc:
                        logger.info("confirm lost, publishing again (%s)", exc)
                        message = message.again()
        except TimeoutError:
            if sent:
                raise PublishTimeout from None
            raise NotConnected(f"no connection to the broker: {self.link.problem}") from None

    def publish_nowait(self, message: Message) -> bool:
        """Publish without waiting for a confirm; False where there is no open channel."""
        if self._channel is None or not self.link.is_open or self.link.is_blocked:
            return False
        self._write(message)
        return True

    def _send(self, message: Message) -> asyncio.Future[None]:
        self._write(message)
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed.append((self._last_tag, message, confirmed))
        return confirmed

    def _write(self, message: Message) -> None:
        if self._channel is None:
            raise _ChannelLost("the channel is gone")
        self._channel.basic_publish(
            message.exchange,
            message.routing_key,
            message.body,
            message.properties,
            mandatory=message.mandatory,
        )
        self._last_tag += 1

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add((properties.correlation_id, method.exchange, method.routing_key))

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        rejected = method.NAME == "Basic.Nack"
        if method.multiple:
            while self._unconfirmed and self._unconfirmed[0][0] <= method.delivery_tag:
                _, message, future = self._unconfirmed.popleft()
                self._settle(message, future, rejected)
            return
        for position, (tag, message, future) in enumerate(self._unconfirmed):
            if tag == method.delivery_tag:
                del self._unconfirmed[position]
                self._settle(message, future, rejected)
                return

    def _settle(self, message: Message, future: asyncio.Future[None], rejected: bool) -> None:
        address = (message.properties.correlation_id, message.exchange, message.routing_key)
        returned = address in self._returned
        self._returned.discard(address)
        if returned:
            fail(future, Unroutable(f"no queue for {message.routing_key!r}"))
        elif rejected:
            fail(future, PublishRejected())
        else:
            resolve(future, None)
