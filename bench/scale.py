"""How much is measured: in full, or in some minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """``rounds`` of ``seconds`` for each subject; the rest are counts.

    ``waiters``: open requests; ``depths``: mails in the queue; ``results``: in the stream at a
    start; ``streamed``: results that several server processes read.
    """

    rounds: int
    seconds: float
    mails: int
    mail_rounds: int
    waiters: int
    depths: tuple[int, ...]
    results: int
    streamed: int


FULL = Scale(
    rounds=5,
    seconds=5,
    mails=2000,
    mail_rounds=5,
    waiters=10_000,
    depths=(0, 100_000, 1_000_000),
    results=100_000,
    streamed=50_000,
)
QUICK = Scale(
    rounds=2,
    seconds=2,
    mails=500,
    mail_rounds=2,
    waiters=1_000,
    depths=(0, 10_000),
    results=100_000,
    streamed=10_000,
)
