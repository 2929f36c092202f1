"""Accepting the mails of a request: with its ``Idempotency-Key``, or without one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from access import Caller
from bridge.ids import created_at
from handlers.accepting.outgoing import Key, Outgoing, Receipt, outgoing
from handlers.accepting.pressure import Overloaded
from handlers.accepting.quota import quota_of
from handlers.emails.arguments import arguments
from handlers.emails.body import EmailBody, read
from handlers.emails.handler import EmailHandler
from handlers.problems import Problem
from ledger import Reserved

KEY_LENGTH = 256
#: Bodies from this size on are read in a thread: a megabyte takes milliseconds.
LARGE_BYTES = 64 * 1024

OutgoingAt = Callable[[float], Awaitable[Sequence[Outgoing]]]


def prepare(raw: bytes | msgspec.Raw, now: float, caller: Caller) -> Outgoing:
    """Return the mail that a body describes.

    Raises:
        Problem: 400 or 422, naming the member.
        InvalidMessage, TooLarge, SenderRefused
    """
    return outgoing(arguments(read(raw, EmailBody), now), caller=caller)


class AcceptingHandler(EmailHandler):
    """A handler of requests that bring mails."""

    async def accept(self, outgoing: Sequence[Outgoing], key: Key | None) -> Receipt:
        """Accept mails; with a key, only once. ``Idempotent-Replayed`` says if that was earlier.

        Raises:
            KeyReused, NotAccepted, LedgerUnavailable, QuotaExceeded, Overloaded
        """
        acceptance = self._services.acceptance
        try:
            self._services.pressure.check(outgoing)
        except Overloaded:
            before = await self._entered_before(key)
            if before is None or before.state != "published":
                raise
            return self._replayed(before)  # accepted before the overload
        quota = quota_of(self.caller, outgoing)
        if key is None:
            return await acceptance.accept(outgoing, quota)
        receipt = await acceptance.accept_once(key, outgoing, quota)
        self._say_if_replayed(receipt)
        return receipt

    async def accept_as_before(
        self, key: Key | None, outgoing_at: OutgoingAt, refusal: Exception
    ) -> Receipt:
        """Accept a request that is not valid now, if it was when its key was first used.

        It may be invalid now because ``scheduled_at`` is past, or a template has changed.
        ``outgoing_at`` returns the mails as of a given time. If they were not published then (the
        broker was away, or the process died), they are published now.

        Raises:
            KeyReused, NotAccepted, LedgerUnavailable
            and ``refusal``, if the key is unknown.
        """
        before = await self._entered_before(key)
        if before is None:
            try:
                raise refusal
            finally:
                del refusal  # else a cycle with its traceback keeps the body in memory
        if before.state == "published":
            return self._replayed(before)
        moment = created_at(before.email_ids[0])
        return await self.accept(await outgoing_at(moment or time.time()), key)

    async def idempotency_key(self, scope: str) -> Key | None:
        """Return the request's ``Idempotency-Key``; ``scope`` is hashed with the body.

        Raises:
            Problem: 400, the key is not 1 to 256 printable ASCII characters, or the body is
                not JSON.
        """
        text = self.request.headers.get("Idempotency-Key")
        if text is None:
            return None
        if not (0 < len(text) <= KEY_LENGTH and text.isascii() and text.isprintable()):
            detail = f"Idempotency-Key: must be 1 to {KEY_LENGTH} printable ASCII characters"
            raise Problem(400, detail, name="invalid_idempotency_key")
        raw = self.body.octets()
        if len(raw) < LARGE_BYTES:
            body_hash = _hash(scope, raw)
        else:
            body_hash = await self.in_thread(partial(_hash, scope, raw))
        return Key(owner=self.caller.owner, text=text, body_hash=body_hash)

    async def _entered_before(self, key: Key | None) -> Reserved | None:
        if key is None:
            return None
        return await self.in_thread(partial(self._services.acceptance.known, key))

    def _replayed(self, before: Reserved) -> Receipt:
        receipt = Receipt(ids=before.email_ids, replayed=True)
        self._say_if_replayed(receipt)
        return receipt

    def _say_if_replayed(self, receipt: Receipt) -> None:
        if receipt.replayed:
            self.set_header("Idempotent-Replayed", "true")


def _hash(scope: str, raw: bytes) -> bytes:
    """Return a request's SHA-256; white space and the order of JSON members do not matter."""
    try:
        canonical = msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise Problem(400, f"The body is not JSON: {exc}.") from None
    return hashlib.sha256(scope.encode() + b"\n" + canonical).digest()
