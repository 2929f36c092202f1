"""Runs the real code of workers, servers and commands, and stops it at each of its effects.

An actor (a worker with a message, a request in a server) is the name of a program and a log of what
its effects have returned so far. To go on, the program is run anew from its start: the effects in
the log return at once what they returned before, and the first one that is not there ends the run
by raising :class:`Reached`. So an actor is a value: it can be copied, compared and kept, which no
thread or generator can, and the explorer can go on from every state in every direction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import pytest
from sqlalchemy import Connection

import mailing
from delivery import attempt, dead, parts, schedule, sending
from ledger.accept import enter

T = TypeVar("T")

#: The delays of mails that are tried again, and of those that wait for another attempt's end.
SOON_S, LATE_S = 60.0, 1000.0


class Logged:
    """What an effect returned, or raised, and when; equal to another one that looks the same."""

    __slots__ = ("_text", "at", "value")

    def __init__(self, at: float, value: Any) -> None:
        self.at, self.value, self._text = at, value, f"{at} {value!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Logged) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return self._text


class Actor(NamedTuple):
    """A program and how far it has come. ``name``: its process, which the ledger sees.

    ``entries``: what became of the operations that it gave to its ledger's writer without waiting.
    """

    name: str
    program: str
    arguments: tuple[Any, ...]
    start: float
    log: tuple[Logged, ...] = ()
    entries: tuple[tuple[int, Logged], ...] = ()

    def after(self, at: float, value: Any) -> Actor:
        """Return the actor after its next effect has returned, or raised, ``value``."""
        return self._replace(log=(*self.log, Logged(at, value)))

    def entered(self, number: int, at: float, value: Any) -> Actor:
        """Return the actor after its writer has carried out an entry."""
        return self._replace(entries=(*self.entries, (number, Logged(at, value))))


class Effect(NamedTuple):
    """What a program is about to do: ``commit``, ``data``, ``publish``, ``poll``, ``wait``."""

    kind: str
    details: tuple[Any, ...] = ()


class Reached(BaseException):
    """The program is right before an effect; no code of ours catches a BaseException."""

    def __init__(self, effect: Effect, operation: Callable[[Connection], Any] | None) -> None:
        self.effect, self.operation = effect, operation


class Run:
    """One run of an actor's program."""

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self.now = actor.start
        self.position = 0
        self.submitted: list[Callable[[Connection], Any]] = []

    def effect(
        self, kind: str, *details: Any, operation: Callable[[Connection], Any] | None = None
    ) -> Any:
        """Return what the effect returned before, or end the run."""
        if self.position == len(self.actor.log):
            raise Reached(Effect(kind, details), operation)
        logged = self.actor.log[self.position]
        self.position += 1
        return self._seen(logged)

    def entry(self, number: int) -> Any:
        """Return what became of an entry of the writer, or end the run."""
        for known, logged in self.actor.entries:
            if known == number:
                return self._seen(logged)
        raise Reached(Effect("wait", (number,)), None)

    def _seen(self, logged: Logged) -> Any:
        self.now = max(self.now, logged.at)
        if isinstance(logged.value, Exception):
            raise logged.value.with_traceback(None) from None
        return logged.value


class Live:
    """What the programs find instead of a clock and a process: the run that is going on."""

    run: Run | None = None
    #: The clock while an operation runs in the database; else each program sees its own.
    now: float | None = None
    gone: frozenset[str] = frozenset()

    def time(self) -> float:
        if self.now is not None:
            return self.now
        return self.run.now if self.run else _real_time()


_real_time = time.time
live = Live()


def effect(kind: str, *details: Any, operation: Callable[[Connection], Any] | None = None) -> Any:
    """Do an effect of the program that runs."""
    assert live.run
    return live.run.effect(kind, *details, operation=operation)


class _Entered(NamedTuple):
    """What a request awaits; not a coroutine, since a run may end before it is awaited."""

    entry: int

    def __await__(self) -> Generator[Any, Any, Any]:
        assert live.run
        yield from ()
        return live.run.entry(self.entry)


