"""What goes into the ledger and what comes out, as frozen values. Times are Unix seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Status = Literal[
    "queued", "scheduled", "sending", "delivery_delayed", "sent", "failed", "canceled", "uncertain"
]
OnUncertain = Literal["retry", "hold"]
Kind = Literal["to", "cc", "bcc"]
# In Python, $ alone also matches before a line break at the end.
TagText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]*$(?!\n)", max_length=256)]
TagName = Annotated[TagText, Meta(min_length=1)]
#: A value of the metadata.
Scalar = str | int | float | bool | None

#: The mail has ended; one that failed may be retried by hand.
FINAL: frozenset[str] = frozenset({"sent", "failed", "canceled"})
#: No worker has claimed the mail, and its message is in the queue.
WAITING: frozenset[str] = frozenset({"queued", "scheduled", "delivery_delayed"})
#: The waiting statuses in which ``due_at`` counts. A queued mail is due at once, even if the clock
#: of the machine that accepted it was ahead.
PUT_OFF: frozenset[str] = WAITING - {"queued"}


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the ledger's values."""


class To(Value, frozen=True, kw_only=True):
    """A recipient as accepted. ``mailbox``: with its name; ``address``: bare."""

    kind: Kind
    mailbox: str
    address: str


class NewEmail(Value, frozen=True, kw_only=True):
    """A mail to be entered. ``expires_at``: no attempt begins after it. ``payload``: the arguments
    of its task, as JSON; ``keep``: store them at once (for a scheduled mail), and not only when
    they are needed (for a failed one).
    """

    id: str
    api_key: str = ""
    sender: str
    subject: str
    recipients: tuple[To, ...]
    tags: dict[str, str] = {}
    metadata: dict[str, Scalar] = {}
    on_uncertain: OnUncertain = "retry"
    created_at: float
    scheduled_at: float | None = None
    expires_at: float
    payload: bytes | None = None
    keep: bool = False


class RecipientReply(Value, frozen=True, kw_only=True):
    """The relay's last reply that counts for a recipient: to RCPT, to MAIL or to the content. If it
    is not ``settled``, the recipient is tried again."""

    address: str
    code: int
    text: str
    enhanced: str | None = None
    settled: bool = True


class Recipient(Value, frozen=True, kw_only=True):
    """A recipient's row: who it is, and the reply; ``code`` None: the relay has not replied yet."""

    kind: Kind
    mailbox: str
    address: str
    code: int | None = None
    enhanced: str | None = None
    text: str | None = None
    settled: bool = False

    @property
    def accepted(self) -> bool:
        """Whether the relay has taken the mail for this recipient."""
        return self.code is not None and self.code < 300

    @property
    def reply(self) -> RecipientReply | None:
        """The relay's reply to this recipient; None: none yet."""
        if self.code is None:
            return None
        return RecipientReply(
            address=self.address,
            code=self.code,
            text=self.text or "",
            enhanced=self.enhanced,
            settled=self.settled,
        )


class Event(Value, frozen=True, kw_only=True):
    """An entry of a mail's timeline. ``data``: ``smtp``, ``next_attempt_at``, ``attempt`` ..."""

    number: int
    type: str
    at: float
    data: dict[str, Any] = {}


class Email(Value, frozen=True, kw_only=True):
    """A mail's row, with its recipients."""

    id: str
    api_key: str
    status: Status
    sender: str
    subject: str
    recipients: tuple[Recipient, ...]
    tags: dict[str, str]
    metadata: dict[str, Any]
    on_uncertain: OnUncertain
    created_at: float
    updated_at: float
    scheduled_at: float | None
    expires_at: float
    due_at: float
    track: int
    attempts: int
    delays: int
    possible_duplicates: int
    suppressed: int
    events: int
    reason: dict[str, Any] | None = None


# -- what a claim returns


class Granted(Value, frozen=True, kw_only=True):
    """The attempt may send the mail until ``lease_until``. ``settled``: final replies of earlier
    attempts; ``expires_at``: the row's, which a retry or a new schedule may have changed."""

    attempt: int
    lease_until: float
    expires_at: float
    settled: tuple[RecipientReply, ...] = ()


class Ended(Value, frozen=True, kw_only=True):
    """Nothing to send: the mail is sent, failed, canceled, or held as uncertain."""

    status: Status
    reason: dict[str, Any] | None
    recipients: tuple[Recipient, ...] = ()


class Busy(Value, frozen=True, kw_only=True):
    """Another attempt may still be running: its lease ends at ``until``."""

    until: float


class Superseded(Value, frozen=True, kw_only=True):
    """The mail has a newer message (``track``), due at ``due_at``. ``waiting``: no worker has
    claimed the mail, so that message is needed; a crash may have prevented its publish."""

    track: int
    due_at: float
    waiting: bool


class Early(Value, frozen=True, kw_only=True):
    """The message came before the mail is due, at ``due_at``."""

    due_at: float


class Forgotten(Value, frozen=True, kw_only=True):
    """The mail had ended, and its record was pruned: nothing more is sent."""


Claim = Granted | Ended | Busy | Superseded | Early | Forgotten
