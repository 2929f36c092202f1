"""Accepts mails: writes their rows to the ledger and publishes their messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from bridge import BridgeError, PublishTimeout
from handlers.accepting.outgoing import (
    Key,
    KeyReused,
    Message,
    NotAccepted,
    Outgoing,
    Publish,
    Receipt,
    check,
    error_of,
    replay,
)
from handlers.accepting.quota import UNLIMITED, Quota
from handlers.accepting.reserving import reserve
from handlers.accepting.running import Running
from ledger import (
    Ledger,
    LedgerError,
    Reservation,
    Reserved,
    Sendable,
    commands,
    discard,
    idempotency,
)

logger = logging.getLogger(__name__)

#: A process may publish under a key for this much longer than the broker's confirm may take.
GRACE_S = 1.0


class Acceptance:
    """Accepts mails; what has begun is finished, even if the client hangs up.

    Args:
        publish: publishes one mail's message.
        publish_timeout_s: how long the publish may take.
        kept_s: how long an Idempotency-Key is remembered.
    """

    def __init__(
        self, ledger: Ledger, publish: Publish, *, publish_timeout_s: float, kept_s: float
    ) -> None:
        self._ledger = ledger
        self._publish = publish
        self._lease_s = publish_timeout_s + GRACE_S
        self._kept_s = kept_s
        self._running = Running()
        self._by_key: dict[tuple[str, str], tuple[bytes, asyncio.Task[Receipt]]] = {}

    async def accept(self, outgoing: Sequence[Outgoing], quota: Quota = UNLIMITED) -> Receipt:
        """Enter and publish mails at the same time; return when both are done for all of them.

        A quota is charged first, since a mail that is queued cannot be taken back.

        Raises:
            QuotaExceeded
            NotAccepted
            LedgerUnavailable: the quota could not be charged; nothing was published.
        """
        return await self._running.here(self._accept(outgoing, quota))

    async def accept_once(
        self, key: Key, outgoing: Sequence[Outgoing], quota: Quota = UNLIMITED
    ) -> Receipt:
        """Accept mails unless the key's request was accepted before; then return its ids.

        The quota is charged together with the key's entry, so a repeated request costs nothing.

        Raises:
            KeyReused: the key stands for another request.
            QuotaExceeded
            NotAccepted
            LedgerUnavailable: nothing was published.
        """
        name = (key.owner, key.text)
        if name not in self._by_key:
            first = self._running.start(self._accept_once(key, outgoing, quota))
            self._by_key[name] = (key.body_hash, first)
            first.add_done_callback(lambda _: self._by_key.pop(name))
            return await asyncio.shield(first)
        body_hash, running = self._by_key[name]
        if body_hash != key.body_hash:
            raise KeyReused
        receipt = await asyncio.shield(running)
        return Receipt(ids=receipt.ids, replayed=True)

    def known(self, key: Key) -> Reserved | None:
        """Return what an earlier request with this key has entered; None: there was none. Blocks
        until the ledger answers.

        Raises:
            KeyReused, LedgerUnavailable
        """
        find = partial(
            idempotency.find,
            api_key=key.owner,
            key=key.text,
            body_hash=key.body_hash,
            since=time.time() - self._kept_s,
        )
        found = self._ledger.read(find)
        if found is not None and found.state == "reused":
            raise KeyReused
        return found

    async def send_again(
        self,
        email_id: str,
        change: Callable[[Connection], Sendable],
        not_before: float | None = None,
        *,
        charges: str = "",
    ) -> None:
        """Run ``change``, after which a mail needs a new message, and publish the message.

        ``charges``: see :meth:`Ledger.write`.

        Raises:
            UnknownEmail, NotPossible
            NotAccepted: refused, so the change is undone; or unknown (``queued`` is None).
            LedgerUnavailable: nothing was published.
        """
        await asyncio.shield(
            self._running.start(self._send_again(email_id, change, not_before, charges))
        )

    async def close(self, timeout_s: float) -> None:
        """Finish what has begun."""
        await self._running.close(timeout_s)

    async def _accept(self, outgoing: Sequence[Outgoing], quota: Quota) -> Receipt:
        await quota.pay(self._ledger)
        entry = self._ledger.accept_soon(*(one.email for one in outgoing))  # in parallel
        errors = await self._publish_all(outgoing)
        entered = await error_of(entry)
        refused = [
            one
            for one, error in zip(outgoing, errors, strict=True)
            if error is not None and not isinstance(error, PublishTimeout)
        ]
        if refused:
            take_back = partial(_take_back, mails=refused, quota=quota)
            await self._write(take_back, refused[0].id, quota.key_id)
        check(outgoing, errors, entered)
        return Receipt(ids=tuple(one.id for one in outgoing))

    async def _accept_once(self, key: Key, outgoing: Sequence[Outgoing], quota: Quota) -> Receipt:
        asked = Reservation(
            api_key=key.owner,
            key=key.text,
            body_hash=key.body_hash,
            new=[one.email for one in outgoing],
            lease_s=self._lease_s,
            kept_s=self._kept_s,
            charge=quota.charge,
        )
        reserved = await reserve(self._ledger, asked, quota)
        if reserved.state != "mine":
            return replay(reserved)
        if len(reserved.email_ids) != len(outgoing):
            raise KeyReused  # in a permissive batch, other mails are valid by now
        mails = [
            one.renamed(email_id)
            for one, email_id in zip(outgoing, reserved.email_ids, strict=True)
        ]
        errors = await self._publish_all(mails)
        if any(errors):
            if not any(isinstance(error, PublishTimeout) for error in errors):
                release = partial(idempotency.release, api_key=key.owner, key=key.text)
                await self._write(release, key.order)
            check(mails, errors, None)
        published = self._ledger.together(
            idempotency.published, (key.owner, key.text), order=key.owners_order, even_late=True
        )
        self._running.start(_note(published))
        taken_over = mails[0].id != outgoing[0].id
        return Receipt(ids=reserved.email_ids, replayed=taken_over)

    async def _publish_all(self, outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        if len(outgoing) == 1:  # cheaper without a task
            return [await error_of(self._publish(outgoing[0]))]
        return await asyncio.gather(*(error_of(self._publish(one)) for one in outgoing))

    async def _send_again(
        self,
        email_id: str,
        change: Callable[[Connection], Sendable],
        not_before: float | None,
        charges: str,
    ) -> None:
        sendable = await self._ledger.change(change, order=email_id, charges=charges)
        arguments = {**msgspec.json.decode(sendable.payload), "_track": sendable.track}
        if not_before is not None:
            arguments["_scheduled_at"] = not_before
        try:
            await self._publish(Message(id=email_id, arguments=arguments, not_before=not_before))
        except PublishTimeout as exc:
            raise NotAccepted(exc, queued=None, ids=[email_id]) from exc
        except BridgeError as exc:
            undo = partial(commands.undo, email_id=email_id, sendable=sendable)
            await self._write(undo, email_id, charges)
            raise NotAccepted(exc, queued=False, ids=[]) from exc

    async def _write(
        self, operation: Callable[[Connection], None], order: str, charges: str = ""
    ) -> None:
        await _note(
            self._ledger.awaited(self._ledger.write(operation, order=order, charges=charges))
        )


async def _note(entry: Awaitable[object]) -> None:
    """Await an entry; a failure is only logged, since the answer does not depend on it."""
    try:
        await entry
    except LedgerError as exc:
        logger.warning("the ledger misses an entry: %s", exc.detail)


def _take_back(connection: Connection, mails: Sequence[Outgoing], quota: Quota) -> None:
    discard(connection, [mail.id for mail in mails])
    quota.refund(connection, mails)
