"""What happened to each mail, in SQL; knows nothing of Celery or HTTP."""

from ledger import api_keys, claims, commands, idempotency, migrate, outcomes, queries, retention
from ledger.accept import discard, enter
from ledger.api_keys import ApiKey, Charge
from ledger.commands import Sendable
from ledger.errors import (
    EntryRefused,
    LedgerError,
    LedgerUnavailable,
    NotPossible,
    OtherVersion,
    UnknownEmail,
)
from ledger.health import Failure
from ledger.idempotency import Reservation, Reserved
from ledger.ledger import Ledger
from ledger.outcomes import Outcome
from ledger.values import (
    FINAL,
    Email,
    Event,
    Granted,
    Kind,
    NewEmail,
    OnUncertain,
    Recipient,
    RecipientReply,
    Status,
    To,
)

__all__ = [
    "FINAL",
    "ApiKey",
    "Charge",
    "Email",
    "EntryRefused",
    "Event",
    "Failure",
    "Granted",
    "Kind",
    "Ledger",
    "LedgerError",
    "LedgerUnavailable",
    "NewEmail",
    "NotPossible",
    "OnUncertain",
    "OtherVersion",
    "Outcome",
    "Recipient",
    "RecipientReply",
    "Reservation",
    "Reserved",
    "Sendable",
    "Status",
    "To",
    "UnknownEmail",
    "api_keys",
    "claims",
    "commands",
    "discard",
    "enter",
    "idempotency",
    "migrate",
    "outcomes",
    "queries",
    "retention",
]
