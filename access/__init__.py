"""Who may do what: API keys as requests show them. Of HTTP it knows headers, of Celery nothing."""

from access.buckets import Buckets
from access.caller import OPEN, Caller, Scope
from access.errors import (
    AccessError,
    ForeignSite,
    KeysUnknown,
    NoKey,
    NotPermitted,
    QuotaExceeded,
    SenderRefused,
    TooFast,
    UnknownKey,
)
from access.keyring import Keyring
from access.secret import NewKey, new_key
from access.site import check_site

__all__ = [
    "OPEN",
    "AccessError",
    "Buckets",
    "Caller",
    "ForeignSite",
    "Keyring",
    "KeysUnknown",
    "NewKey",
    "NoKey",
    "NotPermitted",
    "QuotaExceeded",
    "Scope",
    "SenderRefused",
    "TooFast",
    "UnknownKey",
    "check_site",
    "new_key",
]
