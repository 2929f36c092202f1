"""The part that sends hostile texts in every field of a mail, and looks at what the relay got."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from attack.letters import Asked, injected, wrong_commands
from attack.sink import Taken
from attack.tally import Tally
from attack.target import Target
from attack.wire import ask

EVIL = "evil@evil.example"
SMUGGLED = f"MAIL FROM:<{EVIL}>\r\nRCPT TO:<{EVIL}>\r\nDATA\r\nX-Injected: yes\r\n\r\nx\r\n"
ENDS = (
    "\r\n.\r\n",
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r\n.\n",
    "\r\n.\r",
    "\r.\r\n",
    "\n.\r",
    "\0\r\n.\r\n",
)
TEXTS = (
    *(f"a{end}{SMUGGLED}" for end in ENDS),
    *(f"a{line}X-Injected: yes" for line in (
        "\r\n", "\n", "\r", "\r\n ", "\n\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029",
        "\0\r\n", "%0d%0a", "\\r\\n", "=0D=0A", "\u560d\u560a", "\uff0d\uff0a",
    )),
    "=?utf-8?q?a=0D=0AX-Injected:_yes?=", "=?utf-8?b?YQ0KWC1JbmplY3RlZDogeWVz?=",
    "=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3D0D=3D0AX-Injected:_yes=3F=3D?=", "=?utf-7?q?+AA0ACg-X-Injected:?=",
    "=?utf-16?q?=0D=00=0A=00?=", "=?x?q?=0A?= =?x?q?X-Injected:?=", "=?utf-8?q?=?=0A?=", "=?" * 300,
    "\u202ereversed\u202c", "\u2066\u2069\u200f", "\ufeffa", "a\u0300" * 100, "\U0001f4a9" * 50,
    "\U000e0041", "\ufffe\uffff", "." * 200, ".", "..", ".\r\n.", "\r\n..\r\n", "--boundary\r\n\r\nx",
    "Content-Type: text/html\r\n\r\n<script>", "x" * 990, "word " * 190, "-" * 76 + "\r\n", "\t", " ", "",
    f'a", <{EVIL}>, "b', f"a <{EVIL}>", f"{EVIL}, b", "(comment)", "<>", "@", '"', "\\", "''", "a;b",
)  # fmt: skip
ADDRESSES = (
    f"a@b.example,{EVIL}", f"a@b.example>\r\nRCPT TO:<{EVIL}", "a@b.example\r\nDATA", "<a@b.example", "a@b",
    "a@b.example SIZE=1", '"a b"@b.example', '"a\\"@b.example', "a@[127.0.0.1]", "a@b.example.", "a@-b.example",
    "a@b..example", ".a@b.example", "a..b@b.example", "a@xn--a", "a@\u00fc.example", "a@\u0131.example",
    "a@fa\u00df.example", "a@\u2100.example", "a@b\uff0eexample", "a@b\u3002example", "\u00fc@b.example",
    "a@b.example\0", "a@b.example(c)", "@r.example:a@b.example", "a%evil.example@b.example",
    "evil.example!a@b.example", "g:a@b.example;", "a@@b.example", "a" * 65 + "@b.example", "a@" + "b." * 130,
    "\uff41@b.example", "a@b.example\u200b", "a@\u202eelpmaxe.b", "-oQ/tmp@b.example", "|id@b.example",
    f"=?utf-8?q?{EVIL.replace('@', '=40')}=2c?=@b.example", "a+b=c/d@b.example", "postmaster", "root@localhost", "a@127.0.0.1", "a@1",
)  # fmt: skip
SETTLE_S = 60.0


def mails(target: Target, examples: int) -> Tally:
    """Send the corpus, and ``examples`` mails that hypothesis makes of its pieces."""
    with target.part("mails: headers, addresses, texts") as tally:
        tally.injected = 0
        sender = _Sender(target, tally)
        for body in corpus():
            sender.send(body)
        _generate(sender, examples)
        sender.check()
    return tally


def corpus() -> Iterator[dict[str, Any]]:
    """Yield mails with one hostile text in one field each."""
    for text in TEXTS:
        for name in ("subject", "text", "html"):
            yield {name: text}
        yield {"headers": {"X-Note": text}}
        yield {"headers": {"List-Unsubscribe": text}}
        yield {"headers": {text: "a"}}
        yield {"attachments": [{"filename": text, "content": "YQ=="}]}
        yield {"attachments": [{"filename": "a", "content": "YQ==", "content_type": text}]}
        yield {"attachments": [{"filename": "a", "content": "YQ==", "content_id": text}]}
        yield {"tags": [{"name": text, "value": text}]}
        yield {"cc": f"{json.dumps(text)} <cc@b.example>"}
        yield {"reply_to": f"{text} <r@b.example>"}
        yield {"from": f"{text} <from@b.example>"}
    for address in ADDRESSES:
        for name in ("from", "cc", "bcc", "reply_to"):
            yield {name: address}
            yield {name: [address]}
            yield {name: f"Name <{address}>"}


class _Sender:
    """Sends mails, each with a recipient of its own, and remembers what was accepted."""

    def __init__(self, target: Target, tally: Tally) -> None:
        self._target = target
        self._tally = tally
        self._numbers = itertools.count()
        self._accepted: dict[str, tuple[str, dict[str, Any]]] = {}

    def send(self, changes: dict[str, Any]) -> None:
        address = f"n{next(self._numbers)}@own.example"
        body = {"to": address, "subject": "s", "text": "t", **changes}
        octets = self._target.request("POST", "/emails", json.dumps(body).encode())
        reply = ask(self._target.port, octets)
        self._tally.answered(f"mail {changes!r}"[:200], reply.statuses, reply.seconds)
        if reply.hung:
            self._tally.hung(f"mail {changes!r}"[:200])
        if reply.statuses == [202]:
            email_id = json.loads(reply.octets.partition(b"\r\n\r\n")[2])["id"]
            self._accepted[address] = (email_id, body)

    def check(self) -> None:
        """Wait for the accepted mails, and examine each one that came."""
        taken = self._taken()
        for address, (email_id, body) in self._accepted.items():
            mails = taken.pop(address, [])
            if len(mails) != 1:
                self._tally.findings.append(f"{len(mails)} mails came of one: {body!r}"[:200])
                continue
            found = self._target.get(f"/emails/{email_id}")["recipients"]
            asked = Asked(body=body, recipients=frozenset(one["address"] for one in found))
            for what in injected(asked, mails[0]):
                self._tally.found_injected(f"{what}, by {body!r}"[:300])
        for stranger in taken.keys() - {None}:
            self._tally.found_injected(f"a mail that nobody sent, to {stranger}")
        for what in wrong_commands(self._target.sink.commands):
            self._tally.found_injected(what)
        self._tally.notes.append(f"{len(self._accepted):,} of them accepted and received")

    def _taken(self) -> dict[str | None, list[Taken]]:
        deadline = time.monotonic() + SETTLE_S
        while True:
            found: dict[str | None, list[Taken]] = {}
            for mail in list(self._target.sink.mails):
                found.setdefault(_own(mail), []).append(mail)
            if self._accepted.keys() <= found.keys() or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


def _own(mail: Taken) -> str | None:
    """Return a mail's recipient, ours or the smuggled one; None: it is another part's mail."""
    for line in mail.commands:
        name = line.decode("latin-1").partition("<")[2].partition(">")[0]
        if name.endswith("@own.example") and line[:4].upper() == b"RCPT":
            return name
        if EVIL in name and line[:4].upper() == b"RCPT":
            return name
    return None


def _generate(sender: _Sender, examples: int) -> None:
    pieces = st.sampled_from([*TEXTS, *ENDS, *ADDRESSES, SMUGGLED, "\r", "\n", ".", "=?", "?="])
    text = st.lists(pieces | st.text(max_size=20), max_size=5).map("".join)
    members = {
        **dict.fromkeys(("subject", "text", "html", "from", "cc", "bcc", "reply_to"), text),
        "headers": st.dictionaries(st.sampled_from(["X-A", "List-Id", "References"]) | text, text, max_size=3),
        "attachments": st.lists(
            st.fixed_dictionaries(
                {"filename": text, "content": st.just("YQ==")}, optional={"content_type": text}
            ),
            max_size=2,
        ),
        "metadata": st.dictionaries(text, text, max_size=2),
    }  # fmt: skip

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.fixed_dictionaries({}, optional=members))
    def send(changes: dict[str, Any]) -> None:
        sender.send(changes)

    send()
