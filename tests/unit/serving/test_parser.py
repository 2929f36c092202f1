"""Requests as llhttp reads them: where one ends and the next begins, and what is refused."""

from __future__ import annotations

import gc
import weakref

import pytest

from serving.parser import BODY_STEP, HEAD_STEP, RequestParser

HEADER_BYTES = 8192
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def parsed(octets: bytes, size: int = HEAD_STEP) -> RequestParser:
    parser = RequestParser(HEADER_BYTES)
    for begin in range(0, len(octets), size):
        parser.feed(octets[begin : begin + size])
    return parser


def seen(parser: RequestParser) -> list[tuple[str, bytes]]:
    return [(one.start_line.path, b"".join(one.parts)) for one in parser.requests]


@pytest.mark.parametrize("size", [1, HEAD_STEP])
@pytest.mark.parametrize(
    "framed",
    [b"Content-Length: 31\r\n\r\n%b", b"Transfer-Encoding: chunked\r\n\r\n1f\r\n%b\r\n0\r\n\r\n"],
)
@pytest.mark.parametrize("wish", [b"", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"])
def test_a_body_is_no_request_even_where_another_protocol_is_wished_for(
    wish: bytes, framed: bytes, size: int
) -> None:
    """RFC 9110, section 7.8; Java's ``HttpClient`` sends such requests."""
    parser = parsed(b"POST /a?b HTTP/1.1\r\nHost: x\r\n" + wish + framed % NEXT + NEXT, size)

    assert seen(parser) == [("/a?b", NEXT), ("/next", b"")]
    assert [one.is_complete for one in parser.requests] == [True, True]
    assert parser.problem is None
    assert parser.is_between


def test_nothing_is_read_behind_a_wish_for_a_tunnel() -> None:
    parser = parsed(b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nContent-Length: 31\r\n\r\n" + NEXT)

    assert [one.start_line.method for one in parser.requests] == ["CONNECT"]
    assert not parser.requests[0].keeps_alive


@pytest.mark.parametrize("size", [1, HEAD_STEP])
@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: 1, 1",
        b"Content-Length: +1",
        b"Content-Length: 18446744073709551617",
        b"Content-Length : 1",
        b"Content-Length:\n 1",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked\xa0",
        b"Transfer-Encoding:\r\n chunked",
        b"A: b\rc",
        b"A: b\nc: d",
        b"A: b\x00c",
        b"A\x00: b",
        b": b",
    ],
)
def test_a_header_that_others_may_read_otherwise_is_refused(fields: bytes, size: int) -> None:
    parser = parsed(
        b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n1\r\na\r\n0\r\n\r\n" + NEXT, size
    )

    assert not parser.requests
    assert parser.problem is not None
    assert parser.problem.status_code == 400


@pytest.mark.parametrize(
    "octets",
    [
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_request_of_this_protocol_is_refused(octets: bytes) -> None:
    parser = parsed(octets + NEXT)

    assert not parser.requests
    assert parser.problem is not None
    assert parser.problem.status_code == 400


def test_a_refused_request_is_told_the_parsers_reason() -> None:
    parser = parsed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n")

    assert parser.problem is not None
    assert "Invalid character in Content-Length" in parser.problem.detail


@pytest.mark.parametrize(
    "chunks", [b"1\na\n0\n\n", b"0x1\r\na\r\n", b"1 \r\na\r\n", b"1\r\nabc\r\n"]
)
def test_a_body_that_others_may_read_otherwise_ends_the_reading(chunks: bytes) -> None:
    parser = parsed(CHUNKED + chunks + NEXT)

    assert [one.is_complete for one in parser.requests] == [False]
    assert parser.problem is not None


def test_whitespace_after_a_value_is_no_part_of_it() -> None:
    """RFC 9112, section 5.1."""
    parser = parsed(b"POST / HTTP/1.1\r\nHost:x\r\nA: b c \t\r\nContent-Length: 1 \r\n\r\na" + NEXT)

    assert parser.requests[0].headers["A"] == "b c"
    assert seen(parser) == [("/", b"a"), ("/next", b"")]


@pytest.mark.parametrize("connection", [b"close", b"Close", b"keep-alive, close"])
def test_nothing_is_read_behind_a_request_that_is_its_connections_last(connection: bytes) -> None:
    parser = parsed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n" % connection + NEXT)

    assert [one.keeps_alive for one in parser.requests] == [False]
    assert parser.problem is None


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "fields", [b"Connection: Close , keep-alive", b"Connection: keep-alive\r\nConnection: close"]
)
def test_close_counts_whatever_stands_beside_it(fields: bytes, version: bytes) -> None:
    """RFC 9112, section 9.3."""
    parser = parsed(b"GET / HTTP/%b\r\nHost: x\r\n%b\r\n\r\n" % (version, fields) + NEXT)

    assert [one.keeps_alive for one in parser.requests] == [False]


def test_a_trailer_is_no_part_of_a_header() -> None:
    parser = parsed(CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + NEXT)

    assert seen(parser) == [("/", b"a"), ("/next", b"")]
    assert not any("Authorization" in one.headers for one in parser.requests)


def test_a_request_has_begun_with_its_first_octet_and_ends_with_its_last() -> None:
    request = CHUNKED + b"1\r\na\r\n0\r\n\r\n"
    parser = parsed(b"")

    for _ in range(2):
        assert parser.is_between
        for octet in request[:-1]:
            parser.feed(bytes([octet]))
            assert not parser.is_between
        parser.feed(request[-1:])
    assert parser.is_between


def test_the_names_of_codings_have_no_case() -> None:
    """RFC 9112, section 7."""
    parser = parsed(CHUNKED.replace(b"chunked", b"Chunked") + b"1\r\na\r\n0\r\n\r\n" + NEXT)

    assert seen(parser) == [("/", b"a"), ("/next", b"")]


@pytest.mark.parametrize("size", [1, HEAD_STEP])
@pytest.mark.parametrize("more", [0, HEAD_STEP + 1])
def test_a_header_of_the_largest_size_is_read_and_a_larger_one_is_not(more: int, size: int) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n"
    parser = parsed(head % (b"x" * (HEADER_BYTES - len(head) + 2 + more)), size)

    assert len(parser.requests) == (0 if more else 1)
    assert (parser.problem.status_code if parser.problem else None) == (431 if more else None)
    assert parser.problem is None or "header" in parser.problem.detail


def test_a_trailer_is_no_part_of_the_next_requests_header() -> None:
    large = b"A: " + b"x" * (HEADER_BYTES * 3 // 4) + b"\r\n\r\n"
    parser = parsed(CHUNKED + b"0\r\n" + large + NEXT[:-2] + large, 1000)

    assert [one.start_line.path for one in parser.requests] == ["/", "/next"]
    assert parser.problem is None


def test_many_small_requests_are_no_large_header() -> None:
    parser = parsed(NEXT * 1000)

    assert len(parser.requests) == 1000
    assert parser.problem is None


@pytest.mark.parametrize("begin", [b"0\r\nA: ", b"1;", b"1\r\na\r\n0\r\n"])
def test_what_surrounds_a_body_is_bounded_as_its_header_is(begin: bytes) -> None:
    """llhttp's binding would keep it, and copy it at each step."""
    parser = parsed(CHUNKED + begin)
    fed_bytes = 0
    while parser.problem is None and fed_bytes < 10 * BODY_STEP:
        parser.feed(b"x" * 1000)
        fed_bytes += 1000

    assert parser.problem is not None
    assert parser.problem.status_code == 431
    assert "trailer" in parser.problem.detail
    assert fed_bytes <= HEADER_BYTES + BODY_STEP


def test_a_body_of_many_small_chunks_is_no_large_header() -> None:
    parser = parsed(CHUNKED + b"1;a=b\r\nx\r\n" * 5000 + b"0\r\n\r\n" + NEXT, 1000)

    assert seen(parser) == [("/", b"x" * 5000), ("/next", b"")]


@pytest.mark.parametrize("octets", [CHUNKED + b"1\r\na", b"GET / HTTP/1.1\r\nA: b\x01\r\n\r\n"])
def test_a_closed_parser_is_gone_at_once(octets: bytes) -> None:
    """Reference cycles would keep headers and bodies until garbage is looked for."""
    gc.disable()
    try:
        parser = parsed(octets)
        parser.close()
        gone = weakref.ref(parser)
        del parser

        assert gone() is None
    finally:
        gc.enable()


def test_a_closed_parser_reads_nothing_more() -> None:
    parser = parsed(NEXT)
    parser.close()

    parser.feed(NEXT)

    assert len(parser.requests) == 1
