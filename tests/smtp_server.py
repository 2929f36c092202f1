"""A recording SMTP server with named misbehaviours, for the test suites.

It runs in a thread of its own, on a free port of the loopback interface::

    with SMTPServer() as server:
        server.behave(greylist=1)
        ...  # send through server.url
        (mail,) = server.wait_for(1)
"""

# ruff: noqa: N802 -- aiosmtpd names its hooks after SMTP's commands

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from dev.tcp_proxy import linger_not

#: A certificate for localhost and 127.0.0.1, its key, and the authority that signed it; made
#: for these tests, trusted by nobody, valid from 2020 to 2119.
CERTIFICATE = Path(__file__).parent / "data" / "smtp" / "server.pem"
AUTHORITY = Path(__file__).parent / "data" / "smtp" / "ca.pem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """What the server does to each mail; by default it accepts them all."""

    #: Refuse every RCPT with 450 or 550, and a text that holds the address.
    refuse_4xx: bool = False
    refuse_5xx: bool = False
    #: Refuse RCPT of these addresses, each with its code.
    refuse_some: Mapping[str, int] = field(default_factory=dict)
    #: Refuse these commands ("MAIL", "RCPT", ..., "." for the final dot), with this reply.
    refuse_at: Mapping[str, str] = field(default_factory=dict)
    #: Close the connection at one of these commands, instead of a reply.
    drop_at: str = ""
    #: Take the mail, record it, and close the connection without a reply.
    drop_after_data: bool = False
    #: Wait before the reply to each command, and to the final dot, seconds.
    slow: float = 0.0
    slow_final_dot: float = 0.0
    #: Refuse that many RCPT of each address with 451, then accept.
    greylist: int = 0
    #: Answer MAIL with this reply after that many mails in a session; None: no limit.
    session_limit: int | None = None
    session_limit_reply: str = "421 4.7.0 too many mails in this session"
    #: Greet further connections with 421 while that many are open; None: no limit.
    connection_limit: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedMail:
    """One mail as it came: envelope, octets (dots unstuffed), options of MAIL, session's number."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    options: tuple[str, ...]
    session: int
    tls: bool
    user: str | None


