"""How answers are framed: by their length, by chunks, or by the connection's end."""

from __future__ import annotations

import json

import pytest
from tornado.httputil import HTTPHeaders, HTTPOutputError, ResponseStartLine

from handlers.problems import Problem
from serving.answer import Answer, refusal
from serving.parser import RequestParser


def answer(
    method: str = "GET", version: str = "1.1", *, option: str = "", closes: bool = False
) -> Answer:
    parser = RequestParser(8192)
    parser.feed(f"{method} / HTTP/{version}\r\nHost: x\r\n{option}\r\n".encode())
    return Answer(parser.requests[0], closes=closes)


def head(one: Answer, status: int = 200, **fields: str) -> list[bytes]:
    line = ResponseStartLine("HTTP/1.1", status, "Reason")
    octets = one.head(line, HTTPHeaders({name.replace("_", "-"): fields[name] for name in fields}))
    assert octets.endswith(b"\r\n\r\n")
    return octets[:-4].split(b"\r\n")


def test_a_body_whose_length_is_known_is_sent_as_it_is() -> None:
    one = answer()

    assert head(one, Content_Length="3") == [b"HTTP/1.1 200 Reason", b"Content-Length: 3"]
    assert one.body(b"ab") + one.body(b"c") + one.end() == b"abc"
    assert not one.closes


def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    one = answer()

    assert head(one) == [b"HTTP/1.1 200 Reason", b"Transfer-Encoding: chunked"]
    assert one.body(b"a" * 17) == b"11\r\n" + b"a" * 17 + b"\r\n"
    assert one.body(b"") == b""  # would be the last one
    assert one.end() == b"0\r\n\r\n"


def test_for_an_old_client_a_body_of_unknown_length_ends_with_the_connection() -> None:
    one = answer(version="1.0", option="Connection: keep-alive\r\n")

    assert head(one) == [b"HTTP/1.1 200 Reason", b"Connection: close"]
    assert one.body(b"abc") + one.end() == b"abc"
    assert one.closes


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("length", [{}, {"Content_Length": "3"}])
def test_an_answer_without_a_body_ends_with_its_header(
    method: str, status: int, length: dict[str, str]
) -> None:
    one = answer(method)

    lines = head(one, status, **length)

    assert lines[1:] == [b"Content-Length: 3"] * len(length)
    assert one.end() == b""
    with pytest.raises(HTTPOutputError):
        one.body(b"a")


def test_a_body_is_as_long_as_announced() -> None:
    short, long = answer(), answer()
    head(short, Content_Length="3")
    head(long, Content_Length="3")

    short.body(b"ab")
    with pytest.raises(HTTPOutputError):
        short.end()
    with pytest.raises(HTTPOutputError):
        long.body(b"abcd")


@pytest.mark.parametrize(
    ("version", "option", "said", "closes"),
    [
        ("1.1", "", [], False),
        ("1.1", "Connection: close\r\n", [b"Connection: close"], True),
        ("1.0", "", [b"Connection: close"], True),
        ("1.0", "Connection: keep-alive\r\n", [b"Connection: keep-alive"], False),
    ],
)
def test_an_answer_says_whether_its_connection_stays_open(
    version: str, option: str, said: list[bytes], closes: bool
) -> None:
    one = answer(version=version, option=option)

    assert head(one, Content_Length="0")[2:] == said
    assert one.closes == closes


def test_the_server_and_the_handler_may_end_the_connection() -> None:
    by_server, by_handler = answer(closes=True), answer()

    assert head(by_server, Content_Length="0")[2:] == [b"Connection: close"]
    assert b"Connection: close" in head(by_handler, Content_Length="0", Connection="Close")
    assert by_server.closes
    assert by_handler.closes


@pytest.mark.parametrize("reason", ["a\r\nb: c", "a\nb", "a\rb"])
def test_no_field_brings_another_one(reason: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        answer().head(ResponseStartLine("HTTP/1.1", 200, reason), HTTPHeaders())


def test_what_no_handler_can_take_is_a_problem_and_the_connections_last_answer() -> None:
    top, _, body = refusal(Problem(431, "too large"), None).partition(b"\r\n\r\n")

    lines = top.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert b"Connection: close" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert json.loads(body)["detail"] == "too large"
