"""Mails and how they are sent: MIME, SMTP sessions, errors, rates, circuit breaker, templates.

Knows nothing of Celery, Tornado, HTTP or the settings. A mail goes through three steps::

    mail = compose("Hello", "How are you?", "Ann <ann@example.com>", from_="me@example.com")
    content = build(mail, mail_id="0197...", accepted_at=datetime.now(UTC))
    delivery = deliver(
        Relay.from_url("smtp://127.0.0.1:1025"),
        sender=mail.envelope_from,
        recipients=mail.recipients,
        content=content,
    )
"""

from mailing.attachment import Attachment
from mailing.breaker import CircuitBreaker
from mailing.delivery import Delivery, RcptReply
from mailing.errors import (
    CircuitOpen,
    DeliveryError,
    InvalidMessage,
    MailError,
    NoFreeSession,
    PermanentFailure,
    TemplateError,
    TooLarge,
    TransientFailure,
    Uncertain,
    Unreachable,
)
from mailing.limits import Limits
from mailing.message import Mail, compose
from mailing.mime import build, message_id
from mailing.rate_limits import RateLimits
from mailing.smtp.relay import Relay
from mailing.smtp.sessions import close_sessions, deliver

__all__ = [
    "Attachment",
    "CircuitBreaker",
    "CircuitOpen",
    "Delivery",
    "DeliveryError",
    "InvalidMessage",
    "Limits",
    "Mail",
    "MailError",
    "NoFreeSession",
    "PermanentFailure",
    "RateLimits",
    "RcptReply",
    "Relay",
    "TemplateError",
    "TooLarge",
    "TransientFailure",
    "Uncertain",
    "Unreachable",
    "build",
    "close_sessions",
    "compose",
    "deliver",
    "message_id",
]
