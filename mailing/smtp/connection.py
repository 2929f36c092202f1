"""Opens a session that is ready for mail: connect, encrypt, log in."""

from __future__ import annotations

import functools
import re
import smtplib
import socket
import ssl
import time
from typing import Any, cast

from mailing.errors import Unreachable
from mailing.reply import parse
from mailing.smtp.relay import Relay
from mailing.smtp.replies import DeadlineReader, Replies
from mailing.smtp.session import Session, reason

#: How long CA certificates are cached, in seconds: reading their files takes 20 ms, and the files
#: may be replaced while a worker runs.
AUTHORITIES_S = 60.0

_FULL_NAME = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")


class _Opening(smtplib.SMTP):
    """smtplib's dialogue up to the login, which may take ``dialogue_s`` as a whole."""

    def __init__(self, relay: Relay, **options: Any) -> None:
        self._until = time.monotonic() + relay.dialogue_s
        # A local_hostname keeps smtplib from asking the DNS, without a timeout, for our name.
        super().__init__(relay.host, relay.port, "localhost", timeout=relay.timeout_s, **options)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:  # at first, and after STARTTLS
            reader = DeadlineReader(cast(socket.socket, self.sock), self.timeout)
            reader.until = self._until
            self.file = Replies(reader)
        return super().getreply()


class _EncryptedOpening(_Opening, smtplib.SMTP_SSL):
    """An opening with TLS from the first byte."""


def open_session(relay: Relay) -> Session:
    """Open a session: connect, greet, STARTTLS and log in as the relay's settings say.

    Raises:
        Unreachable: for any error, even 5yz, since the mail is not its cause: a wrong password or
            a blocked address must not fail a whole queue for good.
    """
    smtp = _connect(relay)
    try:
        _greet(smtp)
        encrypted = relay.tls == "implicit" or _start_tls(smtp, relay)
        if relay.user:
            _log_in(smtp, relay, encrypted=encrypted)
    except OSError as exc:
        smtp.close()
        raise Unreachable(None, f"cannot open a session: {reason(exc)}") from exc
    except BaseException:
        smtp.close()
        raise
    return Session(relay, smtp, tls=encrypted)


def _connect(relay: Relay) -> smtplib.SMTP:
    place = f"{relay.host}:{relay.port}"
    try:
        if relay.tls == "implicit":
            smtp: smtplib.SMTP = _EncryptedOpening(relay, context=_tls(relay.ca))
        else:
            smtp = _Opening(relay)
    except smtplib.SMTPConnectError as exc:
        raise _refusal(exc.smtp_code, exc.smtp_error) from None
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that the DNS cannot have
        raise Unreachable(None, f"cannot connect to {place}: {reason(exc)}") from exc
    if smtp.sock is not None:
        # Without this, a small packet (a command, a mail's end) may wait for an earlier one's ACK.
        smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        smtp.local_hostname = _own_name(smtp.sock)
    return smtp


def _own_name(sock: socket.socket) -> str:
    """Return the name for EHLO: this host's full name, or its address (RFC 5321 4.1.4)."""
    name = socket.gethostname()
    if _FULL_NAME.fullmatch(name):
        return name
    address = sock.getsockname()[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _greet(smtp: smtplib.SMTP) -> None:
    code, raw = smtp.ehlo()
    if 500 <= code <= 599:
        code, raw = smtp.helo()
    if not 200 <= code <= 299:
        raise _refusal(code, raw)


def _start_tls(smtp: smtplib.SMTP, relay: Relay) -> bool:
    """Encrypt the session if that is wanted and offered; return whether it is encrypted."""
    if relay.tls == "none":
        return False
    if not smtp.has_extn("starttls"):
        if relay.tls == "required":
            raise Unreachable(None, "the relay offers no STARTTLS, and tls=required is set")
        return False
    try:
        smtp.starttls(context=_tls(relay.ca))
    except ssl.SSLCertVerificationError as exc:
        advice = "give its CA by ?ca=, or switch TLS off by ?tls=none"
        raise Unreachable(None, f"{reason(exc)}: {advice}") from exc
    except smtplib.SMTPResponseException as exc:
        raise _refusal(exc.smtp_code, exc.smtp_error) from None
    _greet(smtp)
    return True


def _tls(ca: str | None) -> ssl.SSLContext:
    """Return a context that verifies certificates and names.

    Raises:
        OSError: the file ``ca`` cannot be read.
    """
    return _context(ca, time.monotonic() // AUTHORITIES_S)


@functools.lru_cache(maxsize=8)
def _context(ca: str | None, _period: float) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _log_in(smtp: smtplib.SMTP, relay: Relay, *, encrypted: bool) -> None:
    if not encrypted and relay.tls != "none" and not relay.is_loopback:
        raise Unreachable(
            None,
            "the session is not encrypted, so the password was not sent: "
            "set ?tls=required, or ?tls=none to send it in clear",
        )
    try:
        smtp.login(relay.user, relay.password)
    except smtplib.SMTPAuthenticationError as exc:
        raise _refusal(exc.smtp_code, exc.smtp_error) from None
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException:
        raise Unreachable(None, "the relay offers no login that is known here") from None
    except ValueError as exc:  # smtplib reads the challenge as base64, without a check
        raise Unreachable(None, f"cannot log in: {reason(exc)}") from None


def _refusal(code: int, raw: bytes | str) -> Unreachable:
    reply = parse(code, raw if isinstance(raw, bytes) else raw.encode())
    if not 200 <= code <= 599:
        return Unreachable(None, "the relay does not speak SMTP")
    return Unreachable(*reply)
