"""How a key looks, how one is made, and how it is checked.

A key is ``wm_<id>_<secret>``. The secret has 256 random bits, so that one round of SHA-256 is
enough to store it: there is nothing to guess, and a slow hash would only slow every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

PREFIX = "wm"
ID_BYTES = 6
SECRET_BYTES = 32


class NewKey(NamedTuple):
    """A key that was just made: ``text`` is for its owner alone, the rest for the ledger."""

    text: str
    id: str
    hash: bytes


def new_key() -> NewKey:
    """Make a key."""
    key_id = secrets.token_hex(ID_BYTES)
    text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    return NewKey(text, key_id, digest(text))


def digest(text: str) -> bytes:
    """Return what is stored of a key."""
    return hashlib.sha256(text.encode()).digest()


def id_in(text: str) -> str:
    """Return the id that a key names; empty if the text does not look like a key."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    return key_id if prefix == PREFIX and secret else ""


def matches(text: str, hashed: bytes) -> bool:
    """Whether a key is the stored one; the time taken does not tell how much of it is right."""
    return hmac.compare_digest(digest(text), hashed)
