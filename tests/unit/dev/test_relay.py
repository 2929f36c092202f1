import pytest

from dev import relay


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://127.0.0.1:1025", ("127.0.0.1", 1025)),
        ("smtp://mail.example.com", ("mail.example.com", 25)),
        ("smtps://user:pass@mail.example.com", ("mail.example.com", 465)),
        ("smtp://[::1]:2525", ("::1", 2525)),
    ],
)
def test_the_address_of_a_relay(url: str, expected: tuple[str, int]) -> None:
    assert relay.address(url) == expected


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("smtp://127.0.0.1:1025", True),
        ("smtp://localhost:1025?tls=opportunistic", True),
        ("smtp://localhost:1025?tls=required", False),
        ("smtp://user:pass@localhost:1025", False),
        ("smtps://localhost:465", False),
        ("smtp://mail.example.com:25", False),
    ],
)
def test_the_mailbox_stands_in_only_for_plain_smtp_on_this_machine(url: str, wanted: bool) -> None:
    assert relay.wants_mailbox(url) is wanted
