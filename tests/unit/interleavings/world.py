"""The world of one mail: queue, relay, ledger, clock and actors; and all that may happen next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from celery.exceptions import Reject
from sqlalchemy import Connection, StaticPool, create_engine

import mailing
from ledger import LedgerUnavailable, schema
from ledger.values import Granted
from tests.unit.interleavings.actors import Actor, Effect, Finished, Reached, live, run
from tests.unit.interleavings.programs import IDS, PROGRAMS, REFUSED, UNKNOWN, InQueue

TABLES = tuple(
    schema.metadata.tables[name]
    for name in ("emails", "recipients", "payloads", "events", "idempotency_keys")
)
WORKERS = 2
#: How long after a moment the clock stands when time has passed.
JUST_AFTER_S = 0.5
#: When a waiting mail may be retried, and when ``prune`` gives one up that is over its time.
OVERDUE_S, LOST_S = 601.0, 3601.0
AGAIN_S = 30.0


#: A request that may come at any time: its program, and that one's arguments.
Command = tuple[Any, ...]


class Rows:
    """What is in the ledger; there is one object for each content."""

    def __init__(self, tables: tuple[tuple[tuple[Any, ...], ...], ...]) -> None:
        self.tables = tables

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return a table's rows by the names of its columns."""
        for table, rows in zip(TABLES, self.tables, strict=True):
            if table.name == name:
                return [dict(zip(table.columns.keys(), row, strict=True)) for row in rows]
        raise KeyError(name)

    @property
    def email(self) -> dict[str, Any] | None:
        found = self.of("emails")
        return found[0] if found else None


