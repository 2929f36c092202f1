"""Checks and encodes the headers that callers set."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailing.errors import InvalidMessage
from mailing.header import structured, unstructured
from mailing.header_check import check_value
from mailing.limits import Limits, may_be_set

# Headers of free text, encoded where needed. All others are read by programs: ASCII, not encoded.
_UNSTRUCTURED = re.compile(r"x-.+|comments|keywords|organization", re.IGNORECASE)
_SHOWABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_URI = re.compile(r"<\s*(https?):", re.IGNORECASE)
_CLOSED = "is not a header that may be set"
_ONE_CLICK = "List-Unsubscribe=One-Click"


def check_headers(headers: object, limits: Limits) -> dict[str, str]:
    """Return the headers, if each may be set and can be written.

    Raises:
        InvalidMessage: naming ``headers`` or the header.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidMessage("headers", "must be an object of texts")
    if len(headers) > limits.headers:
        raise InvalidMessage("headers", f"must not hold more than {limits.headers} headers")
    checked: dict[str, str] = {}
    names: dict[str, str] = {}
    for index, (name, value) in enumerate(headers.items()):
        if not isinstance(name, str) or not _SHOWABLE.fullmatch(name):
            # The name is not shown: it may be any text.
            raise InvalidMessage(f"headers[{index}]", "is not a valid header name")
        if name.lower() in names:
            raise InvalidMessage(f"headers.{name}", "is given twice")
        if not may_be_set(name):
            raise InvalidMessage(f"headers.{name}", _CLOSED)
        if not limits.allows(name):
            allowed = ", ".join(limits.header_names) or "none"
            raise InvalidMessage(f"headers.{name}", f"{_CLOSED}; these may: {allowed}")
        names[name.lower()] = checked[name] = check_value(f"headers.{name}", value)
        encode_header(name, checked[name])
    _check_one_click(names)
    return checked


def encode_header(name: str, text: str) -> str:
    """Return what follows ``name:`` in the mail.

    Raises:
        InvalidMessage: no caller may set the header, or the text does not fit it.
    """
    if not may_be_set(name):
        raise InvalidMessage(f"headers.{name}", _CLOSED)
    if _UNSTRUCTURED.fullmatch(name):
        return unstructured(name, text)
    return structured(name, text)


def _check_one_click(names: Mapping[str, str]) -> None:
    """Enforce RFC 8058 section 3.1: mail providers silently ignore what is only half right."""
    post = names.get("list-unsubscribe-post")
    if post is None:
        return
    if post.strip(" ") != _ONE_CLICK:
        raise InvalidMessage("headers.List-Unsubscribe-Post", f"must be {_ONE_CLICK}")
    schemes = [scheme.lower() for scheme in _URI.findall(names.get("list-unsubscribe", ""))]
    if schemes != ["https"]:
        raise InvalidMessage(
            "headers.List-Unsubscribe", "must hold one https URI in angle brackets for One-Click"
        )
