"""DKIM: a mail's signature by the sender's domain (RFC 6376).

dkimpy reads, canonicalises and hashes the mail and does the RSA. The signature's tags are made
here: dkimpy takes the signing time from the clock, but each attempt must send the same octets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
from datetime import datetime
from email.utils import parseaddr
from pathlib import Path

import dkim  # type: ignore[import-untyped] # dkimpy has no types
from dkim.canonicalization import Relaxed  # type: ignore[import-untyped] # as above
from dkim.crypto import (  # type: ignore[import-untyped] # as above
    RSASSA_PKCS1_v1_5_sign,
    RSASSA_PKCS1_v1_5_verify,
    UnparsableKeyError,
    parse_pem_private_key,
)

#: Bits of the modulus (RFC 8301 section 3.2).
SHORTEST_KEY = 1024
SHORTEST_GOOD_KEY = 2048

# Listed in h= once more than they occur, even if they do not occur at all: a header added on the
# way then breaks the signature. Readers show these, or reply to them (RFC 6376 section 8.15).
_SEALED = (b"from", b"to", b"cc", b"reply-to", b"subject")
# Listed once more than they occur, if they occur.
_SEALED_IF_THERE = (
    b"date",
    b"message-id",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
    b"in-reply-to",
    b"references",
)
# Listed as often as they occur. RFC 8058 section 4 asks for the two on unsubscribing.
_AS_THEY_ARE = (b"list-unsubscribe", b"list-unsubscribe-post", b"list-id", b"auto-submitted")

_LABELS = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABELS}(?:\.{_LABELS})*")
_PEM = re.compile(rb"-----BEGIN (RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END ", re.DOTALL)
_LINE_LENGTH = 72

_log = logging.getLogger(__name__)


class Signer:
    """Signs the mails of a domain and of its subdomains; may be used from any thread.

    The signature is rsa-sha256 with relaxed/relaxed canonicalisation. The key does not show in
    ``repr()``.
    """

    def __init__(self, domain: str, selector: str, key: bytes) -> None:
        """Read the key and try it out.

        Args:
            domain: ``d=``, in its ASCII form (``xn--``).
            selector: ``s=``; the public key is at ``selector._domainkey.domain``.
            key: an RSA key as PEM, PKCS#1 or PKCS#8, without a passphrase.

        Raises:
            ValueError: saying what is wrong, without quoting the key.
        """
        check_names(domain, selector)
        self.domain = domain.lower()
        self.selector = selector
        self._key = _read_key(key)

    @classmethod
    def from_file(cls, *, domain: str, selector: str, key_file: Path) -> Signer:
        """Read the key from a PEM file.

        Raises:
            ValueError: the file can't be read, or as above.
        """
        try:
            key = key_file.read_bytes()
        except OSError as error:
            raise ValueError(f"the DKIM key file can't be read: {error.strerror}") from None
        return cls(domain, selector, key)

    def __repr__(self) -> str:
        return f"<Signer {self.selector}._domainkey.{self.domain}>"

    def sign(self, content: bytes, *, signed_at: datetime) -> bytes:
        """Return the mail with a DKIM-Signature in front; same arguments, same octets.

        A mail whose From is not of the domain or a subdomain is returned unsigned: DMARC ignores a
        signature of another domain (RFC 7489 section 3.1.1), and ours would vouch for a mail that
        is not ours.

        Args:
            content: from ``build``: every line ended by CRLF.
            signed_at: ``t=``, timezone-aware; fractions of a second are dropped. Verifiers may
                refuse one in the future.

        Raises:
            ValueError: ``signed_at`` has no timezone.
        """
        if signed_at.tzinfo is None:
            raise ValueError("signed_at must have a timezone")
        parsed, body = dkim.rfc822_parse(content)
        headers: list[tuple[bytes, bytes]] = Relaxed.canonicalize_headers(parsed)
        if not self._is_ours(headers):
            return content
        names = _names_to_sign([name for name, _ in headers])
        value = self._tags(names, Relaxed.canonicalize_body(body), int(signed_at.timestamp()))
        hashed = hashlib.sha256()
        dkim.hash_headers(hashed, Relaxed, headers, names, (b"DKIM-Signature", value), {})
        signature = base64.b64encode(RSASSA_PKCS1_v1_5_sign(hashed, self._key))
        lines = [signature[i : i + _LINE_LENGTH] for i in range(0, len(signature), _LINE_LENGTH)]
        return b"DKIM-Signature:" + value + b"\r\n ".join(lines) + b"\r\n" + content

    def _is_ours(self, headers: list[tuple[bytes, bytes]]) -> bool:
        values = [value for name, value in headers if name == b"from"]
        if len(values) != 1:
            return False
        address = parseaddr(values[0].decode("ascii", "replace"))[1]
        of = address.rpartition("@")[2].lower()
        return of == self.domain or of.endswith("." + self.domain)

    def _tags(self, names: list[bytes], body: bytes, time_s: int) -> bytes:
        """Return the header's value up to ``b=``, which has a line of its own.

        ``i=`` is left out: it defaults to ``@domain``.
        """
        tags = {
            b"v": b"1",
            b"a": b"rsa-sha256",
            b"c": b"relaxed/relaxed",
            b"d": self.domain.encode("ascii"),
            b"s": self.selector.encode("ascii"),
            b"t": b"%d" % time_s,
            b"h": b" : ".join(names),
            b"bh": base64.b64encode(hashlib.sha256(body).digest()),
        }
        text = b" " + b"; ".join(name + b"=" + value for name, value in tags.items())
        folded: bytes = dkim.fold(text, namelen=len(b"DKIM-Signature:"))
        return folded + b";\r\n b="


def check_names(domain: str, selector: str) -> None:
    """Check the two names under which verifiers look for the public key.

    Raises:
        ValueError: saying which one is not a domain name.
    """
    for name, text in (("domain", domain), ("selector", selector)):
        if not _DOMAIN.fullmatch(text):
            raise ValueError(f"the DKIM {name} must be a domain name in ASCII")


def _names_to_sign(names: list[bytes]) -> list[bytes]:
    """Return the names for ``h=``, each as often as it is to be listed."""
    signed: list[bytes] = []
    for name in (*_SEALED, *_SEALED_IF_THERE, *_AS_THEY_ARE):
        count = names.count(name)
        if name in _SEALED or (count and name in _SEALED_IF_THERE):
            count += 1
        signed += [name] * count
    return signed


def _read_key(key: bytes) -> dict[str, int]:
    key = b"\n".join(line.strip() for line in key.splitlines())
    # Errors are not chained: dkimpy's messages are no help, and a traceback could show the key.
    if not _PEM.search(key):
        raise ValueError("the DKIM key must be an RSA key in PEM form, without a passphrase")
    try:
        parsed: dict[str, int] = parse_pem_private_key(key)
    except (UnparsableKeyError, binascii.Error, LookupError, TypeError, ValueError):
        raise ValueError("the DKIM key is damaged, or is not an RSA key") from None
    bits = parsed["modulus"].bit_length()
    if bits < SHORTEST_KEY:
        raise ValueError(f"the DKIM key has {bits} bits; verifiers refuse less than {SHORTEST_KEY}")
    if bits < SHORTEST_GOOD_KEY:
        _log.warning("the DKIM key has %d bits; %d are advised", bits, SHORTEST_GOOD_KEY)
    if not _works(parsed):
        raise ValueError("the DKIM key is damaged: it can't verify what it signs")
    return parsed


def _works(key: dict[str, int]) -> bool:
    trial = hashlib.sha256(b"trial")
    try:
        return bool(RSASSA_PKCS1_v1_5_verify(trial, RSASSA_PKCS1_v1_5_sign(trial, key), key))
    except (ArithmeticError, AssertionError, ValueError):
        return False
