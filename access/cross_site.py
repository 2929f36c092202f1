"""Refuses requests that a browser on this machine makes for another site's page.

Such requests have no API key, so only a server that needs none must check. Otherwise any page could
send mails (https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site), and read answers
if its host name points at 127.0.0.1: it is then of the same origin (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from access.errors import CrossSite

_OURS = frozenset({"none", "same-origin"})


def refuse_cross_site(headers: Mapping[str, str]) -> None:
    """Check that a request does not come from another site.

    Raises:
        CrossSite
    """
    host = headers.get("Host", "").lower()
    origin = headers.get("Origin", f"http://{host}").lower()
    is_ours = headers.get("Sec-Fetch-Site", "none") in _OURS
    if not (is_ours and origin.partition("://")[2] == host and _is_local(host)):
        raise CrossSite


@lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    """Return whether a host is this machine, or a name that no stranger can own."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return False
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return "." not in name or name.endswith(".localhost")
