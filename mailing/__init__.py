"""What a mail is and how it is sent: MIME, SMTP sessions, outcome classes.

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

from mailing.attempt import Attempt, attempt
from mailing.delivery import Delivery, Recipient
from mailing.errors import (
    DeliveryError,
    InvalidMessage,
    MailError,
    PermanentFailure,
    TransientFailure,
    Uncertain,
)
from mailing.message import Mail, compose
from mailing.mime import build, message_id
from mailing.relay import Relay
from mailing.sessions import close_sessions, deliver

__all__ = [
    "Attempt",
    "Delivery",
    "DeliveryError",
    "InvalidMessage",
    "Mail",
    "MailError",
    "PermanentFailure",
    "Recipient",
    "Relay",
    "TransientFailure",
    "Uncertain",
    "attempt",
    "build",
    "close_sessions",
    "compose",
    "deliver",
    "message_id",
]
