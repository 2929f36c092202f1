"""Where SMTP_URL points, and whether a mailbox of ours can serve there."""

from __future__ import annotations

from urllib.parse import urlsplit

from config_checks import is_loopback

DEFAULT_PORTS = {"smtp": 25, "smtps": 465}


def address(url: str) -> tuple[str, int]:
    """Return host and port of an SMTP URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORTS[parts.scheme]


def wants_mailbox(url: str) -> bool:
    """True if the URL is plain SMTP on this machine: what the development mailbox offers."""
    parts = urlsplit(url)
    plain = parts.scheme == "smtp" and "tls=required" not in parts.query and not parts.username
    return plain and is_loopback(address(url)[0])
