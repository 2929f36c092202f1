"""What happened to each mail, in SQL; knows nothing of Celery or HTTP."""

from ledger import api_keys, claims, commands, idempotency, migrate, outcomes, queries, retention
from ledger.accept import discard, enter
from ledger.api_keys import ApiKey
from ledger.book import Ledger
from ledger.claims import Delayed
from ledger.commands import Charge, Sendable
from ledger.condition import Failure
from ledger.errors import (
    EntryRefused,
    LedgerError,
    LedgerUnavailable,
    NotPossible,
    OtherVersion,
    UnknownEmail,
)
from ledger.idempotency import Reserved
from ledger.outcomes import Outcome, Recorded
from ledger.values import (
    FINAL,
    WAITING,
    Busy,
    Claim,
    Early,
    Email,
    Ended,
    Event,
    Granted,
    Kind,
    NewEmail,
    OnUncertain,
    Recipient,
    Reply,
    Status,
    Superseded,
    To,
)

__all__ = [
    "FINAL",
    "WAITING",
    "ApiKey",
    "Busy",
    "Charge",
    "Claim",
    "Delayed",
    "Early",
    "Email",
    "Ended",
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
    "Recorded",
    "Reply",
    "Reserved",
    "Sendable",
    "Status",
    "Superseded",
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
