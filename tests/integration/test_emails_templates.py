"""Mails from templates: rendered at acceptance, and refused there if they cannot be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests import spy
from tests.emails import address, parsed, received_by
from tests.smtp_server import SMTPServer
from tests.system import Answer, Process, Server

OUTPUT_BYTES = 2048
FILES = {
    "welcome/subject.txt": "你好 {{ user.name }}",
    "welcome/text.txt": "Dear {{ user.name }}\n{% include '_parts/footer.txt' %}",
    "welcome/html.html": '<p title="{{ user.name }}">{{ user.name }}</p>',
    "_parts/footer.txt": "-- {{ company|default('Windmail') }}",
    "plain/subject.txt": "Plain",
    "plain/text.txt": "{{ text }}",
    "endless/subject.txt": "Endless",
    "endless/text.txt": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}"
    "{% endfor %}",
    "faulty/subject.txt": "Faulty",
    "faulty/text.txt": "\n{{ secret",
    "inside/subject.txt": "Inside",
    "inside/text.txt": "{{ ''.__class__.__mro__ }}",
}
#: Not seen in any answer or log.
SECRET = "sealed-letter"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of templates."""
    folder = tmp_path_factory.mktemp("templates")
    for name, source in FILES.items():
        write(folder / name, source)
    return folder


@pytest.fixture(scope="module")
def templated(broker: BrokerNode, folder: Path, logs: Path) -> Iterator[Server]:
    """A server with templates, of which each may take little time and make little."""
    settings = {
        "MAIL_TEMPLATES": str(folder),
        "TEMPLATE_TIMEOUT_S": "0.2",
        "TEMPLATE_OUTPUT_BYTES": str(OUTPUT_BYTES),
    }
    with Server(logs / "templated-server.log", settings, free_port()) as process:
        yield process


def write(file: Path, source: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)


def body(template_id: str, to: str = "ann@example.com", **variables: Any) -> dict[str, Any]:
    return {"to": to, "template": {"id": template_id, "variables": variables}}