class World(NamedTuple):
    """A state of everything."""

    now: float
    rows: Rows
    queue: tuple[InQueue, ...] = ()
    #: What workers have got and not acknowledged, by actors' names.
    held: tuple[tuple[str, InQueue], ...] = ()
    dead: tuple[InQueue, ...] = ()
    #: Copies of dead letters that are to be recorded.
    record: tuple[InQueue, ...] = ()
    actors: tuple[Actor, ...] = ()
    #: How often each worker has been started anew.
    starts: tuple[int, ...] = (0,) * WORKERS
    #: How often the relay has taken the mail.
    taken: int = 0
    #: How many faults may still happen, and which requests may still be made.
    faults: int = 0
    commands: tuple[Command, ...] = ()
    #: What has been answered: program and error (empty: none).
    answers: tuple[tuple[str, str], ...] = ()
    wrong: str = ""

    def with_actor(self, actor: Actor, before: Actor | None = None) -> World:
        others = (one for one in self.actors if one != before)
        return self._replace(actors=tuple(sorted((*others, actor), key=lambda one: one.name)))

    def without(self, actor: Actor) -> World:
        return self._replace(actors=tuple(one for one in self.actors if one != actor))

    def queued(self, *messages: InQueue) -> World:
        return self._replace(queue=tuple(sorted((*self.queue, *messages))))

    def fault(self) -> World:
        return self._replace(faults=self.faults - 1)

    def answered(self, program: str, error: str) -> World:
        return self._replace(answers=tuple(sorted((*self.answers, (program, error)))))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing goes on, and nothing will by itself."""
        return not (self.queue or self.held or self.actors or self.record)


Move = tuple[str, World]


class Model:
    """What may happen in a world. ``remote``: no worker can see that another one has ended."""

    def __init__(self, *, remote: bool = False, loop: asyncio.AbstractEventLoop) -> None:
        self._remote = remote
        self._loop = loop
        engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"isolation_level": None}
        )
        schema.metadata.create_all(engine)
        self._connection = engine.connect()
        pooled: Any = self._connection.connection
        self._driver: Any = pooled.driver_connection
        self._driver.execute("PRAGMA foreign_keys = ON")
        self._known: dict[Any, Rows] = {}
        self._seen: dict[Actor, tuple[Effect | Finished, int]] = {}
        self._done: dict[Any, tuple[Rows, Any]] = {}
        self.empty = self._rows(((),) * len(TABLES))

    def close(self) -> None:
        self._connection.close()
        self._connection.engine.dispose()

    # -- the ledger

    def _rows(self, tables: tuple[tuple[tuple[Any, ...], ...], ...]) -> Rows:
        return self._known.setdefault(tables, Rows(tables))

    def _transaction(self, rows: Rows, operation: Callable[[Connection], Any]) -> tuple[Rows, Any]:
        """Return what an operation makes of the ledger's rows, and its value or error."""
        driver = self._driver
        driver.execute("BEGIN")
        try:
            for table, content in zip(TABLES, rows.tables, strict=True):
                if content:
                    places = ", ".join("?" * len(content[0]))
                    driver.executemany(f"INSERT INTO {table.name} VALUES ({places})", content)
            try:
                value = operation(self._connection)
            except Exception as error:  # noqa: BLE001 - an answer: NotPossible ...
                return rows, error
            after = tuple(
                tuple(driver.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2").fetchall())
                for table in TABLES
            )
            return self._rows(after), value
        finally:
            self._connection.rollback()  # what SQLAlchemy has begun
            if driver.in_transaction:
                driver.execute("ROLLBACK")

    def _commit(self, world: World, actor: Actor, entry: int | None = None) -> tuple[Rows, Any]:
        """Carry out an actor's next operation, or an entry of its writer."""
        gone = self._gone(world)
        key = (actor, entry, world.rows, world.now, gone)
        if key not in self._done:
            found, current = run(actor, PROGRAMS, self._loop)
            if entry is None:
                assert isinstance(found, Reached)
                operation = found.operation
            else:
                operation = current.submitted[entry]
            assert operation
            live.now, live.gone = world.now, gone
            try:
                self._done[key] = self._transaction(world.rows, operation)
            finally:
                live.now = None
        return self._done[key]

    def _gone(self, world: World) -> frozenset[str]:
        if self._remote:
            return frozenset()
        return frozenset(
            f"w{worker}.{start}" for worker, n in enumerate(world.starts) for start in range(n)
        )

    # -- what may happen

    def next_of(self, actor: Actor) -> tuple[Effect | Finished, int]:
        """Return what an actor will do next, and how many entries its writer has got."""
        if actor not in self._seen:
            found, current = run(actor, PROGRAMS, self._loop)
            shown = found.effect if isinstance(found, Reached) else found
            self._seen[actor] = shown, len(current.submitted)
        return self._seen[actor]

    def moves(self, world: World) -> Iterator[Move]:
        """Yield all that may happen next, and the world after it."""
        for actor in world.actors:
            yield from self._steps(world, actor)
            if world.faults:
                yield from self._crashes(world.fault(), actor)
        yield from self._deliveries(world)
        yield from self._requests(world)
        yield from self._recordings(world)
        yield from self._clock(world)

    def _deliveries(self, world: World) -> Iterator[Move]:
        busy = {actor.name.partition(".")[0] for actor in world.actors}
        idle = [worker for worker in range(WORKERS) if f"w{worker}" not in busy]
        for message in sorted(set(world.queue)):
            if idle and message.due <= world.now:
                email = world.rows.email
                process = f"w{idle[0]}.{world.starts[idle[0]]}"
                name = f"{process}#0"
                if email and email["worker"] == name:
                    name = f"{process}#1"  # no two attempts have the same name
                actor = Actor(name, "work", (message._replace(due=0.0),), world.now)
                after = world._replace(
                    queue=_less(world.queue, message), held=(*world.held, (name, message))
                )
                yield f"{name} gets message {message.track}", after.with_actor(actor)

    def _requests(self, world: World) -> Iterator[Move]:
        for command in sorted(set(world.commands), key=repr):
            program, *arguments = command
            left = list(world.commands)
            left.remove(command)
            after = world._replace(commands=tuple(left))
            if program == "replay":
                for letter in sorted(set(world.dead)):
                    actor = Actor("replay", program, (letter, *arguments), world.now)
                    yield "replay begins", after.with_actor(actor)
            elif program.startswith("accept") or world.rows.email:
                number = len(left)
                actor = Actor(f"s{number}", program, tuple(arguments), world.now)
                yield f"{program} begins", after.with_actor(actor)

    def _recordings(self, world: World) -> Iterator[Move]:
        if any(actor.program == "record_dead" for actor in world.actors):
            return
        for letter in sorted(set(world.record)):
            if letter.due <= world.now:
                actor = Actor("recorder", "record_dead", (letter,), world.now)
                yield "a dead letter is recorded", world.with_actor(actor)

    def _clock(self, world: World) -> Iterator[Move]:
        """Let time pass: if nothing else can happen, to the next moment at which something does;
        else it is a fault, and whatever goes on is paused."""
        queued = (*world.queue, *world.record)
        ready = any(message.due <= world.now for message in queued)
        coming = {message.due for message in queued}
        acting = [one for one in world.actors if not self._polls(one)]
        if not acting and not ready:
            if world.actors or not queued:
                coming |= set(self._leisure(world))
            coming = {at for at in coming if at > world.now}
            for at in [min(coming)] if coming else []:
                yield f"{at - world.now:g} s pass", world._replace(now=at)
        elif world.faults:
            for at in sorted(coming | set(self._limits(world))):
                if at > world.now:
                    yield f"all is paused for {at - world.now:g} s", world.fault()._replace(now=at)

    def _polls(self, actor: Actor) -> bool:
        found, _ = self.next_of(actor)
        return isinstance(found, Effect) and found.kind == "poll"

    def _leisure(self, world: World) -> Iterator[float]:
        """Yield the moments at which a request that is still to be made has another effect."""
        email = world.rows.email
        programs = [program for program, *_ in world.commands]
        if email and "retry" in programs:
            yield email["due_at"] + OVERDUE_S
        if email and "prune" in programs:
            yield email["expires_at"] + LOST_S
        for key in world.rows.of("idempotency_keys"):
            yield key["publisher_until"] + JUST_AFTER_S

    def _limits(self, world: World) -> Iterator[float]:
        email = world.rows.email
        if email:
            yield email["expires_at"] + JUST_AFTER_S
            if email["lease_until"]:
                yield email["lease_until"] + JUST_AFTER_S
        for key in world.rows.of("idempotency_keys"):
            yield key["publisher_until"] + JUST_AFTER_S

    def _crashes(self, world: World, actor: Actor) -> Iterator[Move]:
        if actor.program == "record_dead":
            yield "the recorder dies", world.without(actor)
            return
        if actor.program != "work":
            after = world.without(actor)
            name = actor.program
            yield f"{name} dies", after if _is_answered(actor) else after.answered(name, "none")
            return
        worker = int(actor.name[1 : actor.name.index(".")])
        starts = list(world.starts)
        starts[worker] += 1
        after = world.without(actor)._replace(starts=tuple(starts))
        held = [message for name, message in world.held if name == actor.name]
        after = after._replace(held=tuple(one for one in world.held if one[0] != actor.name))
        yield f"{actor.name} dies", after.queued(*held)
        for message in held:
            yield f"{actor.name} dies of its last delivery", _died(after, message)
            kept = tuple(one for one in world.held if one[0] != actor.name)
            lost = world._replace(held=kept).queued(message)
            yield f"{actor.name} loses its connection", lost

    def _steps(self, world: World, actor: Actor) -> Iterator[Move]:
        found, submitted = self.next_of(actor)
        entered = {number for number, _ in actor.entries}
        for number in range(submitted):
            if number not in entered:
                yield from self._enter(world, actor, number)
                break  # in their order
        if isinstance(found, Finished):
            if actor.program == "work":
                yield f"{actor.name}: {found.value}", _settled(world, actor, found.value)
            return
        step = getattr(self, f"_{found.kind}_moves")
        for label, after in step(world, actor, *found.details):
            yield f"{actor.name} {actor.program}: {label}", after

    def _moved(self, world: World, before: Actor, value: Any) -> World:
        """Return the world after an actor's effect has returned, or raised, ``value``."""
        return self._ended(world.with_actor(before.after(world.now, value), before), before.name)

    def _ended(self, world: World, name: str) -> World:
        """Answer a request that has ended."""
        (actor,) = (one for one in world.actors if one.name == name)
        found, submitted = self.next_of(actor)
        if actor.program == "work" or not isinstance(found, Finished):
            return world
        error = found.value if isinstance(found.value, Exception) else None
        if actor.program == "record_dead":
            (letter,) = actor.arguments
            again = [letter._replace(due=world.now + AGAIN_S)] if error else []
            record = tuple(sorted((*_less(world.record, letter), *again)))
            return world.without(actor)._replace(record=record)
        if not _is_answered(actor):
            world = world.answered(actor.program, _shown(found.value))
        if len(actor.entries) == submitted:
            return world.without(actor)
        return world.with_actor(actor._replace(name=actor.name.rstrip("'") + "'"), actor)

    def _enter(self, world: World, actor: Actor, number: int) -> Iterator[Move]:
        rows, value = self._commit(world, actor, number)

        def after(world: World, value: Any) -> World:
            moved = actor.entered(number, world.now, value)
            return self._ended(world.with_actor(moved, actor), actor.name)

        yield f"{actor.name} enters it", after(world._replace(rows=rows), value)
        if world.faults:
            away = LedgerUnavailable("away")
            yield f"{actor.name} enters nothing", after(world.fault(), away)
            lost = world.fault()._replace(rows=rows)
            yield f"{actor.name} enters it, unconfirmed", after(lost, away)

    def _commit_moves(self, world: World, actor: Actor) -> Iterator[Move]:
        rows, value = self._commit(world, actor)
        done = world._replace(rows=rows, wrong=_wrong(world, actor, value))
        yield f"commit, {type(value).__name__}", self._moved(done, actor, value)
        if world.faults:
            away = LedgerUnavailable("away")
            yield "the ledger is away", self._moved(world.fault(), actor, away)
            if rows is not world.rows:
                yield "commit, unconfirmed", self._moved(done.fault(), actor, away)

    def _data_moves(
        self, world: World, actor: Actor, until: float, asked: tuple[str, ...]
    ) -> Iterator[Move]:
        if world.now > until:
            late = mailing.TransientFailure(None, "the dialogue takes too long")
            yield "too late", self._moved(world, actor, late)
            return
        email = world.rows.email
        claimed = email and email["status"] == "sending" and email["worker"] == actor.name
        wrong = "" if claimed else "sent without a claim"
        taken = world._replace(taken=world.taken + 1, wrong=wrong)
        yield "250", self._moved(taken, actor, 250)
        if world.faults:
            lost = mailing.Uncertain(None, "lost")
            yield "taken, no reply", self._moved(taken.fault(), actor, lost)
            for error in (
                lost,
                mailing.TransientFailure(451, "later"),
                mailing.PermanentFailure(550, "no"),
            ):
                yield f"not taken: {error}", self._moved(world.fault(), actor, error)

    def _publish_moves(self, world: World, actor: Actor, message: InQueue) -> Iterator[Move]:
        copy = message._replace(due=world.now + message.due)
        works = actor.program == "work"
        sent = world.queued(copy)
        yield f"publish {message.track}", self._moved(sent, actor, None)
        if world.faults:
            error = Reject("lost", requeue=True) if works else UNKNOWN
            yield "publish, unconfirmed", self._moved(sent.fault(), actor, error)
            yield "no publish", self._moved(world.fault(), actor, error)
            yield "publish twice", self._moved(sent.queued(copy).fault(), actor, None)
            if not works:
                yield "publish, refused", self._moved(world.fault(), actor, REFUSED)

    def _remove_moves(self, world: World, actor: Actor, letter: InQueue) -> Iterator[Move]:
        after = world._replace(dead=_less(world.dead, letter))
        yield "removes the letter", self._moved(after, actor, None)

    def _poll_moves(self, world: World, actor: Actor) -> Iterator[Move]:
        again = actor._replace(log=(), start=world.now)
        yield "asks again", world.with_actor(again, actor)

    def _wait_moves(self, world: World, actor: Actor, number: int) -> Iterator[Move]:
        return iter(())  # for the writer


def _wrong(world: World, actor: Actor, value: Any) -> str:
    """Say whether a claim was granted to a message that is not the mail's newest one."""
    email = world.rows.email
    if isinstance(value, Granted) and email and actor.arguments[0].track < email["track"]:
        return "an older message was sent"
    return ""


def _is_answered(actor: Actor) -> bool:
    return actor.name.endswith("'")


def _shown(value: Any) -> str:
    if isinstance(value, Exception):
        return f"{type(value).__name__} {getattr(value, 'queued', '')}".strip()
    return ",".join(str(IDS.index(one)) for one in value or ())


def _less(messages: tuple[InQueue, ...], message: InQueue) -> tuple[InQueue, ...]:
    left = list(messages)
    if message in left:
        left.remove(message)
    return tuple(left)


def _died(world: World, message: InQueue) -> World:
    """Put a message into the dead queue, and its copy into that of the recorder."""
    letter = message._replace(due=0.0)
    return world._replace(
        dead=tuple(sorted((*world.dead, letter))), record=tuple(sorted((*world.record, letter)))
    )


def _settled(world: World, actor: Actor, how: str) -> World:
    """Acknowledge a worker's message, or give it back; if it was lost meanwhile, nothing."""
    held = [message for name, message in world.held if name == actor.name]
    after = world.without(actor)._replace(
        held=tuple(one for one in world.held if one[0] != actor.name)
    )
    for message in held:
        if how == "requeue":
            after = after.queued(message)
        elif how == "dead":
            after = _died(after, message)
    return after
