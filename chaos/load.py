"""The load: numbered mails over HTTP, sent as a good client would.

``python -m chaos.load URL JOURNAL --rate R --seed N``, until SIGTERM; after it, requests with a key
are still repeated until accepted. A request with an Idempotency-Key is repeated after a 5xx, a
broken connection or a silence; one without is not, as nobody could tell it from a second mail.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from chaos.content import text_of
from chaos.http import Answer, Broken, Pool
from chaos.journal import Answered, Journal, Posted
from chaos.relay import REFUSED_DOMAIN

TIMEOUT_S = 15.0
#: Most mails that are not accepted yet; with so many, no new one is begun.
MOST_OPEN = 1500
PAUSE_S = (0.2, 3.0)
#: On a busy machine the load may fall behind; it makes up for at most this much.
BEHIND_S = 2.0
#: What is not accepted this long after the end never will be.
GIVE_UP_S = 180.0


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail of the load. ``delay_s``: how much later it is to be sent."""

    number: int
    to: list[str]
    with_key: bool
    hold: bool
    delay_s: float

    def body(self) -> bytes:
        """Return the request's body, made once for all attempts."""
        body: dict[str, Any] = {
            "from": "chaos@example.com",
            "to": self.to,
            "subject": f"Mail {self.number}",
            "text": text_of(self.number),
            "headers": {"X-Chaos-Number": str(self.number)},
            "on_uncertain": "hold" if self.hold else "retry",
        }
        if self.delay_s:
            when = datetime.now(UTC) + timedelta(seconds=self.delay_s)
            body["scheduled_at"] = when.isoformat()
        return json.dumps(body).encode()


def mail_of(number: int, seed: int) -> Mail:
    """Return a mail by its number: the same one for the same seed."""
    chance = random.Random(f"{seed}/{number}")  # nosec B311 # test data
    to = [f"m{number}@a.example"]
    if chance.random() < 0.1:
        to.append(f"m{number}@b.example")
    if chance.random() < 0.01:
        to = [f"m{number}@{REFUSED_DOMAIN}"]
    return Mail(
        number=number,
        to=to,
        with_key=chance.random() < 0.7,
        hold=chance.random() < 0.2,
        delay_s=chance.uniform(1, 10) if chance.random() < 0.05 else 0.0,
    )


class Client:
    """Posts mails and writes down what it is told."""

    def __init__(self, url: str, journal: Journal, seed: int) -> None:
        self._journal = journal
        self._seed = seed
        self._http = Pool(url, TIMEOUT_S)

    async def send(self, number: int) -> None:
        """Send a mail, as often as a good client may, until it is accepted."""
        mail = mail_of(number, self._seed)
        body, attempt, pause_s = mail.body(), 1, PAUSE_S[0]
        while not await self._post(mail, body, attempt) and mail.with_key:
            await asyncio.sleep(random.uniform(0.5, 1) * pause_s)  # nosec B311 # jitter
            attempt, pause_s = attempt + 1, min(2 * pause_s, PAUSE_S[1])

    async def close(self) -> None:
        """End the connections."""
        await self._http.close()

    async def _post(self, mail: Mail, body: bytes, attempt: int) -> bool:
        """Send one request; False: it may be worth repeating."""
        self._journal.write(
            Posted(
                number=mail.number,
                to=mail.to,
                with_key=mail.with_key,
                hold=mail.hold,
                delayed=mail.delay_s > 0,
                attempt=attempt,
            )
        )
        headers = {"Content-Type": "application/json"}
        if mail.with_key:
            headers["Idempotency-Key"] = f"{self._seed}-{mail.number}"
        try:
            answer = await self._http.post(body, headers)
        except Broken as exc:
            self._journal.write(Answered(number=mail.number, status=0, error=str(exc)))
            return False
        self._journal.write(_answered(mail.number, answer))
        return answer.status < 500


def _answered(number: int, answer: Answer) -> Answered:
    try:
        told = json.loads(answer.body)
    except ValueError as exc:
        return Answered(number=number, status=answer.status, error=f"no JSON: {exc}")
    return Answered(
        number=number,
        status=answer.status,
        id=told.get("id"),
        queued=told.get("queued"),
        error=told.get("detail", ""),
    )


async def run(url: str, journal: Journal, *, rate: float, seed: int) -> None:
    """Send ``rate`` mails a second until SIGTERM, and finish."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    client, running, number, due = (
        Client(url, journal, seed),
        set[asyncio.Task[None]](),
        0,
        loop.time(),
    )
    while not stop.is_set():
        due = max(due, loop.time() - BEHIND_S)
        if len(running) < MOST_OPEN:
            number += 1
            task = asyncio.create_task(client.send(number))
            running.add(task)
            task.add_done_callback(running.discard)
        due += 1 / rate
        await asyncio.sleep(due - loop.time())
    if running:
        await asyncio.wait(running, timeout=GIVE_UP_S)
    await client.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m chaos.load")
    parser.add_argument("url")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(run(given.url, Journal(given.journal), rate=given.rate, seed=given.seed))


if __name__ == "__main__":
    main()