class SMTPServer:
    """The server; use it as a context manager. Its methods may be called from any thread."""

    def __init__(
        self,
        *,
        starttls: bool = False,
        smtps: bool = False,
        pipelining: bool = False,
        login: tuple[str, str] | None = None,
        port: int = 0,
        **behaviour: Any,
    ) -> None:
        self.behaviour = Behaviour(**behaviour)
        self.host = "127.0.0.1"
        self.port = port
        self.login = login
        self.starttls = starttls
        self.smtps = smtps
        self.pipelining = pipelining
        self.changed = threading.Condition()
        self._mails: list[ReceivedMail] = []
        self._commands: list[tuple[int, str]] = []
        self._sessions: dict[int, _Session] = {}
        self._tries: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smtp-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise TimeoutError("the SMTP server did not start within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Its address, as ``SMTP_URL`` takes it, without credentials."""
        return f"{'smtps' if self.smtps else 'smtp'}://{self.host}:{self.port}"

    @property
    def mails(self) -> tuple[ReceivedMail, ...]:
        """The mails received so far."""
        with self.changed:
            return tuple(self._mails)

    @property
    def session_count(self) -> int:
        """How many connections there were so far."""
        with self.changed:
            return len(self._sessions)

    def open_sessions(self) -> int:
        """Return how many connections are open now, without those that were refused."""
        with self.changed:
            sessions = self._sessions.values()
            return sum(not (one.lost.is_set() or one.is_refused) for one in sessions)

    def commands(self, session: int) -> tuple[str, ...]:
        """Return the verbs that a session, numbered from 1, has sent so far ("." for the dot)."""
        with self.changed:
            return tuple(verb for number, verb in self._commands if number == session)

    def behave(self, **changes: Any) -> None:
        """Behave normally, with these exceptions, from now on."""
        with self.changed:
            self.behaviour = Behaviour(**changes)
            self._tries.clear()

    def wait_for(self, n: int, timeout_s: float = 10.0) -> tuple[ReceivedMail, ...]:
        """Return the mails once there are ``n``.

        Raises:
            TimeoutError: there were fewer after ``timeout_s``.
        """
        self.wait_until(lambda: len(self._mails) >= n, timeout_s)
        return self.mails

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Return once the condition, looked at whenever something happens, holds.

        Raises:
            TimeoutError: it did not within ``timeout_s``.
        """
        with self.changed:
            if not self.changed.wait_for(condition, timeout_s):
                raise TimeoutError(f"{len(self._mails)} mails after {timeout_s} s")

    def drop_sessions(self, *, reset: bool = False) -> None:
        """Cut every open connection, as a relay that is killed does, or by RST, as a firewall does;
        returns when it is done."""
        asyncio.run_coroutine_threadsafe(self._drop(reset=reset), self._loop).result(10)

    def note(self, session: int, verb: str, mail: ReceivedMail | None = None) -> None:
        """Record a command, and the mail that came with it (for the sessions)."""
        with self.changed:
            self._commands.append((session, verb))
            if mail:
                self._mails.append(mail)
            self.changed.notify_all()

    def refusal(self, address: str) -> int | None:
        """Return the code that RCPT of the address gets, or None (for the sessions)."""
        behaviour = self.behaviour
        if behaviour.refuse_4xx or behaviour.refuse_5xx:
            return 450 if behaviour.refuse_4xx else 550
        with self.changed:
            self._tries[address] += 1
            greylisted = self._tries[address] <= behaviour.greylist
        return 451 if greylisted else behaviour.refuse_some.get(address)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        server = await self._loop.create_server(
            lambda: self._accept(context),
            self.host,
            self.port,
            ssl=context if self.smtps else None,
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        await self._drop()

    def _accept(self, context: ssl.SSLContext) -> _Session:
        session = _Session(self, next(self._numbers), context if self.starttls else None)
        with self.changed:
            self._sessions[session.number] = session
            self.changed.notify_all()
        return session

    async def _drop(self, *, reset: bool = False) -> None:
        open_sessions = [one for one in self._sessions.values() if one.transport is not None]
        for session in open_sessions:
            if reset:
                linger_not(session.wire)
            # Python 3.11.2's transport has nothing to abort once its TLS is over.
            with contextlib.suppress(AttributeError):
                session.wire.abort()
        await asyncio.gather(*(session.lost.wait() for session in open_sessions))


class _Receiver:
    """What aiosmtpd calls with a whole mail."""

    async def handle_EHLO(
        self, server: _Session, session: Session, _: object, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offered = ["250-PIPELINING"] if server.server.pipelining else []
        return [*answers[:-1], *offered, answers[-1]]

    async def handle_DATA(self, session: _Session, _: object, envelope: Envelope) -> str:
        return await session.receive(envelope)


class _Session(SMTP):
    """One connection."""

    def __init__(self, server: SMTPServer, number: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            _Receiver(),
            hostname="relay.test",
            tls_context=tls,
            auth_require_tls=tls is not None,
            authenticator=self._check_login if server.login else None,
            auth_exclude_mechanism=() if server.login else ("LOGIN", "PLAIN"),
        )
        self.server = server
        self.number = number
        self.lost = asyncio.Event()
        self.is_refused = False
        self._received = 0

    @property
    def wire(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.transport)

    @property
    def _peer(self) -> Session:
        return cast(Session, self.session)

    async def _handle_client(self) -> None:
        limit = self.server.behaviour.connection_limit
        if limit is not None and self.server.open_sessions() > limit:
            self.is_refused = True
            await self.refuse("421 4.7.0 too many connections from you")
        else:
            await super()._handle_client()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.lost.set()
        self.server.note(self.number, "(end)")

    def _check_login(self, *arguments: Any) -> AuthResult:
        data = arguments[-1]
        user, password = data.login.decode(), data.password.decode()
        success = (user, password) == self.server.login
        return AuthResult(success=success, handled=False, auth_data=user)

    async def _goes_on(self, verb: str) -> bool:
        """Record a command; tell whether it is to be carried out, or was answered otherwise."""
        self.server.note(self.number, verb)
        behaviour = self.server.behaviour
        await asyncio.sleep(behaviour.slow)
        if behaviour.drop_at == verb:
            await self.drop()
        status = behaviour.refuse_at.get(verb)
        if status is None:
            return True
        await self.refuse(status)
        return False

    async def refuse(self, status: str) -> None:
        await self.push(status)
        if status.startswith("421"):
            self.wire.close()

    async def drop(self) -> None:
        """Close the connection without a word; this ends the session's task."""
        self.wire.abort()
        await asyncio.Event().wait()

    async def smtp_EHLO(self, hostname: str) -> None:
        if await self._goes_on("EHLO"):
            await super().smtp_EHLO(hostname)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if await self._goes_on("STARTTLS"):
            await super().smtp_STARTTLS(arg)

    async def smtp_RSET(self, arg: str) -> None:
        if await self._goes_on("RSET"):
            await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        if await self._goes_on("QUIT"):
            await super().smtp_QUIT(arg)

    async def smtp_MAIL(self, arg: str) -> None:
        if not await self._goes_on("MAIL"):
            return
        limit = self.server.behaviour.session_limit
        if limit is not None and self._received >= limit:
            await self.refuse(self.server.behaviour.session_limit_reply)
        elif self.server.login and not self._peer.authenticated:
            await self.refuse("530 5.7.0 Authentication required")
        else:
            await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str) -> None:
        if not await self._goes_on("RCPT"):
            return
        address = (arg or "").partition("<")[2].partition(">")[0]
        code = self.server.refusal(address)
        if code:
            await self.refuse(f"{code} {code // 100}.1.1 <{address}>: refused by the test")
        else:
            await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if await self._goes_on("DATA"):
            await super().smtp_DATA(arg)

    async def receive(self, envelope: Envelope) -> str:
        behaviour = self.server.behaviour
        await asyncio.sleep(behaviour.slow_final_dot)
        status = behaviour.refuse_at.get(".")
        if status:
            self.server.note(self.number, ".")
            return status
        self._received += 1
        mail = ReceivedMail(
            sender=(envelope.mail_from or "").removeprefix("<>"),  # aiosmtpd keeps these
            recipients=tuple(envelope.rcpt_tos),
            content=envelope.original_content or b"",
            options=tuple(envelope.mail_options),
            session=self.number,
            tls=self.wire.get_extra_info("ssl_object") is not None,
            user=self._peer.auth_data,
        )
        self.server.note(self.number, ".", mail)
        if behaviour.drop_after_data:
            await self.drop()
        return f"250 2.0.0 queued as {self.server.session_count}-{self._received}"
