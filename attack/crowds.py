"""The parts that come in numbers: slow clients, idle connections, floods of event streams."""

from __future__ import annotations

import json
import selectors
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from attack.tally import Tally
from attack.target import Target
from attack.wire import HANG_S, ask, request
from dev import packages

DRIP_S = 0.5
PROBE_S = 1.0
#: While a crowd is there, others must be answered within this time.
ANSWER_S = 5.0
RESET = struct.pack("ii", 1, 0)


def slow(target: Target, clients: int) -> Tally:
    """Have clients send headers, bodies or chunks in drips, or not at all; all must be cut off."""
    head = target.request("POST", "/emails").removesuffix(b"\r\n")
    kinds: dict[str, tuple[bytes, bytes]] = {
        "nothing": (b"", b""),
        "header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
        "one line": (b"GET /healthz HTTP/1.1\r\nX: ", b"a"),
        "body": (head + b"Content-Length: 1000000\r\n\r\n", b"a"),
        "chunks": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        "after an answer": (request("GET", "/healthz").replace(b"Connection: close\r\n", b""), b""),
    }
    with target.part("slow clients", connections=clients) as tally, ExitStack() as stack:
        begin = time.monotonic()
        each = max(1, clients // len(kinds))
        socks = {
            sock: drip
            for first, drip in kinds.values()
            for sock in stack.enter_context(_open(target.port, each, first))
        }
        tally.tried = len(socks)
        while socks and time.monotonic() < begin + HANG_S:
            _probe(target, tally, "with slow clients")
            for sock in _ended(list(socks), DRIP_S):
                del socks[sock]
            for sock, drip in socks.items():
                _drip(sock, drip)
        for _ in socks:
            tally.hung("a slow client was not cut off")
        tally.notes.append(f"all cut off after {time.monotonic() - begin:.1f} s")
    return tally


def unread(target: Target, clients: int) -> Tally:
    """Have clients ask for a mail of 2 MB, and read none of it."""
    body = {
        "to": "a@b.example",
        "subject": "s",
        "text": "x" * 2_000_000,
        "scheduled_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400)),
    }
    email_id = target.post("/emails", body)[1]["id"]
    asked = target.request("GET", f"/emails/{email_id}/raw")
    with (
        target.part("clients that do not read", connections=clients) as tally,
        _open(target.port, clients, asked, receive_bytes=4096) as socks,
    ):
        tally.tried = len(socks)
        _wait_none(target, tally, "with clients that do not read")
    return tally


def idle(target: Target, clients: int) -> Tally:
    """Open connections that send nothing, and see that others are answered meanwhile."""
    with (
        target.part(f"{clients:,} idle connections", connections=clients) as tally,
        _open(target.port, clients, b"") as socks,
    ):
        tally.tried = len(socks)
        tally.notes.append(f"{_established(target.port):,} were open at once")
        _wait_none(target, tally, "with idle connections")
    return tally


def streams(target: Target, clients: int) -> Tally:
    """Open event streams that nobody reads, reset others at once, and see that all are dropped."""
    with target.part(f"{clients:,} event streams", connections=clients) as tally:
        call = json.dumps({"args": [10_000], "kwargs": {"interval": 0}}).encode()
        reply = ask(target.port, target.request("POST", "/celery/count", call))
        task_id = json.loads(reply.octets.partition(b"\r\n\r\n")[2])["id"]
        unending = target.request("GET", "/celery/00000000-0000-4000-8000-000000000000/events")
        busy = target.request("GET", f"/celery/{task_id}/events")
        for asked, count in ((unending, clients // 2), (busy, clients - clients // 2)):
            with _open(target.port, count, asked, receive_bytes=4096):
                tally.tried += count
                _probe(target, tally, "with event streams")
            with _open(target.port, count // 10, asked) as socks:
                tally.tried += len(socks)
                for sock in socks:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        _wait_none(target, tally, "with streams of clients that are gone")
    return tally


def slowhttptest(target: Target, clients: int, seconds: int) -> Tally:
    """Let Debian's slowhttptest try its four ways: slow headers, bodies, ranges and reads."""
    program = str(packages.which("slowhttptest") or "slowhttptest")
    url = f"http://127.0.0.1:{target.port}/openapi.json"
    kinds = {"-H": "headers", "-B": "bodies", "-R": "ranges", "-X": "reads"}
    with target.part("slowhttptest", connections=clients) as tally:
        for flag, name in kinds.items():
            command = [
                *(program, flag, "-c", str(clients), "-l", str(seconds)),
                *("-r", "500", "-i", "1", "-p", "3", "-u", url),
            ]
            running = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                while running.poll() is None:
                    _probe(target, tally, f"with slow {name}")
                    time.sleep(PROBE_S)
            finally:
                running.kill()
                running.wait()
            tally.tried += clients
    return tally


def _wait_none(target: Target, tally: Tally, what: str) -> None:
    """Wait until the server holds no connection, and see that others are answered meanwhile."""
    deadline = time.monotonic() + HANG_S
    while (left := _established(target.port)) and time.monotonic() < deadline:
        _probe(target, tally, what)
        time.sleep(PROBE_S)
    for _ in range(left):
        tally.hung(f"{what}: not cut off")


def _probe(target: Target, tally: Tally, what: str) -> None:
    """See that somebody else is answered meanwhile."""
    reply = ask(target.port, target.request("GET", "/emails?limit=1"))
    tally.answered(what, reply.statuses, reply.seconds)
    if reply.statuses != [200] or reply.seconds > ANSWER_S:
        tally.hung(f"{what}: {reply.statuses} after {reply.seconds:.1f} s")


@contextmanager
def _open(
    port: int, count: int, octets: bytes, receive_bytes: int | None = None
) -> Iterator[Sequence[socket.socket]]:
    """Open ``count`` connections and send octets on each."""
    with ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            if receive_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            sock.settimeout(HANG_S)
            sock.connect(("127.0.0.1", port))
            sock.sendall(octets)
            sock.setblocking(False)
            socks.append(sock)
        yield socks


def _ended(socks: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Return the sockets that the server has closed ``seconds`` later; read what it says."""
    time.sleep(seconds)
    found = []
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
        for key, _ in selector.select(0):
            if _is_at_end(key.fileobj):  # type: ignore[arg-type]  # we registered sockets
                found.append(key.fileobj)
    return found  # type: ignore[return-value]


def _is_at_end(sock: socket.socket) -> bool:
    try:
        return not sock.recv(2**16)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _drip(sock: socket.socket, octets: bytes) -> None:
    with suppress(OSError):  # noticed at the next read
        sock.send(octets)


def _established(port: int) -> int:
    """Return how many connections the server holds, as Linux lists them."""
    suffix, established = f":{port:04X}", "01"
    with open("/proc/net/tcp") as lines:  # noqa: PTH123 - it is no file that could be read at once
        fields = (line.split()[1:4] for line in lines)
        return sum(one[0].endswith(suffix) and one[2] == established for one in fields)


Part = Callable[[Target], Tally]
