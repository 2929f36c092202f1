"""The reasons for refusing a request; a class's first line is its text."""

from __future__ import annotations


class AccessError(Exception):
    """The request is not permitted."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or type(self).__name__).partition("\n")[0]
        super().__init__(self.detail)


class NoKey(AccessError):
    """This needs an API key, as `Authorization: Bearer <key>`."""


class UnknownKey(AccessError):
    """The API key is unknown or revoked."""


class KeysUnknown(AccessError):
    """The API keys cannot be read now; try again later."""


class CrossSite(AccessError):
    """A request of another site's page, or by a name not of this machine, needs an API key."""


class NotPermitted(AccessError):
    """The API key lacks a scope; ``scope`` names it."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"The API key lacks the scope '{scope}'.")


class SenderRefused(AccessError):
    """The API key may not send from this domain."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        super().__init__(f"from: the API key may not send from {domain!r}")


class TooFast(AccessError):
    """The API key's rate is exceeded; ``retry_after_s`` tells when the next request may come."""

    def __init__(self, rate: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"The API key is limited to {rate} requests; Retry-After says when to try again."
        )


class QuotaExceeded(AccessError):
    """The API key's daily recipients are used up; ``retry_after_s`` leads to the next UTC day."""

    def __init__(self, daily_recipients: int, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(
            f"The API key may send to {daily_recipients} recipients a day (UTC), and this "
            "request would exceed that."
        )
