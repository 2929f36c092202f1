"""What a dead mail's new message takes over from the old one; what is said of no letters."""

from __future__ import annotations

import json
import zlib
from typing import Any

import amqp
import kombu
import pytest

from bridge import DeadLetter
from bridge.dead.queue import Counts
from bridge.signing import Signer
from dead import main, new_message, replay_or_discard, to_replay
from task import app

ADD = {"task": "task.add", "args": [1], "kwargs": {}}
NEW = {"subject": "A subject", "_track": 2}
NEW_KEY, OLD_KEY = "n" * 43, "o" * 43


def letter(body: bytes, **headers: Any) -> DeadLetter:
    headers = {"task": "task.sendmail", "id": "1", **headers}
    message = amqp.Message(body, application_headers=headers, content_type="application/json")
    return DeadLetter.from_message(message, known=(), signer=None)


def test_what_runs_after_the_mail_runs_after_its_replay() -> None:
    body = json.dumps([["s", "t", "to"], {}, {"callbacks": [ADD], "chain": None}]).encode()

    new = new_message(letter(body, root_id="0"), NEW)

    assert new.arguments() == ((), NEW)
    assert new.embed() == {"callbacks": [ADD], "chain": None}
    assert new.headers["root_id"] == "0"


def test_a_time_that_is_over_and_a_compression_are_not_the_new_messages() -> None:
    body = zlib.compress(json.dumps([[], {}, None]).encode())
    past = "2026-01-02T03:04:05+00:00"

    new = new_message(letter(body, compression="application/x-gzip", expires=past, eta=past), NEW)

    assert new.headers == {"task": "task.sendmail", "id": "1"}
    assert new.arguments() == ((), NEW)


@pytest.mark.parametrize("headers", [{}, {"timelimit": "long"}, {"eta": "soon"}])
def test_what_made_a_message_unreadable_is_not_the_new_messages(headers: dict[str, Any]) -> None:
    body = b"[[], {}, null]" if headers else b"hunter2"

    new = new_message(letter(body, **headers), NEW)

    assert new.headers == {"task": "task.sendmail", "id": "1"}
    assert new.arguments() == ((), NEW)


def test_a_message_of_protocol_1_becomes_one_of_protocol_2() -> None:
    body = {"task": "task.sendmail", "id": "1", "args": [], "kwargs": {}, "callbacks": [ADD]}
    message = amqp.Message(json.dumps(body), content_type="application/json")

    new = new_message(DeadLetter.from_message(message, known=(), signer=None), NEW)

    assert (new.headers, new.arguments()) == ({"task": "task.sendmail", "id": "1"}, ((), NEW))
    assert new.embed() == {"callbacks": [ADD]}


@pytest.mark.parametrize(
    ("ids", "said", "code"),
    [(None, "there are no dead letters\n", 0), ({"nobody"}, "no such letter\n", 1)],
)
def test_an_empty_queue_is_no_error_for_who_names_no_letter(
    ids: set[str | None] | None,
    said: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bridge.dead.queue.discard", lambda connection, ids: Counts())

    assert replay_or_discard(kombu.Connection(), "discard", ids) == code
    assert capsys.readouterr().out == said


def test_an_output_that_nobody_reads_is_not_told_as_the_brokers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def show(*_: Any) -> int:
        raise BrokenPipeError  # as print does

    monkeypatch.setattr("dead.connect", lambda connection: None)
    monkeypatch.setattr("dead.topology.declare", lambda app, connection: None)
    monkeypatch.setattr("dead.show", show)

    with pytest.raises(BrokenPipeError):
        main(["dead.py", "list"])

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("compression", ["", "application/x-gzip"], ids=["plain", "compressed"])
def test_a_replayed_task_is_signed_by_the_key_that_signs_now(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps([[1, "2"], {}, None]).encode()
    headers: dict[str, Any] = {"task": "task.add", "id": "1"}
    properties = {"content_type": "application/json", "content_encoding": "utf-8"}
    headers["signature"] = Signer([OLD_KEY]).sign(headers, properties, body)
    if compression:  # after signing, as kombu does
        headers, body = {**headers, "compression": compression}, zlib.compress(body)
    message = amqp.Message(body, application_headers=headers, **properties)
    signer = Signer([NEW_KEY, OLD_KEY])
    monkeypatch.setattr(app.amqp, "signer", signer)
    dead = DeadLetter.from_message(message, known=app.tasks, signer=signer)

    replayed = to_replay(dead, held=False)

    assert replayed is not None
    assert (replayed.body, replayed.arguments()) == (body, ((1, "2"), {}))
    again = amqp.Message(body, application_headers=dict(replayed.headers), **properties)
    by_new = DeadLetter.from_message(again, known=app.tasks, signer=Signer([NEW_KEY]))
    assert by_new.reason != "not_signed"


def test_what_no_key_has_signed_is_neither_replayed_nor_signed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = Signer([NEW_KEY])
    monkeypatch.setattr(app.amqp, "signer", signer)
    message = amqp.Message(b"[[1, 2], {}, null]", application_headers={"task": "task.add"})
    dead = DeadLetter.from_message(message, known=app.tasks, signer=signer)

    assert to_replay(dead, held=True) is None
    assert "not signed" in capsys.readouterr().err
