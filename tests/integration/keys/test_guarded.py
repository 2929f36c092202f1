"""Every route asks for a key, and for what the key may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import config
from application import EMAIL_ID, ROUTES, TASK_ID
from dev import readiness
from handlers.health import ProbeHandler
from tests import spy
from tests.emails import later, mail
from tests.keys import Client, id_of
from tests.system import Server, wait_until

ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"  # of a task and a mail that nobody sent
EMAIL = {"subject": "Hello", "text": "?", "to": "ann@example.com", "scheduled_at": later(days=1)}
OLD_WAY = "/celery?title=a&text=b&tomail=ann@example.com"


def routes() -> Iterator[tuple[str, str]]:
    """Yield each method and path that the application answers, but the probes."""
    for pattern, handler in ROUTES:
        if issubclass(handler, ProbeHandler):
            continue
        path = pattern.replace(TASK_ID, ID).replace(EMAIL_ID, ID)
        path = path.replace("/?", "").replace("([^/]+)", "add").replace(".*", "nothing")
        assert not set(path) & set("([?*\\"), path
        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"):
            yield method, path


@pytest.mark.parametrize(("method", "path"), [*routes(), ("GET", OLD_WAY)])
def test_no_route_answers_without_a_key(locked: Server, method: str, path: str) -> None:
    answer = locked.request(method, path)

    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_missing_key_is_told_in_resends_words(locked: Server) -> None:
    problem = locked.post("/emails", mail()).json()

    assert (problem["name"], problem["statusCode"], problem["status"]) == (
        "missing_api_key",
        401,
        401,
    )
    assert problem["message"] == problem["detail"]


@pytest.mark.parametrize("key", ["wm_0123456789ab_x", "re_123", "revoked"])
def test_an_unknown_or_revoked_key_is_refused(
    locked: Server, keys: Mapping[str, str], key: str
) -> None:
    shown = keys.get(key, key)
    answer = Client(locked, shown).post("/emails", mail())

    assert (answer.status, answer.json()["name"]) == (401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert shown not in answer.body.decode()


def test_a_refused_request_sends_nothing(locked: Server, clients: Mapping[str, Client]) -> None:
    with spy.published() as count:
        locked.post("/emails", EMAIL)
        locked.get(OLD_WAY)
        clients["reader"].post("/emails", EMAIL)
        clients["reader"].get(OLD_WAY)
        clients["sender"].post("/celery/add", {"args": [1, 2]})
        clients["revoked"].post("/emails/batch", [EMAIL])
        assert count() == 0


@pytest.mark.parametrize(
    ("name", "method", "path", "body", "status"),
    [
        ("sender", "POST", "/emails", EMAIL, 202),
        ("sender", "POST", "/emails/batch", [EMAIL], 202),
        ("sender", "POST", "/celery/sendmail", {"kwargs": EMAIL}, 422),  # it has no scheduled_at
        ("sender", "POST", "/celery/sendmail", {"kwargs": EMAIL, "queue": "mail"}, 403),
        ("sender", "GET", "/emails", None, 403),
        ("sender", "GET", "/celery", None, 403),
        ("sender", "GET", f"/emails/{ID}", None, 403),
        ("sender", "GET", f"/celery/{ID}/events", None, 403),
        ("sender", "POST", "/celery/add", {"args": [1, 2]}, 403),
        ("sender", "DELETE", f"/celery/{ID}", None, 403),
        ("sender", "DELETE", "/emails", None, 405),
        ("reader", "GET", "/emails", None, 200),
        ("reader", "HEAD", "/emails", None, 200),
        ("reader", "GET", "/celery", None, 200),
        ("reader", "GET", "/celery/add", None, 200),
        ("reader", "GET", f"/emails/{ID}", None, 404),
        ("reader", "GET", f"/celery/{ID}", None, 404),
        ("reader", "GET", f"/celery/{ID}/events", None, 404),
        ("reader", "GET", OLD_WAY, None, 403),
        ("reader", "POST", "/emails", EMAIL, 403),
        ("reader", "POST", f"/emails/{ID}/cancel", None, 403),
        ("reader", "POST", f"/emails/{ID}/retry", None, 403),
        ("reader", "PATCH", f"/emails/{ID}", {"scheduled_at": later(days=1)}, 403),
        ("shop", "DELETE", f"/celery/{ID}", None, 403),
        ("shop", "POST", "/celery/hello", {"args": ["you"]}, 403),
        ("admin", "POST", "/celery/add", {"args": [1, 2]}, 202),
        ("admin", "GET", f"/celery/{ID}", None, 200),
        ("admin", "DELETE", f"/celery/{ID}", None, 202),
        ("admin", "GET", "/emails", None, 200),
    ],
)
def test_a_key_may_do_what_its_scopes_say(
    clients: Mapping[str, Client], name: str, method: str, path: str, body: Any, status: int
) -> None:
    answer = clients[name].request(method, path, body)

    assert answer.status == status
    if status == 403:
        assert answer.json()["scope"] in ("send", "read", "admin")
        assert answer.json()["scope"] in answer.json()["detail"]


def test_a_missing_scope_is_told_in_resends_words(clients: Mapping[str, Client]) -> None:
    problem = clients["reader"].post("/emails", EMAIL).json()

    assert (problem["name"], problem["statusCode"]) == ("restricted_api_key", 403)


def test_who_has_a_key_may_use_any_name_of_the_server(
    clients: Mapping[str, Client],
) -> None:
    """Without keys, just this machine's names are let in."""
    page = {
        "Host": "mail.example.com",
        "Origin": "https://shop.example",
        "Sec-Fetch-Site": "cross-site",
    }

    assert clients["reader"].get("/emails", **page).status == 200


@pytest.mark.parametrize(("path", "status"), [("/emails", 200), (f"/emails/{ID}", 404)])
def test_no_cache_keeps_an_answer_and_no_browser_guesses_what_it_is(
    clients: Mapping[str, Client], path: str, status: int
) -> None:
    answer = clients["reader"].get(path)

    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_probes_answer_everybody_and_tell_strangers_no_names(
    locked: Server, clients: Mapping[str, Client]
) -> None:
    stranger, known = locked.get("/readyz"), clients["reader"].get("/readyz")

    assert locked.get("/healthz").status == stranger.status == known.status == 200
    heartbeat = stranger.json()["heartbeat"] or {}
    assert "worker" not in heartbeat


def test_the_access_log_names_the_keys_id_and_not_the_key(
    locked: Server, clients: Mapping[str, Client], keys: Mapping[str, str]
) -> None:
    clients["reader"].get("/celery/count")

    wait_until(lambda: f" by {id_of(keys['reader'])}" in locked.text(), "the access log's line")
    assert not [key for key in keys.values() if key in locked.text()]


@pytest.mark.parametrize(("which", "wanted"), [("locked", True), ("server", False)])
def test_make_run_finds_out_whether_a_key_is_needed(
    which: str, wanted: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Server = request.getfixturevalue(which)
    monkeypatch.setattr(config.options.mockable(), "port", server.port)

    assert readiness.wants_key() is wanted
