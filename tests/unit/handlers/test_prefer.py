"""``Prefer: wait=N`` (RFC 7240) and ``?wait=N``: for how long a client wants to wait."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application

import config
from handlers.base import BaseHandler
from handlers.problems import Problem


class NoConnection:
    """What a handler asks of its connection before it answers."""

    def set_close_callback(self, _callback: Any) -> None: ...


class NoServices:
    """Parsing needs neither app nor bridge."""

    app = bridge = bodies = None


def handler(*prefer: str, query: str = "") -> BaseHandler:
    headers = HTTPHeaders({"Host": "localhost"})
    for value in prefer:
        headers.add("Prefer", value)
    request = HTTPServerRequest(
        headers=headers,
        start_line=RequestStartLine("GET", f"/celery/x?{query}", "HTTP/1.1"),
        connection=NoConnection(),  # type: ignore[arg-type]
    )
    return BaseHandler(Application(), request, services=NoServices())


def applied(asked: BaseHandler) -> str | None:
    return asked._headers.get("Preference-Applied")


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (["wait=10"], 10),
        (['wait="10"'], 10),
        (["Wait = 10"], 10),
        (["wait=0"], 0),
        (["wait=2.5"], 2.5),
        (["wait=10; unit=s"], 10),
        (["respond-async, wait=10"], 10),
        (["wait=3, wait=4"], 3),
        (["respond-async", "wait=10"], 10),
        (["handling=lenient;foo, wait=7;x=y, return=minimal"], 7),
    ],
)
def test_a_wanted_wait_is_granted_and_said(prefer: list[str], seconds: float) -> None:
    asked = handler(*prefer)

    assert asked.seconds_to_wait() == seconds
    assert applied(asked) == f"wait={seconds:g}"


@pytest.mark.parametrize(
    "prefer",
    [
        [],
        [""],
        ["wait"],
        ["wait="],
        ["wait=soon"],
        ["wait=-1"],
        ["wait=1e3"],
        ["await=10"],
        ["wait=10s"],
        ["respond-async"],
        [",;,="],
    ],
)
def test_a_preference_that_is_not_understood_is_ignored(prefer: list[str]) -> None:
    asked = handler(*prefer)

    assert asked.seconds_to_wait() is None
    assert applied(asked) is None


def test_the_query_wins_over_the_header() -> None:
    assert handler("wait=10", query="wait=1").seconds_to_wait() == 1


@pytest.mark.parametrize("query", ["wait=", "wait=soon", "wait=-1", "wait=inf", "wait=nan"])
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    with pytest.raises(Problem) as info:
        handler("wait=10", query=query).seconds_to_wait()

    assert info.value.status_code == 422
    assert info.value.members["errors"][0]["argument"] == "wait"


@pytest.mark.parametrize("asked", [handler("wait=86400"), handler(query="wait=86400")])
def test_no_more_is_granted_than_the_longest_wait(asked: BaseHandler) -> None:
    longest = config.options.max_wait_s

    assert asked.seconds_to_wait() == longest
    assert applied(asked) == f"wait={longest:g}"


@pytest.mark.parametrize(
    ("query", "value"),
    [("", False), ("revoke=1", True), ("revoke=true", True), ("revoke", True)]
    + [(f"revoke={no}", False) for no in ("0", "false", "No")],
)
def test_a_flag_is_set_unless_it_says_no(query: str, value: bool) -> None:
    assert handler(query=query).is_set("revoke") is value
