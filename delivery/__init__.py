"""Takes a mail from its queue message to the relay, and records each step in the ledger.

Uses the settings, ``mailing`` and ``ledger``; knows nothing of Celery and HTTP.
"""

from delivery.circuit import announce_circuit_by
from delivery.dead import DeadMail, record_dead, requeue
from delivery.entry import compose, content, new_email
from delivery.parts import ledger, prepare_ledger, share, templates
from delivery.retention import prune
from delivery.revoked import cancel_revoked
from delivery.sending import send
from delivery.steps import Again, Done, Drop, Fail, Step, Wait

__all__ = [
    "Again",
    "DeadMail",
    "Done",
    "Drop",
    "Fail",
    "Step",
    "Wait",
    "announce_circuit_by",
    "cancel_revoked",
    "compose",
    "content",
    "ledger",
    "new_email",
    "prepare_ledger",
    "prune",
    "record_dead",
    "requeue",
    "send",
    "share",
    "templates",
]