class SteppedLedger:
    """A ledger whose every transaction is an effect."""

    def commit(self, operation: Callable[[Connection], T], *, order: str = "") -> T:
        value: T = effect("commit", operation=operation)
        return value

    read = commit

    async def change(self, operation: Callable[[Connection], T], **_: Any) -> T:
        return self.commit(operation)

    def write(self, operation: Callable[[Connection], Any], **_: Any) -> int:
        assert live.run
        live.run.submitted.append(operation)
        return len(live.run.submitted) - 1

    def accept_soon(self, *new: Any) -> Awaitable[Any]:
        return _Entered(self.write(lambda connection: enter(connection, new)))

    def together(
        self, carry_out: Any, item: Any, *, even_late: bool = False, **_: Any
    ) -> Awaitable[Any]:
        def operation(connection: Connection) -> Any:
            return carry_out(connection, [item])[0]

        return _Entered(self.write(operation)) if even_late else self.change(operation)

    async def awaited(self, entry: int) -> Any:
        assert live.run
        return live.run.entry(entry)


def _deliver(relay: mailing.Relay, *, claim: Callable[[], Any], **_: Any) -> mailing.Delivery:
    """Stands for the SMTP dialogue, which the real code ends after ``dialogue_s``."""
    assert live.run
    until = live.time() + relay.dialogue_s
    asked = tuple(claim())
    code: int = effect("data", until, asked)
    reply = tuple(mailing.RcptReply(address=one, code=code, text="ok") for one in asked)
    return mailing.Delivery(
        accepted=reply, refused=(), code=code, text="ok", host="relay", tls=False
    )


class Finished(NamedTuple):
    """A program has ended, with a value or an error."""

    value: Any


def _is_gone(name: str) -> bool:
    return name.partition("#")[0] in live.gone


async def _to_its_end(program: Coroutine[Any, Any, Any]) -> Any:
    """Await a program, and then the tasks that it has left behind: a note for the ledger."""
    try:
        return await program
    finally:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest)


def run(
    actor: Actor, programs: Mapping[str, Callable[..., Any]], loop: asyncio.AbstractEventLoop
) -> tuple[Reached | Finished, Run]:
    """Run an actor up to its next effect; return that (:class:`Reached`) or :class:`Finished`."""
    live.run = current = Run(actor)
    try:
        value = programs[actor.program](*actor.arguments)
        if asyncio.iscoroutine(value):
            value = loop.run_until_complete(_to_its_end(value))
    except Reached as reached:
        return reached, current
    except Exception as error:  # noqa: BLE001 - the answer of a request may be any
        return Finished(error), current
    finally:
        live.run = None
    return Finished(value), current


@contextmanager
def in_place() -> Iterator[None]:
    """Put the stepped parts in the place of clock, ledger, relay and chance."""
    real_sleep = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        if delay_s:
            effect("poll")
        await real_sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", live.time)
        patch.setattr(time, "sleep", lambda _: None)
        patch.setattr(asyncio, "sleep", sleep)
        ledger = SteppedLedger()
        patch.setattr(parts, "ledger", lambda: ledger)
        breaker = SimpleNamespace(
            before_attempt=lambda: None, succeeded=lambda: None, failed=lambda: None
        )
        patch.setattr(parts, "breaker", lambda: breaker)
        patch.setattr(mailing, "deliver", _deliver)
        patch.setattr(attempt, "attempt_name", lambda: live.run and live.run.actor.name)
        for module in (attempt, sending, dead):
            patch.setattr(module, "is_gone", _is_gone)
        for name in ("unreachable_s", "refused_s"):
            patch.setattr(schedule, name, lambda _: SOON_S)
        patch.setattr(schedule, "untried_s", lambda: SOON_S)
        patch.setattr(schedule, "busy_s", lambda _: LATE_S)
        yield
