"""A channel with confirms: each publish learns whether the broker has taken its message."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from bridge.errors import MessageTooLarge, PublishRejected, PublishTimeout, Unroutable
from bridge.loop.futures import fail, resolve
from bridge.loop.refusals import Refusals
from bridge.message import Message

#: How many addresses are remembered for which the channel has had a message confirmed.
MOST_ADDRESSES = 1000


class ChannelLost(Exception):
    """The channel went away before the confirm came."""


class QueueGone(Unroutable):
    """No queue takes the message any more; the channel's next set-up declares it."""


class _Unconfirmed(NamedTuple):
    """A publish whose confirm has not come; ``deadline`` on the loop's clock."""

    message: Message
    confirmed: asyncio.Future[None]
    deadline: float


class ConfirmingChannel:
    """Sends messages and matches each confirm to its own publish; for one channel of pika's.

    For a message that is too large, the broker closes the channel. The largest unconfirmed one
    fails; the others are published again. The broker also says its limit: larger ones fail here
    until a channel closes the next time. For a message to an exchange that does not exist or is
    forbidden, the broker closes the channel, too (:class:`Refusals`).

    Args:
        refusals: what is known from earlier channels, and learnt from this one.
    """

    def __init__(self, channel: Any, refusals: Refusals) -> None:
        self._channel = channel
        self._refusals = refusals
        self._last_tag = 0
        self._lowest_tag = 1
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        self._returned: set[tuple[str, str, str]] = set()
        self._taken: set[tuple[str, str]] = set()  # addresses for which it had a confirm
        self._expiry: asyncio.Handle | None = None
        self._expires_at = 0.0  # uvloop gives no TimerHandle for a moment that has come

    async def begin(self) -> None:
        """Put the channel into confirm mode."""
        selected = asyncio.get_running_loop().create_future()
        self._channel.add_on_return_callback(self._on_return)
        self._channel.add_on_close_callback(self._on_closed)
        self._channel.confirm_delivery(self._on_confirm, callback=selected.set_result)
        await selected

    @property
    def is_open(self) -> bool:
        return bool(self._channel.is_open)

    def has_taken(self, message: Message) -> bool:
        """Return whether a message with this one's address was confirmed."""
        return (message.exchange, message.routing_key) in self._taken

    def send(self, message: Message, deadline: float) -> asyncio.Future[None]:
        """Send a message; the future ends with its confirm.

        It fails with ``PublishRejected``, ``Unroutable`` (``QueueGone`` if there was a queue
        before), ``PublishTimeout`` at the deadline, or ``ChannelLost``.

        Raises:
            MessageTooLarge: nothing was sent.
            ChannelLost: nothing was sent.
        """
        if len(message.body) > self._refusals.limit_bytes:
            raise MessageTooLarge(len(message.body), self._refusals.limit_bytes)
        if not self._channel.is_open:
            raise ChannelLost("the channel is gone")
        write(self._channel, message)
        self._last_tag += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[self._last_tag] = _Unconfirmed(message, confirmed, deadline)
        if self._expiry is None or deadline < self._expires_at:
            self._expire_at(deadline)
        return confirmed

    def close(self) -> None:
        """Close it, and so let the link open another one."""
        if self._channel.is_open and self._channel.connection.is_open:
            self._channel.close()

    def lose(self, reason: str) -> None:
        """Fail every publish that waits for its confirm, with ``ChannelLost``."""
        if self._expiry is not None:
            self._expiry.cancel()
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for one in unconfirmed.values():
            fail(one.confirmed, ChannelLost(reason))

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

    # pika calls these

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
            kind = QueueGone if address in self._taken else Unroutable
            fail(future, kind(f"no queue for {message.routing_key!r}"))
        elif rejected:
            fail(future, PublishRejected())
        else:
            self._refusals.took.add(message.exchange)
            if len(self._taken) < MOST_ADDRESSES:  # each delay has a routing key of its own
                self._taken.add(address)
            resolve(future, None)


def write(channel: Any, message: Message) -> None:
    """Write a message's frames on a channel of pika's."""
    connection = channel.connection
    connection.write(message.frames(channel.channel_number, connection.largest_body_frame))
