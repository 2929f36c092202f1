"""Reads the dead queue and empties it: replays letters to their queues, or discards them.

Blocking, for a command. A command holds the letters that it reads until it ends, so two commands at
the same time see different letters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import kombu
import msgspec
from amqp.exceptions import AccessRefused, ChannelError, MessageNacked
from kombu.exceptions import OperationalError

from bridge.dead.batch import BATCH, await_return, ready, take
from bridge.dead.letter import DeadLetter
from bridge.errors import BridgeError
from bridge.message import PUBLISHED_AGAIN
from bridge.signing import Signer
from bridge.topology import DEFAULT

#: Each reading counts as a delivery, and from a queue without a limit of its own RabbitMQ 4 drops a
#: message at the 20th. A letter that was delivered this often is replaced by a new copy.
RENEW_AT = 10
#: How long one publish may wait for the broker's confirm.
CONFIRM_TIMEOUT_S = 10.0

#: Which letters: those with these ids (one that is None: letters without an id); None: all.
Ids = Collection[str | None] | None
Edit = Callable[[DeadLetter], DeadLetter | None]


class Counts(msgspec.Struct, kw_only=True):
    """What became of the letters that were asked for.

    ``kept``: an edit declined them. ``unroutable``: no queue takes them, so they stay, too.
    """

    replayed: int = 0
    discarded: int = 0
    kept: int = 0
    unroutable: int = 0


class Interrupted(BridgeError):
    """The broker was lost, did not confirm, or refused; what was not done yet lies in the dead
    queue."""

    def __init__(self, reason: BaseException, counts: Counts) -> None:
        self.counts = counts
        why = f"the broker was lost or did not confirm ({type(reason).__name__})"
        if isinstance(reason, AccessRefused):
            why = f"the broker's user may not do this: {reason.reply_text}"
        super().__init__(f"{why}; what was not done yet lies in the dead queue still")


def browse(
    connection: kombu.Connection,
    limit: int,
    *,
    known: Container[str],
    signer: Signer | None,
) -> Iterator[DeadLetter]:
    """Yield up to ``limit`` dead letters in the order of the queue, and remove none.

    Letters that nobody has read yet are in the order in which they were dead-lettered; those that
    were read go back in any order. After a reading of a part of the queue, the next one begins with
    the rest. ``known``, ``signer``: see :meth:`DeadLetter.from_message`.

    Raises:
        Interrupted: the broker was lost.
    """
    with _DeadQueue(connection) as dead:
        for message in dead.messages(limit):
            letter = DeadLetter.from_message(message, known=known, signer=signer)
            yield letter
            dead.leave(message, letter)


def replay(
    connection: kombu.Connection,
    ids: Ids,
    edit: Edit = lambda letter: letter,
    *,
    known: Container[str],
    signer: Signer | None,
) -> Counts:
    """Publish letters again to the queues where they died, and then remove them.

    Each is removed only after the broker's confirm: a crash may leave a copy, but loses nothing.
    A worker treats it as a redelivered message, so a task that has succeeded since does not
    run again. ``edit`` may change a letter, or keep it where it is by returning None. Letters
    that come in meanwhile are left for the next time.

    Raises:
        Interrupted: the broker was lost; ``counts`` says what was done before.
    """
    with _DeadQueue(connection) as dead:
        for message, letter in dead.wanted(ids, known=known, signer=signer):
            edited = edit(letter)
            if edited is not None and dead.publish(edited):
                dead.remove(message)
                dead.counts.replayed += 1
                continue
            dead.leave(message, letter)
            if edited is None:
                dead.counts.kept += 1
            else:
                dead.counts.unroutable += 1
    return dead.counts


def discard(connection: kombu.Connection, ids: Ids) -> Counts:
    """Remove letters for good.

    Raises:
        Interrupted: the broker was lost; ``counts`` says what was done before.
    """
    with _DeadQueue(connection) as dead:
        # Why a letter is dead is of no interest here.
        for message, _letter in dead.wanted(ids, known=(), signer=None):
            dead.remove(message)
            dead.counts.discarded += 1
    return dead.counts


class _DeadQueue:
    """The dead queue while a command reads it. When the channel closes, letters that were not
    removed go back to the queue."""

    def __init__(self, connection: kombu.Connection) -> None:
        self.counts = Counts()
        self._connection = connection
        self._queue = DEFAULT.dead_queue
        self._taken = 0  # letters that are out of the queue, and not removed
        self._errors = (
            *connection.connection_errors,
            *connection.channel_errors,
            OperationalError,  # kombu's, where it cannot connect
        )
        self._reading: Any = None
        self._publishing: Any = None

    def __enter__(self) -> _DeadQueue:
        with self._interrupted():
            self._reading = self._connection.channel()
            self._reading.auto_decode = False  # bodies stay bytes
            self._publishing = self._connection.channel()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Interrupted):
            # A broker that is gone, or in an alarm, would not answer a close.
            self._connection.collect(socket_timeout=1)
            return
        with self._interrupted():
            self._reading.close()
            await_return(self._publishing, self._queue, self._taken)
            self._publishing.close()

    @contextmanager
    def _interrupted(self) -> Iterator[None]:
        try:
            yield
        except self._errors as exc:
            raise Interrupted(exc, self.counts) from exc

    def messages(self, limit: int | None = None) -> Iterator[Any]:
        """Yield those that are in the queue now, each once; ``limit``: that many at most."""
        with self._interrupted():
            there = ready(self._reading, self._queue)  # those that come in later are left alone
        left = there if limit is None else min(limit, there)
        while left > 0:
            with self._interrupted():
                taken = take(self._connection, self._reading, self._queue, min(left, BATCH))
                left -= len(taken)
                self._taken += len(taken)
                if not taken:  # another command holds the rest
                    left = 0
            while taken:
                yield taken.popleft()

    def wanted(
        self, ids: Ids, *, known: Container[str], signer: Signer | None
    ) -> Iterator[tuple[Any, DeadLetter]]:
        """Yield the letters of these ids, and leave the others."""
        for message in self.messages():
            letter = DeadLetter.from_message(message, known=known, signer=signer)
            if ids is None or letter.id in ids:
                yield message, letter
            else:
                self.leave(message, letter)

    def leave(self, message: Any, letter: DeadLetter) -> None:
        """Leave a letter in the queue; replace it by a new copy before the broker would drop it."""
        if letter.deliveries >= RENEW_AT and self._publish(
            _message(letter, message.headers), "", self._queue
        ):
            self.remove(message)

    def remove(self, message: Any) -> None:
        with self._interrupted():
            self._reading.basic_ack(message.delivery_tag)
            self._taken -= 1

    def publish(self, letter: DeadLetter) -> bool:
        """Publish a letter as a live message to the queue where it died, as :meth:`_publish`."""
        if letter.queue is None:
            return False
        headers = {**letter.headers, PUBLISHED_AGAIN: True}
        return self._publish(_message(letter, headers), DEFAULT.exchange, letter.queue)

    def _publish(self, message: amqp.Message, exchange: str, routing_key: str) -> bool:
        """Return whether a queue has taken it; any refusal leaves everything as it was."""
        with self._interrupted():
            try:
                self._publishing.basic_publish_confirm(
                    message,
                    exchange=exchange,
                    routing_key=routing_key,
                    mandatory=True,
                    confirm_timeout=CONFIRM_TIMEOUT_S,
                )
            except MessageNacked:
                return False
            except ChannelError:
                # py-amqp leaves a returned message's confirm unread: the next publish on this
                # channel would mistake it for its own.
                self._publishing.close()
                self._publishing = self._connection.channel()
                return False
        return True


def _message(letter: DeadLetter, headers: Any) -> amqp.Message:
    return amqp.Message(
        letter.body,
        content_type=letter.content_type,
        content_encoding=letter.content_encoding,
        application_headers=dict(headers or {}),
        delivery_mode=2,
        **letter.properties,
    )
