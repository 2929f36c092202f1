"""One try to send a mail: whose fate it settles, and whether another try makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from mailing.delivery import Recipient
from mailing.errors import DeliveryError, PermanentFailure, TransientFailure, Uncertain
from mailing.message import Mail
from mailing.mime import build
from mailing.relay import Relay
from mailing.sessions import deliver


class Attempt(NamedTuple):
    """What a try brought.

    ``settled``: replies that stand, 2yz and 5yz; ``reply``: the relay's last one, with the
    fields of a :class:`Delivery`; ``again``: why to try again for the others, or None.
    """

    settled: Sequence[Recipient]
    reply: dict[str, object]
    again: DeliveryError | None = None


def attempt(
    relay: Relay,
    mail: Mail,
    *,
    mail_id: str,
    accepted_at: datetime,
    before: Sequence[Recipient],
    last: bool,
) -> Attempt:
    """Try to send a mail to those of its recipients whom no earlier try has settled.

    Args:
        before: what earlier tries have settled.
        last: there is no further try, so every reply stands.

    Raises:
        PermanentFailure: the relay refused the mail, and no recipient has it.
    """
    known = {recipient.address for recipient in before}
    try:
        delivery = deliver(
            relay,
            sender=mail.envelope_from,
            recipients=[address for address in mail.recipients if address not in known],
            content=build(mail, mail_id=mail_id, accepted_at=accepted_at),
        )
    except (TransientFailure, Uncertain) as exc:
        return Attempt([r for r in exc.refused if not r.transient], {}, exc)
    except PermanentFailure as exc:
        if not any(recipient.code < 300 for recipient in before):
            raise
        return Attempt(exc.refused, {"code": exc.code, "text": exc.text, "enhanced": exc.enhanced})
    later = [recipient for recipient in delivery.refused if recipient.transient]
    if last or not later:
        return Attempt([*delivery.accepted, *delivery.refused], msgspec.to_builtins(delivery))
    final = [recipient for recipient in delivery.refused if not recipient.transient]
    reason = TransientFailure(later[0].code, later[0].text, later[0].enhanced)
    return Attempt([*delivery.accepted, *final], {}, reason)
