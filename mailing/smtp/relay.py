"""The SMTP relay and how to connect to it, as a value."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Tls = Literal["none", "opportunistic", "required", "implicit"]

_PORTS = {"smtp": 25, "smtps": 465}
_MODES: dict[str, tuple[Tls, ...]] = {
    "smtp": ("opportunistic", "required", "none"),  # the first is the default
    "smtps": ("implicit",),
}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_CREDENTIAL = re.compile(r"[ -~]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Relay:
    """An SMTP relay and how to talk to it. Credentials do not show in ``repr()``.

    ``tls`` is one of

    - ``none``: never encrypted; credentials are sent as they are;
    - ``opportunistic``: STARTTLS if the relay offers it. The certificate is verified: a relay that
      offers TLS with an invalid certificate gets no mail; there is no fallback to plain text;
    - ``required``: STARTTLS, or no mail;
    - ``implicit``: TLS from the first byte (``smtps``, RFC 8314).

    ``ca`` is a PEM file of certificates to trust instead of the system's.

    ``timeout_s`` is for connecting, and for the reply to each command; ``data_timeout_s`` for the
    reply to the final dot (RFC 5321 section 4.5.3.2.6: 10 minutes; a shorter one makes outcomes
    uncertain). A session that was idle for ``idle_s`` is not used again.

    ``dialogue_s`` limits a mail's commands and content as a whole, up to the final dot, in addition
    to ``timeout_s``; and likewise the opening of a session, up to the login.
    """

    host: str
    port: int
    tls: Tls = "opportunistic"
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca: str | None = None
    timeout_s: float = 30.0
    data_timeout_s: float = 600.0
    dialogue_s: float = 300.0
    idle_s: float = 30.0

    @classmethod
    def from_url(cls, url: str) -> Relay:
        """Read ``smtp[s]://[user:password@]host[:port][?tls=none|opportunistic|required&ca=file]``.

        User and password are percent-decoded. Ports default to 25 and 465.

        Raises:
            ValueError: saying what is wrong, without the credentials.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise ValueError("the relay's URL must begin with smtp:// or smtps://")
        if parts.path.strip("/") or parts.fragment:
            raise ValueError("the relay's URL has no path; percent-encode / and # in a password")
        user, password = _credentials(parts)
        options = _options(parts)
        return cls(
            host=_host(parts),
            port=_port(parts),
            tls=_tls(parts.scheme, options.get("tls")),
            user=user,
            password=password,
            ca=options.get("ca"),
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the relay is on this machine, so that nothing crosses a network."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def _credentials(parts: SplitResult) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("the relay's URL must have both user and password, or neither")
    if not (_CREDENTIAL.fullmatch(user) and _CREDENTIAL.fullmatch(password)):
        # smtplib sends credentials as ASCII.
        raise ValueError("the relay's user and password must be printable ASCII")
    return user, password


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise ValueError("the relay's URL must name a host (a name, or an IP address)")
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        # No "from": urllib's message quotes what it took for the port, perhaps a password.
        raise ValueError("the relay's port must be a number from 1 to 65535") from None
    return port or _PORTS[parts.scheme]


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - {"tls", "ca"})
    if unknown:
        raise ValueError(f"the relay's URL takes ?tls= and ?ca=, not {', '.join(unknown)}")
    return options


def _tls(scheme: str, mode: str | None) -> Tls:
    if scheme == "smtps" and mode == "required":
        return "implicit"
    for known in _MODES[scheme]:
        if mode in (None, known):
            return known
    allowed = "required" if scheme == "smtps" else ", ".join(_MODES[scheme])
    raise ValueError(f"tls must be one of {allowed} with {scheme}://")
