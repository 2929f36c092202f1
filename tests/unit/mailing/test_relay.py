"""A relay's URL: what it says, and what is wrong with it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from mailing import Relay


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("smtp://relay.example", "relay.example", 25, "opportunistic"),
        ("smtp://relay.example:587?tls=required", "relay.example", 587, "required"),
        ("smtp://127.0.0.1:1025/?tls=none", "127.0.0.1", 1025, "none"),
        ("smtps://relay.example", "relay.example", 465, "implicit"),
        ("smtps://relay.example:10465?tls=required", "relay.example", 10465, "implicit"),
        ("smtp://[::1]:25", "::1", 25, "opportunistic"),
        ("smtp://mail_server", "mail_server", 25, "opportunistic"),
    ],
)
def test_a_url_names_host_port_and_encryption(url: str, host: str, port: int, tls: str) -> None:
    relay = Relay.from_url(url)

    assert (relay.host, relay.port, relay.tls) == (host, port, tls)
    assert (relay.timeout_s, relay.data_timeout_s, relay.idle_s) == (30, 600, 30)


def test_credentials_are_decoded_and_do_not_show() -> None:
    relay = Relay.from_url("smtp://me%40example.com:p%40ss%2F%3A@h?tls=required&ca=/etc/ca.pem")

    assert (relay.user, relay.password, relay.ca) == ("me@example.com", "p@ss/:", "/etc/ca.pem")
    assert "p@ss" not in repr(relay)
    assert "me@" not in repr(relay)


def test_a_relay_is_a_value() -> None:
    one, two = (replace(Relay.from_url("smtp://a:b@h"), timeout_s=1) for _ in range(2))

    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != replace(Relay.from_url("smtp://a:c@h"), timeout_s=1)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "smtp://"),
        ("http://h", "smtp://"),
        ("h:25", "smtp://"),
        ("smtp://", "host"),
        ("smtp://a b", "host"),
        ("smtp://h\u00f6st", "host"),
        ("smtp://h:secret", "port"),
        ("smtp://h:0", "port"),
        ("smtp://h:65536", "port"),
        ("smtp://u@h", "both user and password"),
        ("smtp://:secret@h", "both user and password"),
        ("smtp://u:secr%C3%A9t@h", "ASCII"),
        ("smtp://u:secret%0D%0A@h", "ASCII"),
        ("smtp://u:sec#ret@h", "percent-encode"),
        ("smtp://u:sec/ret@h", "percent-encode|port"),
        ("smtp://h/path", "path"),
        ("smtp://h?tls=maybe", "tls must be"),
        ("smtp://h?tls=", "tls must be"),
        ("smtps://h?tls=none", "tls must be"),
        ("smtp://h?verify=no", "verify"),
    ],
)
def test_a_bad_url_is_refused_without_showing_the_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Relay.from_url(url)

    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, loopback: bool) -> None:
    assert Relay.from_url(f"smtp://{host}").is_loopback is loopback
