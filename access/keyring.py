"""The keys in memory: read from the ledger by a timer, so that no request waits for SQL."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from access.buckets import Buckets
from access.caller import OPEN, Caller, caller_of
from access.errors import KeysUnknown, NoKey, TooFast, UnknownKey
from access.secret import id_in, matches
from ledger import ApiKey, Ledger, LedgerUnavailable, api_keys

logger = logging.getLogger(__name__)

#: Pause between two reads of the keys: a new key is valid, and a revoked one invalid, after this
#: time and that of one read. While the database is away, the keys that were read last are valid.
REFRESH_S = 2.0


class Keyring:
    """The keys of one process.

    Args:
        may_be_open: whether everybody may do everything as long as no key was ever made: true if
            the server listens on loopback only.
    """

    def __init__(self, ledger: Ledger, buckets: Buckets, *, may_be_open: bool) -> None:
        self._ledger = ledger
        self._buckets = buckets
        self._may_be_open = may_be_open
        self._callers: dict[str, tuple[tuple[bytes, ...], Caller]] = {}
        self._is_open = False
        self._task: asyncio.Task[None] | None = None
        # A thread of its own: in those that requests share, this would wait for many requests of
        # one key, even if that key was revoked.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyring")
        #: Whether the keys were read at least once; until then nobody is let in.
        self.is_known = False

    async def start(self) -> None:
        """Read the keys, and keep them fresh; if the ledger is away, the timer tries again."""
        await self._refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="keyring")

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False)

    def admit(self, authorization: str | None) -> Caller:
        """Return who makes a request, by its ``Authorization`` header; count it for the key's rate.

        Raises:
            NoKey, UnknownKey
            KeysUnknown: the keys have not been read yet.
            TooFast
        """
        caller = self.identify(authorization)
        if caller.rate is not None:
            wait_s = self._buckets.take(caller.number, caller.rate)
            if wait_s:
                raise TooFast(caller.rate.text, wait_s)
        return caller

    def identify(self, authorization: str | None) -> Caller:
        """Return who makes a request; raise as :meth:`admit` does, but count nothing."""
        if self._is_open:
            return OPEN
        if not self.is_known:
            raise KeysUnknown
        kind, _, token = (authorization or "").partition(" ")
        text = token.strip()
        if kind.lower() != "bearer" or not text:
            raise NoKey
        hashes, caller = self._callers.get(id_in(text), ((), None))
        if not matches(text, hashes) or caller is None:
            raise UnknownKey
        return caller

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._refresh()

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._read)
        except LedgerUnavailable as exc:
            logger.warning("the API keys cannot be read: %s", exc.detail)
        except Exception:  # go on reading, or a revoked key would stay valid
            logger.exception("the API keys cannot be read")
        else:
            self._callers, self._is_open = found
            self.is_known = True

    def _read(self) -> tuple[dict[str, tuple[tuple[bytes, ...], Caller]], bool]:
        """Return the valid keys, and whether everybody is let in. Not for the event loop's thread:
        checking ten thousand keys takes 0.07 s."""
        found, now = self._ledger.read(api_keys.known), time.time()
        callers = {
            key.id: (hashes, caller)
            for key in found
            if (hashes := key.hashes_at(now)) and (caller := _caller_of(key)) is not None
        }
        return callers, self._may_be_open and not found


def _caller_of(key: ApiKey) -> Caller | None:
    try:
        return caller_of(key)
    except ValueError as exc:  # perhaps edited by hand: the other keys stay valid
        logger.error("API key %s is not let in: %s", key.id, exc)
        return None
