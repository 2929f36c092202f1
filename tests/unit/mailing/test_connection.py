"""The name by which a session greets a relay (RFC 5321 section 4.1.4)."""

from __future__ import annotations

import socket
from unittest.mock import Mock

import pytest

from mailing.smtp.connection import _own_name


@pytest.mark.parametrize(
    ("host", "address", "name"),
    [
        ("mx.shop.example", "192.0.2.1", "mx.shop.example"),
        ("shop", "192.0.2.1", "[192.0.2.1]"),
        ("shop", "2001:db8::1", "[IPv6:2001:db8::1]"),
        ("my_shop.example", "192.0.2.1", "[192.0.2.1]"),
    ],
)
def test_it_is_the_hosts_full_name_or_else_its_address(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)

    assert _own_name(Mock(getsockname=lambda: (address, 40000))) == name
