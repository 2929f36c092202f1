"""Publishing until the broker confirms: it has the message on disk when a publish returns."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pika.exceptions

from bridge.errors import Blocked, BridgeError, NotConnected, PublishRejected, PublishTimeout
from bridge.loop.confirms import ChannelLost, ConfirmingChannel, QueueGone, write
from bridge.loop.connection import Link
from bridge.loop.refusals import Refusals
from bridge.message import Message

logger = logging.getLogger(__name__)

#: A channel whose first message for a queue is refused is replaced at most this often, in seconds.
RENEW_S = 5.0
#: Pause before a message is published again, in seconds: the link counts as open for a moment after
#: its channel has closed, or for much longer if the broker stalls.
CLOSING_S = 0.01


class Publisher:
    """Publishes on one link's channel, again and again until a confirm or the deadline.

    It is the link's set-up and loss handler: ``setup`` puts the channel into confirm mode,
    ``on_lost`` lets every publish that waits for a confirm try again until its deadline.

    With its first message for a quorum queue, a channel registers with that queue's leader. If this
    leader died a moment ago, RabbitMQ 3.10 refuses the message, and all later ones of the channel
    for as long as that node is away (``rabbit_fifo_client:enqueue``, the first publish). So such a
    channel is replaced.
    """

    link: Link  # its owner sets it: each of the two needs the other

    def __init__(self) -> None:
        self._channel: ConfirmingChannel | None = None
        self._unconfirmable: Any = None  # a channel without confirms
        self._renewed_at = -RENEW_S
        self._refusals = Refusals()

    async def setup(self, channel: Any) -> None:
        """Put a fresh channel into confirm mode, and open another one without confirms."""
        confirming = ConfirmingChannel(channel, self._refusals)
        await confirming.begin()
        self._unconfirmable = await self.link.open_channel()
        # If one is closed, both are opened again.
        self._unconfirmable.add_on_close_callback(lambda *_: confirming.close())
        self._channel = confirming

    def on_lost(self, reason: str) -> None:
        """Let every publish that waits for its confirm try again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.lose(reason)

    async def publish(self, message: Message, *, timeout_s: float) -> None:
        """Publish and wait for the confirm; after a lost connection, publish again.

        Success promises that the broker has the message on a queue (for a ``mandatory``
        one) and on disk (for a persistent one on a durable queue).

        Raises:
            Blocked: the broker has an alarm; nothing was sent.
            NotConnected: no connection within ``timeout_s``; nothing was sent.
            PublishTimeout: sent, but not confirmed within ``timeout_s``; or sent again, and only
                this second attempt is known to have been refused.
            PublishRejected: the broker refused it (nack).
            MessageTooLarge: the broker takes no message of its size.
            Unroutable: no queue, or no exchange, took it.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        sent = False
        while True:
            if self.link.is_blocked and not sent:
                raise Blocked(self.link.problem)
            if not self.link.is_open:
                await self._wait_open(deadline, sent)
                continue
            channel, sent_before = self._channel, sent
            try:
                if channel is None:
                    raise ChannelLost("the channel is gone")
                confirmed = channel.send(message, deadline)
                sent = True
                return await confirmed
            except (PublishRejected, QueueGone) as exc:
                if channel is not None and channel is self._channel and channel.is_open:
                    if self._is_final(channel, message, exc):
                        raise (PublishTimeout() if sent_before else exc) from None
                    self._replace(channel, message, exc)
                sent = sent_before
            except (ChannelLost, pika.exceptions.AMQPError) as exc:
                logger.info("confirm lost, publishing again (%s)", exc)
                message = message.again() if sent else message
            if asyncio.get_running_loop().time() >= deadline:
                raise self._too_late(sent)
            await asyncio.sleep(CLOSING_S)

    def _is_final(self, channel: ConfirmingChannel, message: Message, exc: BridgeError) -> bool:
        """Return whether another channel would refuse the message, too, or was tried just now."""
        is_queues_own = isinstance(exc, PublishRejected) and channel.has_taken(message)
        return is_queues_own or asyncio.get_running_loop().time() - self._renewed_at < RENEW_S

    def _replace(self, channel: ConfirmingChannel, message: Message, exc: BridgeError) -> None:
        """Close the channel: its queue's leader may be dead, or the queue deleted. The link then
        opens another one, and its set-up declares the queue again."""
        logger.warning("%r: %s: another channel", message.routing_key, exc.detail)
        self._renewed_at = asyncio.get_running_loop().time()
        channel.close()

    def publish_nowait(self, message: Message) -> None:
        """Publish without a confirm; without an open channel, drop the message."""
        if self.link.is_open and not self.link.is_blocked and self._unconfirmable.is_open:
            write(self._unconfirmable, message)

    async def _wait_open(self, deadline: float, sent: bool) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.link.wait_open()
        except TimeoutError:
            raise self._too_late(sent) from None

    def _too_late(self, sent: bool) -> BridgeError:
        if sent:
            return PublishTimeout()
        return NotConnected(f"no connection to the broker: {self.link.problem}")
