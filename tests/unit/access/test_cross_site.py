"""Other sites' pages, and names that lead here, are told from who is on this machine."""

from __future__ import annotations

import pytest

from access import CrossSite, refuse_cross_site


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "127.0.0.1:8888"},
        {"Host": "[::1]:8888"},
        {"Host": "localhost:8888", "Origin": "http://localhost:8888"},
        {"Host": "LOCALHOST", "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Host": "Localhost:8888", "Origin": "http://LOCALHOST:8888"},
        {"Host": "windmail.localhost."},
        {"Host": "web:8888", "Sec-Fetch-Site": "none"},
    ],
)
def test_who_is_on_this_machine_is_let_in(headers: dict[str, str]) -> None:
    refuse_cross_site(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:8888", "Origin": "https://evil.example"},
        {"Host": "localhost:8888", "Origin": "http://localhost:3000"},
        {"Host": "localhost:8888", "Origin": "null"},
        {"Host": "localhost:8888", "Origin": "http://["},
        {"Host": "localhost:8888", "Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost:8888", "Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example:8888"},
        {"Host": "evil.example:8888", "Origin": "http://evil.example:8888"},
        {"Host": "evil.notlocalhost:8888"},
        {"Host": "192.0.2.1"},
        {"Host": "["},
    ],
)
def test_another_sites_page_is_not(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSite):
        refuse_cross_site(headers)
