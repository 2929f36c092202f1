"""Requests that are wrong as HTTP, or just unusual: framing, smuggling, paths, methods, headers."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator

from attack.target import Target
from attack.wire import request

LARGE = 2**20
NOBODY = "00000000-0000-4000-8000-000000000000"
MAIL = b'{"to": "a@b.example", "subject": "s", "text": "t"}'
#: What random changes insert.
PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b"\x7f", b"\xff", b"\x0b", b"%00", b"..",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
)  # fmt: skip

FRAMES: tuple[bytes, ...] = (
    b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}aaa",
    *(
        b"Content-Length: %s\r\n\r\n{}" % length
        for length in (
            b"2, 2", b"2, 5", b"+2", b"-2", b"0x2", b"1_0", b"9" * 23, b"9" * 5000, b"",
            b"\xd9\xa2", b"\xb2", b"2 2", b"2.0", b"1e1", b"nan",
        )
    ),
    b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n",
    *(
        b"Transfer-Encoding: %s\r\n\r\n2\r\n{}\r\n0\r\n\r\n" % coding
        for coding in (
            b"chunked", b"Chunked", b"identity", b"xchunked", b"gzip, chunked", b"chunked, gzip",
            b"\x0bchunked", b"chunked\r\nTransfer-Encoding: chunked", b"chunked;a=b", b",chunked",
        )
    ),
    *(
        b"Transfer-Encoding: chunked\r\n\r\n" + body
        for body in (
            b"-1\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"f" * 16 + b"\r\n{}\r\n0\r\n\r\n",
            b"2;a=b\r\n{}\r\n0\r\n\r\n", b"2\r\n{}xx0\r\n\r\n", b"2\n{}\n0\n\n",
            b"2\r\n{}\r\n0\r\nX: y\r\n\r\n", b"0" * 100_000 + b"2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n", b"\r\n2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n",
        )
    ),
)  # fmt: skip

PATHS: tuple[str | bytes, ...] = (
    "http://x/healthz", "http://evil.example/healthz", "*", "/emails/..;/healthz",
    "/emails/%2e%2e/healthz", "/../../etc/passwd", "/emails/%00", "/celery/%00", "//healthz",
    "//emails//batch", "/celery/%zz", "/celery/%ff%fe", "/emails?to=%ff", "/emails?tag=%00",
    "/emails?before=%00", "/emails?tag=%0d%0a:%F0%9F%92%A9", "/emails?before=%ED%A0%80",
    "/emails?limit=1e9", "/emails?limit=%C2%B2", f"/emails/{NOBODY}?wait=inf",
    f"/emails/{NOBODY}?wait={'9' * 5000}", "/celery/" + "a" * 50_000, "/emails?to=" + "a" * 50_000,
    "/emails?" + "a&" * 20_000, "/emails?" + "a=" * 20_000, "/healthz/", "/HEALTHZ", "/healthz;a=b",
    "/healthz%20", "/healthz#x", "/healthz?", "/celery/celery.backend_cleanup", "/celery/__class__",
    b"/celery/\x01\x02", b"/celery/\xff\xfe", b"/celery/a b", b"/\\..\\etc",
    "/celery?title=%00&text=a&tomail=a%40b.example", "/celery?title=a&title=b&text=a&tomail=a",
    "/celery?title=a%0d%0aBcc:%20x&text=a&tomail=a%40b.example",
)  # fmt: skip

HEADERS: tuple[bytes, ...] = (
    b"X: " + b"a" * LARGE, b"X: " + b"a" * 60_000, b"\r\n".join([b"X: a"] * 9_000), b"no colon",
    b"X: a\0b", b"X: a\rb", b"X: a\nY: b", b"X : a", b"X: a\r\n b", b" X: a", b": a", b"\xff: a",
    b"Host: y", b"Host: a/../b @x", b"Expect: 100-continue", b"Expect: 200-maybe",
    b"Upgrade: websocket\r\nSec-WebSocket-Key: x", b"Range: bytes=0-1,5-6",
    b"If-None-Match: \xff", b"Cookie: \xff=;;;=;a=\"\\", b"Idempotency-Key: \xff",
    b"Idempotency-Key: " + b"k" * 300, b"Prefer: " + b"wait=," * 1000, b"Accept: \xff;q=;,,",
    b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=\xff",
    b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: \xff;;;=",
    b"Content-Type: text/plain; charset=utf-16", b"Content-Encoding: br", b"X-Scheme: ftp",
    b"X-HTTP-Method-Override: DELETE", b"X-Forwarded-For: '; --", b"Authorization: Basic \xff",
    b"Last-Event-ID: " + b"9" * 400, b"x-batch-validation: \xff", b"Connection: \xff, keep-alive",
)  # fmt: skip

METHODS = (
    "FOO", "get", "TRACE", "CONNECT", "PUT", "DELETE", "OPTIONS", "PROPFIND", "G\x01T", "A" * 50_000,
)  # fmt: skip

WHOLE: tuple[bytes, ...] = (
    b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
    b"\r\n" * 1000,
    b"\0" * 70_000,
    b"a" * LARGE,
    request("GET", "/healthz").replace(b"Connection: close\r\n", b"") * 200
    + request("GET", "/healthz"),
)


def requests(target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield each request with its name."""
    head = target.request("POST", "/celery/hello").removesuffix(b"\r\n")
    for number, frame in enumerate(FRAMES):
        yield f"frame {number} {frame[:40]!r}", head + frame
    for path in PATHS:
        yield f"path {path[:60]!r}", target.request("GET", path)
    for header in HEADERS:
        yield f"header {header[:40]!r}", target.request("GET", "/emails?limit=1", None, header)
        yield f"header, post {header[:40]!r}", target.request("POST", "/emails", MAIL, header)
    for method in METHODS:
        for path in ("/emails", "/celery/add", "/healthz", f"/emails/{NOBODY}"):
            yield f"method {method[:20]!r} {path}", target.request(method, path, b"{}")
    bomb = gzip.compress(bytes(50 * LARGE))
    for coding in (b"gzip", b"deflate", b"gzip, gzip"):
        header = b"Content-Encoding: " + coding
        yield f"bomb, {coding!r}", target.request("POST", "/emails", bomb, header)
    for number, octets in enumerate(WHOLE):
        yield f"whole {number}", octets


def mutations(target: Target, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield good requests with random changes; the same ones for the same seed."""
    chance = random.Random(seed)  # nosec B311 # no secret
    good = [
        target.request("POST", "/emails", MAIL, "Idempotency-Key: a"),
        target.request("GET", f"/emails/{NOBODY}?wait=1", None, "Prefer: wait=1"),
        target.request("POST", "/celery/add", b'{"args": [1, 2]}', "Expect: 100-continue"),
    ]
    for number in range(count):
        octets = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            begin = chance.randrange(len(octets))
            end = begin + chance.choice((0, 0, 1, 2, 10))
            octets[begin:end] = chance.choice((*PIECES, bytes([chance.randrange(256)])))
        yield f"mutation {number} of seed {seed}", bytes(octets)
