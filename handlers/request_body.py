"""Collects a request's body, within limits for each body and for all bodies together."""

from __future__ import annotations

from typing import Any

import msgspec
from tornado.httputil import HTTPHeaders

from handlers.limits import Budget
from handlers.problems import SOON, Problem


def declared_length(headers: HTTPHeaders) -> int:
    """Return the Content-Length of a request in bytes; 0 if there is none.

    The parser takes a number below 2**64 only, but with any number of zeros before it (RFC 9110
    section 8.6): Python refuses to read thousands of them.
    """
    return int(headers.get("Content-Length", "").lstrip("0") or "0")


class Bodies(Budget):
    """The request bodies in a process's memory: how many bytes each, and all, may have."""

    def __init__(self, most_bytes: int, largest_bytes: int) -> None:
        super().__init__(most_bytes)
        self.largest_bytes = largest_bytes


class RequestBody:
    """One body, which arrives in parts."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._parts: list[bytes] = []
        self._size = 0
        self._held_bytes = 0

    def expect(self, headers: HTTPHeaders) -> None:
        """Look at the Content-Length before the body is read.

        Raises:
            Problem: 413, it is too large.
        """
        self._check(declared_length(headers))

    def add(self, part: bytes) -> None:
        """Keep a part of the body.

        Raises:
            Problem: 413, the body is too large; 503, all bodies together are.
        """
        self._size += len(part)
        self._check(self._size)
        if not self._bodies.take(len(part)):
            raise Problem(
                503, "Too many bodies are being sent at once; try again later.", headers=SOON
            )
        self._held_bytes += len(part)
        self._parts.append(part)

    def octets(self) -> bytes:
        """Return the parts of the body that have arrived, joined."""
        return b"".join(self._parts)

    def json(self) -> dict[str, Any]:
        """Return the body, a JSON object; an empty body is an empty object.

        Raises:
            Problem: 400, the body is not a JSON object.
        """
        octets = self.octets()
        if not octets.strip():
            return {}
        try:
            return msgspec.json.decode(octets, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Problem(400, f"The body is not a JSON object: {exc}.") from None

    def drop(self) -> None:
        """Stop counting its bytes: its request has ended."""
        self._bodies.give_back(self._held_bytes)
        self._held_bytes = 0

    def forget(self) -> None:
        """Drop the parts of the body: they will not be read any more."""
        self._parts.clear()

    def _check(self, size_bytes: int) -> None:
        limit = self._bodies.largest_bytes
        if size_bytes > limit:
            raise Problem(413, f"The body is over {limit} bytes.", limit_bytes=limit)
