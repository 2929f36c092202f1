"""Which message made RabbitMQ close a channel, according to the text of its ``channel.close``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

from bridge.errors import BridgeError, MessageTooLarge, PublishTimeout, Unroutable
from bridge.message import PUBLISHED_AGAIN, Message

#: RabbitMQ's text for a message over its ``max_message_size``.
TOO_LARGE = re.compile(r"message size \d+ is larger than configured max size (\d+)")
#: Its text for an exchange that does not exist, is internal, or to which this user may not
#: publish, in general or with this routing key (https://www.rabbitmq.com/docs/access-control).
#: Texts over 255 octets are cut.
NO_EXCHANGE = re.compile(
    r"(?P<why>NOT_FOUND|ACCESS_REFUSED) - .*?(?:topic '(?P<key>.*)' in .*?)?exchange '"
    r"(?:(?P<exchange>.*)' in vhost |(?P<begins>.*)\.\.\.$)",
    re.DOTALL,
)
#: Its name for the default exchange, whose name is empty.
UNNAMED = "amq.default"
_DETAILS = {"NOT_FOUND": "no exchange {!r}", "ACCESS_REFUSED": "no permission for exchange {!r}"}


class Refusals:
    """What is known of the broker's size limit and of exchanges that it refuses.

    If an exchange that has taken messages is refused, it was probably deleted: the link's next
    set-up declares it, and the messages under way are published again. If it is refused a second
    time, or has never taken a message, they fail: with ``PublishTimeout`` if a first copy may have
    arrived, or else with ``Unroutable``.
    """

    def __init__(self) -> None:
        #: The broker's limit, if the last channel was closed because of it.
        self.limit_bytes = sys.maxsize
        #: Exchanges that have taken a message.
        self.took: set[str] = set()
        self._took_once: set[str] = set()  # and then refused one

    def of(self, reason: object, messages: Mapping[int, Message]) -> dict[int, BridgeError]:
        """Return errors for those messages of a closed channel that must not be published again."""
        self.limit_bytes = sys.maxsize
        text = getattr(reason, "reply_text", "")
        text = text.decode(errors="ignore") if isinstance(text, bytes) else text
        if messages and (said := TOO_LARGE.search(text)):
            return self._too_large(int(said[1]), messages)
        if said := NO_EXCHANGE.search(text):
            return self._unroutable(said, messages)
        return {}

    def _too_large(
        self, limit_bytes: int, messages: Mapping[int, Message]
    ) -> dict[int, BridgeError]:
        """Fail the largest. Others that are too large fail when they are sent again."""
        self.limit_bytes = limit_bytes
        tag = max(messages, key=lambda tag: len(messages[tag].body))
        return {tag: MessageTooLarge(len(messages[tag].body), limit_bytes)}

    def _unroutable(
        self, said: re.Match[str], messages: Mapping[int, Message]
    ) -> dict[int, BridgeError]:
        refused = {tag: one for tag, one in messages.items() if _is_named(said, one)}
        known = {one.exchange for one in refused.values()} & self.took
        if known and said["key"] is None:
            self.took -= known
            self._took_once |= known
            return {}
        return {tag: self._error(said["why"], one) for tag, one in refused.items()}

    def _error(self, why: str, message: Message) -> BridgeError:
        is_second = PUBLISHED_AGAIN in (message.properties.headers or {})
        if is_second and message.exchange in self.took | self._took_once:
            return PublishTimeout()  # the first one may have arrived
        return Unroutable(_DETAILS[why].format(message.exchange or UNNAMED))


def _is_named(said: re.Match[str], message: Message) -> bool:
    if said["key"] not in (None, message.routing_key):
        return False
    exchange = message.exchange or UNNAMED
    if said["exchange"] is None:
        return exchange.startswith(said["begins"])
    return bool(exchange == said["exchange"])
