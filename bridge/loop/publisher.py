"""Publishing with confirms: when a publish returns, the broker has the message on disk."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import pika.exceptions

from bridge.errors import (
    Blocked,
    BridgeError,
    MessageTooLarge,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    Unroutable,
)
from bridge.loop.connection import Link
from bridge.loop.futures import fail, resolve
from bridge.loop.refusals import Refusals
from bridge.message import Message

logger = logging.getLogger(__name__)

#: A channel whose first message for a queue is refused is replaced at most this often, in seconds.
RENEW_S = 5.0
#: Pause before a message is published again, in seconds: the link counts as open for a moment after
#: its channel has closed, or for much longer if the broker stalls.
CLOSING_S = 0.01
#: How many addresses are remembered for which the channel has had a message confirmed.
MOST_ADDRESSES = 1000


class _ChannelLost(Exception):
    """The channel went away before the confirm came."""


class _QueueGone(Unroutable):
    """No queue takes the message any more; the channel's next set-up declares it."""


class _Unconfirmed(NamedTuple):
    """A publish whose confirm has not come; ``deadline`` on the loop's clock."""

    message: Message
    confirmed: asyncio.Future[None]
    deadline: float


class Publisher:
    """Sends messages on one link's channel and matches each confirm to its own publish.

    It is the link's set-up and loss handler: ``setup`` puts the channel into confirm mode,
    ``on_lost`` lets every publish that waits for a confirm try again until its deadline.

    With its first message for a quorum queue, a channel registers with that queue's leader. If this
    leader died a moment ago, RabbitMQ 3.10 refuses the message, and all later ones of the channel
    for as long as that node is away (``rabbit_fifo_client:enqueue``, the first publish). So such a
    channel is replaced.

    For a message that is too large, the broker closes the channel. The largest unconfirmed one
    fails; the others are published again. The broker also says its limit: larger ones fail here
    until a channel closes the next time. For a message to an exchange that does not exist or is
    forbidden, the broker closes the channel, too (:class:`Refusals`).
    """

    link: Link  # its owner sets it: each of the two needs the other

    def __init__(self) -> None:
        self._channel: Any = None
        self._unconfirmable: Any = None  # a channel without confirms
        self._last_tag = 0
        self._lowest_tag = 1
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        self._returned: set[tuple[str, str, str]] = set()
        self._taken: set[tuple[str, str]] = set()  # addresses for which the channel had a confirm
        self._renewed_at = -RENEW_S
        self._refusals = Refusals()
        self._expiry: asyncio.Handle | None = None
        self._expires_at = 0.0  # uvloop gives no TimerHandle for a moment that has come

    async def setup(self, channel: Any) -> None:
        """Put a fresh channel into confirm mode, and open another one without confirms."""
        selected = asyncio.get_running_loop().create_future()
        channel.add_on_return_callback(self._on_return)
        channel.add_on_close_callback(self._on_closed)
        channel.confirm_delivery(self._on_confirm, callback=selected.set_result)
        await selected
        self._unconfirmable = await self.link.open_channel()
        self._unconfirmable.add_on_close_callback(lambda *_: _close(channel))  # both opened again
        self._channel, self._last_tag, self._lowest_tag = channel, 0, 1
        self._taken.clear()

    def on_lost(self, reason: str) -> None:
        """Let every publish that waits for its confirm try again."""
        self._channel = None
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._returned.clear()
        for one in unconfirmed.values():
            fail(one.confirmed, _ChannelLost(reason))

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
                confirmed = self._send(message, deadline)
                sent = True
                return await confirmed
            except (PublishRejected, _QueueGone) as exc:
                if channel is self._channel and channel.is_open:  # else it is replaced already
                    if self._is_final(message, exc):
                        raise (PublishTimeout() if sent_before else exc) from None
                    self._replace(channel, message, exc)
                sent = sent_before
            except (_ChannelLost, pika.exceptions.AMQPError) as exc:
                logger.info("confirm lost, publishing again (%s)", exc)
                message = message.again() if sent else message
            if asyncio.get_running_loop().time() >= deadline:
                raise self._too_late(sent)
            await asyncio.sleep(CLOSING_S)

    def _is_final(self, message: Message, exc: BridgeError) -> bool:
        """Return whether another channel would refuse the message, too, or was tried just now."""
        known = (message.exchange, message.routing_key) in self._taken
        is_queues_own = known and isinstance(exc, PublishRejected)
        return is_queues_own or asyncio.get_running_loop().time() - self._renewed_at < RENEW_S

    def _replace(self, channel: Any, message: Message, exc: BridgeError) -> None:
        """Close the channel: its queue's leader may be dead, or the queue deleted. The link then
        opens another one, and its set-up declares the queue again."""
        logger.warning("%r: %s: another channel", message.routing_key, exc.detail)
        self._renewed_at = asyncio.get_running_loop().time()
        _close(channel)

    def publish_nowait(self, message: Message) -> None:
        """Publish without a confirm; without an open channel, drop the message."""
        if self.link.is_open and not self.link.is_blocked and self._unconfirmable.is_open:
            _write(self._unconfirmable, message)

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

    def _send(self, message: Message, deadline: float) -> asyncio.Future[None]:
        if len(message.body) > self._refusals.limit_bytes:
            raise MessageTooLarge(len(message.body), self._refusals.limit_bytes)
        if self._channel is None or not self._channel.is_open:
            raise _ChannelLost("the channel is gone")
        _write(self._channel, message)
        self._last_tag += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[self._last_tag] = _Unconfirmed(message, confirmed, deadline)
        if self._expiry is None or deadline < self._expires_at:
            self._expire_at(deadline)
        return confirmed

    def _expire_at(self, deadline: float) -> None:
        """Set the one timer that all publishes share, which costs less than one for each."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expires_at = deadline
        self._expiry = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Fail the publishes whose time is up; a confirm that comes later is ignored."""
        self._expiry = None
        now = asyncio.get_running_loop().time()
        waiting = [one for one in self._unconfirmed.values() if not one.confirmed.done()]
        for one in waiting:
            if one.deadline <= now:
                fail(one.confirmed, PublishTimeout())
        if rest := [one.deadline for one in waiting if one.deadline > now]:
            self._expire_at(min(rest))

    def _on_return(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add((properties.correlation_id, method.exchange, method.routing_key))

    def _on_closed(self, _channel: Any, reason: Exception) -> None:
        messages = {tag: one.message for tag, one in self._unconfirmed.items()}
        for tag, error in self._refusals.of(reason, messages).items():
            fail(self._unconfirmed.pop(tag).confirmed, error)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        rejected = method.NAME == "Basic.Nack"
        newest = method.delivery_tag
        tags = range(self._lowest_tag, newest + 1) if method.multiple else (newest,)
        if method.multiple:
            self._lowest_tag = newest + 1
        for tag in tags:
            one = self._unconfirmed.pop(tag, None)
            if one is not None:
                self._settle(one.message, one.confirmed, rejected)

    def _settle(self, message: Message, future: asyncio.Future[None], rejected: bool) -> None:
        address = message.exchange, message.routing_key
        if self._returned and (message.correlation_id, *address) in self._returned:
            self._returned.discard((message.correlation_id, *address))
            kind = _QueueGone if address in self._taken else Unroutable
            fail(future, kind(f"no queue for {message.routing_key!r}"))
        elif rejected:
            fail(future, PublishRejected())
        else:
            self._refusals.took.add(message.exchange)
            if len(self._taken) < MOST_ADDRESSES:  # each delay has a routing key of its own
                self._taken.add(address)
            resolve(future, None)


def _write(channel: Any, message: Message) -> None:
    connection = channel.connection
    connection.write(message.frames(channel.channel_number, connection.largest_body_frame))


def _close(channel: Any) -> None:
    if channel.is_open and channel.connection.is_open:
        channel.close()