def test_the_rendered_subject_text_and_html_arrive(
    templated: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    to = address()
    mail = body("welcome", to, user={"name": 'Ann & "Bob" <b>'}, company="A & B")

    document = templated.post("/emails?wait=20", mail).json()

    (received,) = received_by(relay, to)
    message = parsed(received)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert document["status"] == "sent"
    assert document["subject"] == message["Subject"] == '你好 Ann & "Bob" <b>'
    assert plain.get_content().splitlines() == ['Dear Ann & "Bob" <b>', "-- A & B"]
    escaped = "Ann &amp; &#34;Bob&#34; &lt;b&gt;"
    assert html.get_content().strip() == f'<p title="{escaped}">{escaped}</p>'


def test_a_batch_may_hold_templates_and_a_subject_of_its_own(
    templated: Server, celery_worker: Process, relay: SMTPServer
) -> None:
    first, second = address(), address()
    mails = [body("plain", first, text="one"), body("plain", second, text="two")]

    answer = templated.post("/emails/batch", [mails[0], {**mails[1], "subject": "Mine"}])

    assert answer.status == 202
    for one in answer.json()["data"]:
        assert templated.get(f"/emails/{one['id']}?wait=20").json()["status"] == "sent"
    shown = [parsed(received_by(relay, to)[0]) for to in (first, second)]
    assert [mail["Subject"] for mail in shown] == ["Plain", "Mine"]
    assert [mail.get_content().strip() for mail in shown] == ["one", "two"]


@pytest.mark.parametrize(
    ("template", "argument", "says"),
    [
        ({"id": "nothing"}, "template.id", "not one of the templates here"),
        ({"id": "_parts"}, "template.id", "not one of the templates here"),
        ({"id": "../welcome"}, "template.id", "not one of the templates here"),
        ({"id": "welcome"}, "template.variables", "must hold 'user'"),
        ({"id": "welcome", "variables": {"user": {}}}, "template.variables", "must hold 'name'"),
        ({"id": "welcome", "variables": {"user": {"name": f"{SECRET}\nBcc: a@b.example"}}},
         "subject", "line break"),
        ({"id": "plain", "variables": {"text": SECRET * 200}}, "template.variables",
         f"more than {OUTPUT_BYTES} characters"),
        ({"id": "plain", "variables": {"text": "好" * (OUTPUT_BYTES // 3 + 1)}}, "template",
         f"more than {OUTPUT_BYTES} bytes"),
        ({"id": "endless"}, "template", "takes more than 0.2 s"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_422_and_goes_nowhere(
    templated: Server, template: dict[str, Any], argument: str, says: str
) -> None:
    to = address()
    with spy.published() as count:
        answer = templated.post("/emails", {"to": to, "template": template})
        assert count() == 0

    problem = answer.json()
    (error,) = problem["errors"]
    assert (answer.status, problem["name"]) == (422, "validation_error")
    assert error["argument"] == argument
    assert says in error["detail"]
    assert templated.get(f"/emails?to={to}").json()["data"] == []
    assert SECRET not in answer.body.decode() + templated.text()


def test_the_largest_output_is_sent(templated: Server) -> None:
    # The subject counts as well: "Plain".
    text = "好" * ((OUTPUT_BYTES - len("Plain")) // 3)

    answer = templated.post("/emails", body("plain", text=text))

    assert answer.status == 202


def test_a_strict_batch_with_one_that_cannot_be_rendered_sends_none(templated: Server) -> None:
    to = address()
    with spy.published() as count:
        answer = templated.post("/emails/batch", [body("plain", to, text="?"), body("plain", to)])
        assert count() == 0

    (error,) = answer.json()["errors"]
    assert answer.status == 422
    assert (error["index"], error["argument"]) == (1, "template.variables")
    assert templated.get(f"/emails?to={to}").json()["data"] == []


@pytest.mark.parametrize(("template_id", "line"), [("faulty", 2), ("inside", 1)])
def test_a_faulty_template_is_our_fault_and_the_log_names_it(
    templated: Server, template_id: str, line: int
) -> None:
    to = address()
    with spy.published() as count:
        answer = templated.post("/emails", body(template_id, to, secret=SECRET))
        assert count() == 0

    problem = answer.json()
    assert (answer.status, problem["name"]) == (500, "application_error")
    assert f"{template_id}/text.txt, line {line}: " in problem["detail"]
    assert f"POST /emails: {template_id}/text.txt, line {line}: " in templated.text()
    assert "Traceback" not in templated.text()
    assert SECRET not in answer.body.decode() + templated.text()
    assert templated.get(f"/emails?to={to}").json()["data"] == []


@pytest.mark.parametrize(
    ("now", "status"), [("other {{ text }}", 202), ("{{ gone }}", 422), ("{{ broken", 500)]
)
@pytest.mark.parametrize("batch", [False, True], ids=["mail", "batch"])
def test_a_replay_is_the_first_answer_whatever_has_become_of_the_template(
    templated: Server, folder: Path, batch: bool, now: str, status: int
) -> None:
    name = uuid4().hex
    write(folder / name / "subject.txt", "Hello")
    write(folder / name / "text.txt", "{{ text }}")
    one: Any = body(name, text="?")
    path, mail = ("/emails/batch", [one]) if batch else ("/emails", one)
    key = {"Idempotency-Key": uuid4().hex}
    first = templated.post(path, mail, **key)
    write(folder / name / "text.txt", now)

    with spy.published() as count:
        replay = templated.post(path, mail, **key)
        assert count() == 0
    another = templated.post(path, mail)

    assert (first.status, replay.status, another.status) == (202, 202, status)
    assert replay.headers["Idempotent-Replayed"] == "true"
    shown = [{**one.json(), "estimated_start": None} for one in (first, replay)]  # as of now
    assert shown[0] == shown[1]


def test_the_server_answers_others_while_templates_take_their_time(templated: Server) -> None:
    mails = [body("endless")] * 10
    answers: list[Answer] = []
    slow = threading.Thread(target=lambda: answers.append(templated.post("/emails/batch", mails)))
    meanwhile = 0

    slow.start()
    while slow.is_alive():
        assert templated.get("/healthz").status == 200
        meanwhile += 1

    assert [answer.status for answer in answers] == [422]
    assert len(answers[0].json()["errors"]) == len(mails)
    assert meanwhile > len(mails)
