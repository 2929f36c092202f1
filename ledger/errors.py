"""What can go wrong with the ledger."""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger could not do what was asked."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or type(self).__name__).partition("\n")[0]
        super().__init__(self.detail)


class LedgerUnavailable(LedgerError):
    """The ledger's database cannot be used now; whether an entry was made is unknown."""


class OtherVersion(LedgerError):
    """The ledger was made by another version of Windmail."""


class EntryRefused(LedgerError):
    """The database cannot hold what was to be entered, such as text with a zero byte."""


class UnknownEmail(LedgerError):
    """There is no such mail."""


class NotPossible(LedgerError):
    """The mail's status, ``status``, does not allow this."""

    def __init__(self, status: str, detail: str) -> None:
        self.status = status
        super().__init__(detail)
