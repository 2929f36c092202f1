"""One mail transaction, MAIL to the final dot, and what its outcome is (RFC 5321 section 3.3)."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Sequence

from mailing.delivery import Delivery, RcptReply
from mailing.errors import DeliveryError, InvalidMessage, PermanentFailure, TransientFailure
from mailing.masking import mask
from mailing.reply import START_MAIL_INPUT, Reply
from mailing.smtp.session import Session

_PATH = re.compile(r"[!-;=?-~]{1,320}")  # printable ASCII that can't end its angle brackets
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


def check(sender: str, recipients: Sequence[str], content: bytes) -> None:
    """Refuse what could be taken for SMTP commands, before any of it is sent.

    Raises:
        InvalidMessage: an address that is not bare printable ASCII, no recipient, or content that
            is not lines of ASCII: some relays take a bare CR or LF for a line's end (SMTP
            smuggling).
    """
    if not _PATH.fullmatch(sender):
        raise InvalidMessage("sender", "must be a bare address in ASCII")
    if not recipients or isinstance(recipients, str):
        raise InvalidMessage("recipients", "must be a list with at least one address")
    for index, recipient in enumerate(recipients):
        if not _PATH.fullmatch(recipient):
            raise InvalidMessage(f"recipients[{index}]", "must be a bare address in ASCII")
    breaks = content.count(b"\r\n")
    has_bare = content.count(b"\r") != breaks or content.count(b"\n") != breaks
    if has_bare or not content.endswith(b"\r\n") or not content.isascii():
        raise InvalidMessage("content", "must be ASCII, with CRLF at the end of each line")


def begin(session: Session, sender: str, recipients: Sequence[str], content: bytes) -> None:
    """Send MAIL FROM, with SIZE if the relay offers that. If it offers PIPELINING, also send ahead
    the commands of which :func:`finish` reads the replies.

    Raises:
        PermanentFailure: 5yz.
        TransientFailure: 4yz, or no reply.
    """
    arguments = f"FROM:<{sender}>"
    if session.offers("size"):
        arguments += f" SIZE={len(content)}"
    envelope = [("MAIL", arguments), *(("RCPT", _to(each)) for each in recipients), ("DATA", "")]
    session.send_ahead(envelope)
    reply = session.command("MAIL", arguments)
    if not reply.accepted:
        session.take_back()
        raise failure(reply)


def finish(session: Session, recipients: Sequence[str], content: bytes) -> Delivery:
    """Send RCPT TO for each recipient, then the content; for a session that accepted MAIL.

    Raises:
        PermanentFailure: every recipient was refused for good, or the content was.
        TransientFailure: every recipient was refused, one of them for now; or the content was,
            for now; or the connection was lost before the final dot.
        Uncertain: no reply to the final dot.
    """
    replies = _replies(session, recipients)
    accepted = tuple(one for one in replies if one.code // 100 == 2)
    refused = _refused(replies)
    if not accepted:
        session.take_back()
        raise _none_accepted(refused)
    try:
        verdict = _send(session, content)
    except DeliveryError as exc:
        # Relays may quote the subject, which must not be in an error.
        text = mask(exc.text, _subject(content))
        error = type(exc)(exc.code, text, exc.enhanced, refused=refused)
        raise error from exc.__cause__
    return Delivery(
        accepted=accepted,
        refused=refused,
        code=verdict.code,
        text=verdict.text,
        enhanced=verdict.enhanced,
        host=session.relay.host,
        tls=session.tls,
    )


def _replies(session: Session, recipients: Sequence[str]) -> list[RcptReply]:
    """Send RCPT TO for each. If the session ends in between, the error has the refusals so far:
    Postfix answers 421 after 20 errors, and the next try would only get as far again."""
    replies: list[RcptReply] = []
    try:
        for address in recipients:
            replies.append(_rcpt(session, address))
    except TransientFailure as exc:
        refused = _refused(replies)
        raise TransientFailure(exc.code, exc.text, exc.enhanced, refused=refused) from exc.__cause__
    return replies


def _refused(replies: Sequence[RcptReply]) -> tuple[RcptReply, ...]:
    return tuple(one for one in replies if one.code // 100 != 2)


def _rcpt(session: Session, address: str) -> RcptReply:
    code, text, enhanced = session.command("RCPT", _to(address))
    return RcptReply(address=address, code=code, text=text, enhanced=enhanced)


def _to(address: str) -> str:
    return f"TO:<{address}>"


def _none_accepted(refused: tuple[RcptReply, ...]) -> DeliveryError:
    for one in refused:
        if one.transient:
            return TransientFailure(one.code, one.text, one.enhanced, refused=refused)
    first = refused[0]
    return PermanentFailure(first.code, first.text, first.enhanced, refused=refused)


def _send(session: Session, content: bytes) -> Reply:
    reply = session.command("DATA")
    if reply.code != START_MAIL_INPUT:
        raise failure(reply)
    if content.startswith(b".") or b"\n." in content:  # looking first is far quicker
        content = _LEADING_DOT.sub(b"..", content)
    verdict = session.send_content(content)
    if not verdict.accepted:
        raise failure(verdict)
    return verdict


def _subject(content: bytes) -> tuple[str, ...]:
    head = content.partition(b"\r\n\r\n")[0]
    subject = email.message_from_bytes(head, policy=email.policy.default)["Subject"]
    return (str(subject),) if subject else ()


def failure(reply: Reply) -> DeliveryError:
    """Return the error for a negative reply."""
    if reply.code // 100 == 5 and not reply.transient:
        return PermanentFailure(*reply)
    return TransientFailure(*reply)
