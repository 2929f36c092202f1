"""A request may name its target by the whole URI (RFC 9112 section 3.2.2)."""

from __future__ import annotations

import asyncio

import pytest
from tornado.web import Application, RequestHandler

from tests.web_server import served

DEADLINE_S = 5.0
TOLD = "Host: told.example\r\n"


class Handler(RequestHandler):
    def get(self) -> None:
        self.write(f"{self.request.uri} at {self.request.host}")


async def answer(target: str, headers: str) -> str:
    """Return a server's whole answer to one request."""
    with served(Application([("/.*", Handler)])) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
        octets = await asyncio.wait_for(reader.read(), DEADLINE_S)
        writer.close()
    return octets.decode()


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("http://named.example/emails?limit=2", "/emails?limit=2 at named.example"),
        ("HTTPS://named.example:8443/a/b", "/a/b at named.example:8443"),
        ("http://named.example", "/ at named.example"),
        ("http://named.example?limit=2", "/?limit=2 at named.example"),
        ("/http://named.example/", "/http://named.example/ at told.example"),
        ("//named.example/", "//named.example/ at told.example"),
    ],
)
async def test_the_targets_host_counts_and_not_the_header(target: str, wanted: str) -> None:
    assert (await answer(target, TOLD)).endswith(f"\r\n\r\n{wanted}")


@pytest.mark.gen_test
@pytest.mark.parametrize("headers", ["", TOLD + TOLD])
async def test_the_target_does_not_mend_a_wrong_header(headers: str) -> None:
    assert (await answer("http://named.example/", headers)).startswith("HTTP/1.1 400 ")


@pytest.mark.gen_test
@pytest.mark.parametrize("target", ["http:///emails", "ftp://named.example/emails", "*"])
async def test_other_forms_are_found_nowhere(target: str) -> None:
    assert (await answer(target, TOLD)).startswith("HTTP/1.1 404 ")
