"""Requests that a browser makes for somebody else's page, which may reach this machine through it.

They bring no API key, so only a server that asks for none must check: any page could send mails
(https://developer.mozilla.org/docs/Web/HTTP/Headers/Sec-Fetch-Site), and a host name that points
at 127.0.0.1 would make its owner's page one of ours (DNS rebinding).
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
