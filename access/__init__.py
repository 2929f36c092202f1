"""Who may do what, by the API keys in requests' headers. Uses no Celery, and no HTTP besides."""

from access.buckets import Buckets
from access.caller import OPEN, Caller, Scope
from access.cross_site import refuse_cross_site
from access.errors import (
    AccessError,
    CrossSite,
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

__all__ = [
    "OPEN",
    "AccessError",
    "Buckets",
    "Caller",
    "CrossSite",
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
    "new_key",
    "refuse_cross_site",
]
