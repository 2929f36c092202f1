"""Who makes a request, and what they may do."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from access.errors import NotPermitted, SenderRefused
from ledger import ApiKey
from mailing.address import parse_mailbox
from mailing.rate import Rate


class Scope(StrEnum):
    """What a key allows. ``admin`` includes the others, and everybody's mails."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a request: the key with the id ``owner``; empty: anybody, while there are no keys.
    ``domains`` empty: any."""

    owner: str
    number: int = 0
    scopes: frozenset[Scope]
    domains: frozenset[str] = frozenset()
    rate: Rate | None = None
    daily_recipients: int | None = None

    @property
    def sees(self) -> str | None:
        """Whose mails the caller sees, for the ledger's queries: their own, or all (None)."""
        return None if Scope.ADMIN in self.scopes else self.owner

    def need(self, scope: Scope) -> None:
        """Check that the caller has a scope.

        Raises:
            NotPermitted
        """
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise NotPermitted(scope)

    def check_sender(self, mailbox: str) -> None:
        """Check that the caller may send from this mailbox: its domain is exactly one of theirs.

        Raises:
            SenderRefused
        """
        if self.domains:
            domain = parse_mailbox("from", mailbox).domain
            if domain not in self.domains:
                raise SenderRefused(domain)


#: Everybody, while no key was ever made.
OPEN = Caller(owner="", scopes=frozenset(Scope))


def caller_of(key: ApiKey) -> Caller:
    """Return a key's caller; a scope that this version does not know is ignored."""
    return Caller(
        owner=key.id,
        number=key.number,
        scopes=frozenset(scope for scope in Scope if scope in key.scopes),
        domains=frozenset(key.domains),
        rate=None if key.rate is None else Rate.parse(key.rate),
        daily_recipients=key.daily_recipients,
    )
