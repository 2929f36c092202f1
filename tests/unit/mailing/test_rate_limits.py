"""How limits are written: ``example.com=20/s:4``."""

from __future__ import annotations

import pytest

from mailing.rate_limits import Limit, parse_limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", []),
        (" , ", []),
        ("gmail.com=20/s", [Limit(domain="gmail.com", per_s=20)]),
        (
            "Gmail.COM = 100/m:4 , b\u00fccher.example=3600/h",
            [
                Limit(domain="gmail.com", per_s=100 / 60, at_once=4),
                Limit(domain="xn--bcher-kva.example", per_s=1),
            ],
        ),
    ],
)
def test_limits_are_read(text: str, limits: list[Limit]) -> None:
    assert list(parse_limits(text)) == limits


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gmail.com", "'gmail.com' must look like example.com=20/s"),
        ("gmail.com=20", "must look like"),
        ("gmail.com=0/s", "must look like"),
        ("gmail.com=-1/s", "must look like"),
        ("gmail.com=1.5/s", "must look like"),
        ("gmail.com=20/d", "must look like"),
        ("gmail.com=20/s:0", "must look like"),
        ("gmail.com=20/s:", "must look like"),
        ("=20/s", "'' is not a domain"),
        ("*=20/s", r"'\*' is not a domain"),
        ("a@gmail.com=20/s", "'a@gmail.com' is not a domain"),
        ("a b=20/s", "is not a domain"),
        ("gmail.com=1/s,GMAIL.com=2/s", "gmail.com has more than one rate"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_limits(text)
