"""The parts that send each request on a connection of its own: HTTP by hand, and bodies."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from attack import body_corpus, http_corpus
from attack.tally import Tally
from attack.target import Target
from attack.wire import Reply, ask

#: Bodies are large; the other requests mostly wait for the server's time limits.
BODIES_AT_A_TIME = 4
AT_A_TIME = 32


def http(target: Target, mutations: int, seed: int) -> Tally:
    """Send what is wrong as HTTP, and ``mutations`` good requests with random changes."""
    with target.part("HTTP by hand") as tally:
        asked = [
            *http_corpus.requests(target),
            *http_corpus.mutations(target, mutations, seed),
        ]
        _ask_all(target, tally, asked)
        halves = [(f"half-closed, {what}", octets) for what, octets in asked[:: len(asked) // 50]]
        _ask_all(target, tally, halves, ends=True)
    return tally


def bodies(target: Target) -> Tally:
    """Send wrong and large bodies, and see that the mails can still be listed."""
    with target.part("bodies") as tally:
        asked = [
            (f"body {number} for {path}: {octets[:60]!r}", target.request("POST", path, octets))
            for number, (path, octets) in enumerate(body_corpus.bodies())
        ]
        _ask_all(target, tally, asked, at_a_time=BODIES_AT_A_TIME)
        _ask_all(target, tally, [("the list", target.request("GET", "/emails?limit=100"))])
    return tally


def _ask_all(
    target: Target,
    tally: Tally,
    asked: list[tuple[str, bytes]],
    *,
    ends: bool = False,
    at_a_time: int = AT_A_TIME,
) -> None:
    def one(request: tuple[str, bytes]) -> Reply:
        return ask(target.port, request[1], ends=ends)

    with ThreadPoolExecutor(at_a_time) as pool:
        for (what, _), reply in zip(asked, pool.map(one, asked), strict=True):
            tally.answered(what, reply.statuses, reply.seconds)
            if reply.hung:
                tally.hung(what)
