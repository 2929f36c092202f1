"""The checks of settings' values; each returns what is wrong, or None.

A value that another package parses is checked by that parser: ``Relay.from_url`` for SMTP_URL.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from bridge.tls import AUTHORITIES, CERTIFICATE, KEY, Options, client_context
from mailing import InvalidMessage, Limits, Relay, compose
from mailing.rate_limits import parse_limits
from mailing.signing import Signer, check_names

Check = Callable[[Any], str | None]  # tornado's options are typed at run time only


def between(low: float, high: float) -> Check:
    def check(value: float) -> str | None:
        return None if low <= value <= high else f"{value} is not between {low:g} and {high:g}"

    return check


def one_of(*names: str) -> Check:
    def check(value: str) -> str | None:
        return (
            None
            if value in names
            else f"{value!r} is not one of {', '.join(n or '(empty)' for n in names)}"
        )

    return check


def split_url(url: str) -> SplitResult | None:
    """Return a URL's parts; None where its host or its port cannot be read."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def broker_urls(value: str) -> str | None:
    for url in value.split(";"):
        parts = split_url(url)
        if parts is None or parts.scheme not in ("amqp", "amqps"):
            return "must be amqp://user:password@host:port/vhost (several: separated by ';')"
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            return "must have / ? # @ ; in its password percent-encoded"
    if len({url.partition(":")[0] for url in value.split(";")}) > 1:
        return "must be amqps:// for all brokers, or an attacker who stops the first reads the rest"
    return None


def clear_hosts(value: str) -> list[str]:
    """Return the hosts of brokers that are reached over a network without TLS."""
    found = [split_url(url) for url in value.split(";") if url.startswith("amqp:")]
    return [p.hostname for p in found if p and p.hostname and not is_loopback(p.hostname)]


def authorities(value: str) -> str | None:
    return _unusable({AUTHORITIES: value}) if value else None


def own_certificate(certificate: str, key: str) -> str | None:
    """Return what is wrong with the files of a certificate and of its key, which may be one."""
    if not certificate:
        return "must be set if BROKER_KEY_FILE is set" if key else None
    return _unusable({CERTIFICATE: certificate, KEY: key or None})


#: The text if OpenSSL gives no reason.
_NO_PAIR = "no certificate or no key is in it, or the key has a password"


def _unusable(options: Options) -> str | None:
    try:
        client_context(options)
    except ssl.SSLError as exc:
        return f"is not usable: {exc.reason or _NO_PAIR}"
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    return None


def https_or_empty(value: str) -> str | None:
    parts = split_url(value)
    if not value or (parts and parts.scheme == "https"):
        return None
    if parts and parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return None
    return "must be https:// (http:// on loopback only, since it carries a password)"


def relay_url(value: str) -> str | None:
    try:
        relay = Relay.from_url(value)
    except ValueError as exc:
        return str(exc)
    problem = authorities(relay.ca or "")
    return f"the file of ?ca= {problem}" if problem else None


def sender(value: str) -> str | None:
    try:
        compose("", "", value, from_=value)
    except InvalidMessage as exc:
        return exc.detail
    return None


def packages(value: str) -> str | None:
    for name in names_in(value):
        try:
            found = find_spec(f"{name}.tasks")
        except (ImportError, ValueError):
            found = None
        if found is None:
            return f"there is no module {name}.tasks"
    return None


def names_in(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach an address to listen on."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def user_and_password(value: str) -> str | None:
    if not value.isascii():  # Flower's comparison raises for other texts: each login is a 500
        return "must be ASCII, or Flower lets nobody in"
    return None if not value or value.partition(":")[2] else "must be user:password"


def database(value: str) -> str | None:
    parts = split_url(value)
    file = value.partition("sqlite:///")[2]
    # In memory, each connection would have a ledger of its own.
    is_file = bool(file) and not file.startswith((":memory:", "file:", "?"))
    if not value or is_file or (parts and parts.scheme == "postgresql"):
        return None
    return "must be postgresql://user:password@host/name, or sqlite:///path"


def dkim(value: str) -> str | None:
    domain, colon, selector = value.partition(":")
    if not value:
        return None
    if not (domain and colon and selector):
        return "must be domain:selector"
    try:
        check_names(domain, selector)
    except ValueError as exc:
        return str(exc)
    return None


def dkim_key(value: str, key_file: str) -> str | None:
    """Return what is wrong with the DKIM key; with a bad key no mail could be sent."""
    if not value or dkim(value):
        return None
    if not key_file:
        return "must be set if DKIM is set"
    domain, _, selector = value.partition(":")
    try:
        Signer.from_file(domain=domain, selector=selector, key_file=Path(key_file))
    except ValueError as exc:
        return str(exc)
    return None


def file_or_empty(value: str) -> str | None:
    try:
        if value and not Path(value).is_file():
            return "there is no such file"
    except OSError as exc:  # for example, no permission for its folder
        return f"cannot be read: {exc.strerror}"
    return None


def folder(value: str) -> str | None:
    """Return why a folder that is not there could not be made; nothing is made here."""
    if not value:
        return not_empty(value)
    path = Path(value).absolute()
    try:
        nearest = next(one for one in (path, *path.parents) if _is_there(one))
    except OSError as exc:
        return f"cannot be made: {exc.strerror}"
    if not nearest.is_dir():
        return f"cannot be made: {nearest} is not a folder"
    if nearest != path and not os.access(nearest, os.W_OK | os.X_OK):
        return f"cannot be made: no permission to write to {nearest}"
    return None


def _is_there(path: Path) -> bool:
    """Return whether a path exists; raise errors such as a missing permission, for which
    ``Path.exists`` returns False from Python 3.14 on."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def header_names(value: str) -> str | None:
    try:
        Limits(header_names=tuple(names_in(value)))
    except ValueError as exc:
        return str(exc)
    return None


def rate_limits(value: str) -> str | None:
    try:
        parse_limits(value)
    except ValueError as exc:
        return str(exc)
    return None


#: The length of 128 random bits in base64; `secrets.token_urlsafe(32)` makes 43 characters.
SHORTEST_KEY = 22


def signing_keys(value: str) -> str | None:
    if all(len(key) >= SHORTEST_KEY for key in names_in(value)):
        return None
    return f"must be random keys of at least {SHORTEST_KEY} characters"
