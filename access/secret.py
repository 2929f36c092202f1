"""The form of an API key; making and checking one.

A key is ``wm_<id>_<secret>``. The secret has 256 random bits, so nobody can guess it, and one round
of SHA-256 is enough to store it. A slow hash would only make every request slower.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import NamedTuple

PREFIX = "wm"
ID_BYTES = 6
SECRET_BYTES = 32


class NewKey(NamedTuple):
    """A key that was just made: ``text`` is for its owner alone, the rest for the ledger."""

    text: str
    id: str
    hash: bytes


def new_key(key_id: str = "") -> NewKey:
    """Make a key: with an id of its own, or that of the key that it replaces."""
    key_id = key_id or secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(text, key_id, digest(text))


def digest(text: str) -> bytes:
    """Return the hash that is stored for a key."""
    return hashlib.sha256(text.encode()).digest()


def id_in(text: str) -> str:
    """Return the id that a key names; empty if the text does not look like a key."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    return key_id if prefix == PREFIX and secret else ""


def matches(text: str, hashes: Iterable[bytes]) -> bool:
    """Whether a key is one of the stored ones, each compared in constant time."""
    shown = digest(text)
    return any(hmac.compare_digest(shown, stored) for stored in hashes)
