"""What the server says of its mails, when all is over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

import msgspec
from tornado.httpclient import HTTPError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

TRIES = 5
PAUSE_S = 1.0
TIMELINE_S = 2.0
WAITING = ("queued", "scheduled", "sending", "delivery_delayed")
PAGE = 100
#: What the checker looks at; no more is kept of a mail, as a campaign has many.
MEMBERS = ("status", "possible_duplicates", "reason", "recipients")

Document = dict[str, Any]


class NoAnswer(Exception):
    """The server does not answer, although nothing is wrong any more."""


async def _get(http: SimpleAsyncHTTPClient, url: str) -> Any:
    """Return the JSON of a resource, None where there is none.

    Raises:
        NoAnswer
    """
    error: object = None
    for _ in range(TRIES):
        try:
            response = await http.fetch(url, raise_error=False)
        except (HTTPError, OSError) as exc:
            error = exc
        else:
            if response.code == 200:
                return msgspec.json.decode(response.body)
            if response.code == 404:
                return None
            error = f"{response.code} {response.error}"
        await asyncio.sleep(PAUSE_S)
    raise NoAnswer(f"{url}: {error}")


async def _documents(url: str, ids: Collection[str]) -> dict[str, Document | None]:
    """Read the pages of all mails, which is quick, and ask for those that are on none."""
    http = SimpleAsyncHTTPClient(force_instance=True)
    wanted, found = set(ids), dict[str, Document | None]()
    async for mail in _pages(http, url, f"/emails?limit={PAGE}"):
        if mail["id"] in wanted:
            found[mail["id"]] = {member: mail[member] for member in MEMBERS}
    for email_id in wanted - found.keys():
        found[email_id] = await _get(http, f"{url}/{email_id}")
    return found


async def _pages(
    http: SimpleAsyncHTTPClient, url: str, path: str | None
) -> AsyncIterator[Document]:
    while path:
        page = await _get(http, url.removesuffix("/emails") + path)
        for mail in page["data"]:
            yield mail
        path = page.get("next")


async def _waiting(url: str) -> set[str]:
    http = SimpleAsyncHTTPClient(force_instance=True)
    found = set[str]()
    for status in WAITING:
        pages = _pages(http, url, f"/emails?status={status}&limit={PAGE}")
        found |= {mail["id"] async for mail in pages}
    return found


def documents(url: str, ids: Collection[str]) -> dict[str, Document | None]:
    """Return the judged members of each mail, as the server says; None for an unknown mail.

    Raises:
        NoAnswer
    """
    return asyncio.run(_documents(url, ids))


def wait_until_settled(url: str, ids: Collection[str], timeout_s: float) -> set[str]:
    """Wait until none of these mails waits any more; return those that do when the time is up.

    Raises:
        NoAnswer
    """
    deadline = time.monotonic() + timeout_s
    while True:
        waiting = asyncio.run(_waiting(url)) & set(ids)
        if not waiting or time.monotonic() > deadline:
            return waiting
        time.sleep(PAUSE_S)


def timeline(url: str, email_id: str) -> list[str]:
    """Return the events of a mail, a line each."""

    async def events() -> list[str]:
        http = SimpleAsyncHTTPClient(force_instance=True)
        lines = list[str]()
        with contextlib.suppress(HTTPError, OSError):  # a waiting mail's timeline has no end
            await http.fetch(
                f"{url}/{email_id}/events",
                streaming_callback=lambda data: lines.extend(data.decode().splitlines()),
                request_timeout=TIMELINE_S,
            )
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    return asyncio.run(events())
