"""One SMTP session: its commands, checking that it is alive, and which errors end it."""

from __future__ import annotations

import contextlib
import math
import os
import smtplib
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import cast

from mailing.errors import TransientFailure, Uncertain
from mailing.reply import SERVICE_CLOSING, START_MAIL_INPUT, Reply, parse
from mailing.smtp.relay import Relay
from mailing.smtp.replies import DeadlineReader, Replies

#: A session that was unused for longer, in seconds, is checked by RSET before its next mail.
CHECK_AFTER_S = 1.0
#: How long the relay may take to answer that RSET, or QUIT, in seconds.
CHECK_TIMEOUT_S = 5.0

# First digits of replies (RFC 5321 section 4.2.1).
_REFUSALS = (4, 5)
_VERDICTS = (2, *_REFUSALS)
_CHUNK = 2**16  # octets in one send; each send has the whole timeout


class Session:
    """A session with a relay, ready for MAIL. For the process that opened it, one thread at a time.

    After a lost connection, an unexpected reply or a 421 it is not ``alive`` any more.
    ``has_delivered``: a mail was sent in it; some relays limit the mails of a session.
    """

    def __init__(self, relay: Relay, smtp: smtplib.SMTP, *, tls: bool) -> None:
        self.relay = relay
        self.tls = tls
        self.alive = True
        self.has_delivered = False
        self._smtp = smtp
        self._reader = DeadlineReader(cast(socket.socket, smtp.sock), relay.timeout_s)
        smtp.file = Replies(self._reader)
        self._pid = os.getpid()
        self._used_at = time.monotonic()
        self._in_transaction = False
        self._ahead: deque[tuple[str, str]] = deque()

    def offers(self, extension: str) -> bool:
        """Whether the relay's answer to EHLO named the extension."""
        return self._smtp.has_extn(extension)

    def is_usable(self) -> bool:
        """Return whether another mail may be sent in it; close the session if not.

        Always false in a forked child: the socket is the parent's.
        """
        if not self.alive or self._pid != os.getpid():
            self.abandon()
            return False
        self._reader.until = math.inf
        if self.has_expired():
            self.close()
            return False
        if self._idle_s() >= CHECK_AFTER_S or self._in_transaction:
            self._reset()
        return self.alive

    def has_expired(self) -> bool:
        """Whether it was idle for so long that it is not to be used again."""
        return self._idle_s() >= self.relay.idle_s

    def _idle_s(self) -> float:
        return time.monotonic() - self._used_at

    def _reset(self) -> None:
        """See if the relay answers, and end a refused mail's transaction (RFC 5321 4.1.1.5)."""
        try:
            self._set_deadline(min(CHECK_TIMEOUT_S, self.relay.timeout_s))
            is_ready = self.command("RSET").accepted
        except (OSError, TransientFailure):
            is_ready = False
        if not is_ready:
            self.abandon()
            return
        self._in_transaction = False
        self._reader.until = math.inf
        self._wait_up_to(self.relay.timeout_s)

    def begin_mail(self, until: float) -> None:
        """Set the deadline of everything before the final dot (``time.monotonic()``); a command or
        content that misses it raises as for a lost connection."""
        self._reader.until = until

    def send_ahead(self, commands: Sequence[tuple[str, str]]) -> None:
        """Send commands in one packet, each verb with its arguments, where the relay offers
        PIPELINING (RFC 2920). :meth:`command` then only reads their replies, in the same order.

        A connection that is lost here is noticed with the first reply.
        """
        if self.offers("pipelining"):
            lines = "".join(f"{' '.join(filter(None, command))}\r\n" for command in commands)
            with contextlib.suppress(OSError):
                self._wait_up_to()
                self._smtp.send(lines)
            self._ahead.extend(commands)

    def take_back(self) -> None:
        """Read the replies to commands that were sent ahead of a refusal of the mail."""
        with contextlib.suppress(TransientFailure):  # the session is over, and not alive any more
            while self._ahead:
                verb, arguments = self._ahead[0]
                if self.command(verb, arguments).code == START_MAIL_INPUT:
                    # RFC 2920 section 3.1: the relay now waits for content, for no recipient.
                    self.command(".")

    def command(self, verb: str, arguments: str = "") -> Reply:
        """Send a command, unless it was sent ahead, and return its reply, positive or negative.

        Raises:
            TransientFailure: no reply, or 421: the session is over.
        """
        try:
            if self._ahead:
                if self._ahead.popleft() != (verb, arguments):
                    raise smtplib.SMTPException("other commands were sent ahead")
                self._check_connected()
                code, raw = self._smtp.getreply()
            else:
                self._wait_up_to()
                code, raw = self._smtp.docmd(verb, arguments)
        except OSError as exc:  # smtplib's errors are OSErrors too
            self.abandon()
            raise TransientFailure(None, f"no reply to {verb}: {reason(exc)}") from exc
        reply = self._checked(verb, parse(code, raw))
        self._used_at = time.monotonic()
        self._in_transaction = self._in_transaction or (verb == "MAIL" and reply.accepted)
        return reply

    def send_content(self, content: bytes) -> Reply:
        """Send the octets of a mail, dots stuffed and ended by CRLF, and the final dot; return the
        relay's verdict.

        Raises:
            TransientFailure: the connection was lost before the final dot was sent, so the mail
                was not; or 421, which is a verdict.
            Uncertain: no verdict came.
        """
        last = (len(content) - 1) // _CHUNK * _CHUNK
        view = memoryview(content)
        try:
            for start in range(0, last, _CHUNK):
                self._wait_up_to()
                self._smtp.send(view[start : start + _CHUNK])
            self._wait_up_to()
            # The dot goes with the last chunk: one packet is quicker than two. If this send fails,
            # the dot was not sent.
            self._smtp.send(content[last:] + b".\r\n")
        except OSError as exc:
            self.abandon()
            raise TransientFailure(None, f"lost while sending: {reason(exc)}") from exc
        except Exception as exc:
            self.abandon()
            raise Uncertain(None, f"stopped while sending: {reason(exc)}") from exc
        return self._verdict()

    def _verdict(self) -> Reply:
        try:
            self._set_deadline(self.relay.data_timeout_s)
            code, raw = self._smtp.getreply()
            if code // 100 not in _VERDICTS:  # no reply to the dot: the relay may have the mail
                raise smtplib.SMTPException("not an SMTP verdict")
            self._reader.until = math.inf
            self._wait_up_to(self.relay.timeout_s)
        except Exception as exc:  # also a worker's soft time limit: the mail was sent
            self.abandon()
            raise Uncertain(None, f"no reply to the final dot: {reason(exc)}") from exc
        reply = self._checked(".", parse(code, raw))
        self._used_at = time.monotonic()
        # By RFC 5321 section 4.1.1.4 a refusal ends the transaction, too. In Postfix one by
        # smtpd_end_of_data_restrictions does not: without RSET, the next MAIL would get 503, and
        # its mail would fail for good.
        self._in_transaction = not reply.accepted
        self.has_delivered = self.has_delivered or reply.accepted
        return reply

    def _checked(self, verb: str, reply: Reply) -> Reply:
        if reply.code == SERVICE_CLOSING:
            self.abandon()
            raise TransientFailure(*reply)
        if not _is_answer(verb, reply.code):
            self.abandon()
            raise TransientFailure(None, f"the reply to {verb} is not one to it: {reply.code}")
        return reply

    def _check_connected(self) -> None:
        # smtplib closes a connection when a send fails, and would then read from None.
        if self._smtp.sock is None:
            raise smtplib.SMTPServerDisconnected("not connected")

    def _wait_up_to(self, timeout_s: float | None = None) -> None:
        self._check_connected()
        self._reader.wait_up_to(timeout_s)

    def _set_deadline(self, timeout_s: float) -> None:
        """Let the next reply take this long as a whole."""
        self._reader.until = time.monotonic() + timeout_s
        self._wait_up_to(timeout_s)

    def close(self) -> None:
        """Say QUIT and close the connection; never raises for a connection that is gone."""
        if self.alive and self._pid == os.getpid():
            with contextlib.suppress(OSError):
                self._set_deadline(min(CHECK_TIMEOUT_S, self.relay.timeout_s))
                self._smtp.docmd("QUIT")
        self.abandon()

    def abandon(self) -> None:
        """Close the connection without QUIT."""
        self.alive = False
        self._ahead.clear()
        with contextlib.suppress(OSError):
            self._smtp.close()

    def let_go(self) -> None:
        """Close a forked child's copy of the socket; the parent's own stays as it is."""
        self.alive = False
        if self._smtp.sock is not None:
            os.close(self._smtp.sock.detach())  # not file.close(): its lock may be held for ever


def _is_answer(verb: str, code: int) -> bool:
    """Return whether this may be a reply to the command (RFC 5321 section 4.3.2)."""
    if verb == "DATA":
        return code == START_MAIL_INPUT or code // 100 in _REFUSALS
    return code // 100 in _VERDICTS


def reason(exc: BaseException) -> str:
    """Return an error's text for people."""
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
