"""A mail's way from the queue to the relay, with the ledger as its witness.

Brings the settings, ``mailing`` and ``ledger`` together; knows nothing of Celery and HTTP.
"""

from delivery.circuit import announce_circuit_by
from delivery.dead import DeadMail, bury, revive
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
    "bury",
    "cancel_revoked",
    "compose",
    "content",
    "ledger",
    "new_email",
    "prepare_ledger",
    "prune",
    "revive",
    "send",
    "share",
    "templates",
]
