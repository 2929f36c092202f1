"""Where SMTP_URL points, and whether a mailbox of ours can serve there."""

from __future__ import annotations

from mailing import Relay


def address(url: str) -> tuple[str, int]:
    """Return host and port of an SMTP URL that ``config.check`` has passed."""
    relay = Relay.from_url(url)
    return relay.host, relay.port


def wants_mailbox(url: str) -> bool:
    """True if the URL is plain SMTP on this machine: what the development mailbox offers."""
    relay = Relay.from_url(url)
    return relay.tls in ("none", "opportunistic") and not relay.user and relay.is_loopback
