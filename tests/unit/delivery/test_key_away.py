"""A DKIM key whose file breaks after the worker's start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from bridge.ids import new_task_id
from delivery import Wait, compose, content, parts, send
from delivery.entry import accepted_at

MAIL = {"subject": "A subject", "text": "A text.", "to": "ann@b.example", "from_": "me@example.com"}


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of ``DKIM_KEY_FILE``; there is none yet."""
    file = tmp_path / "key.pem"
    monkeypatch.setattr(config.options.mockable(), "dkim", "example.com:spring")
    monkeypatch.setattr(config.options.mockable(), "dkim_key_file", str(file))
    parts.signer.cache_clear()
    yield file
    parts.signer.cache_clear()


@pytest.mark.usefixtures("ledger")
def test_a_mail_waits_for_the_key_and_is_signed_when_it_is_back(key: Path) -> None:
    email_id = new_task_id()

    step = send(email_id, MAIL, track=1, returns=0)

    assert isinstance(step, Wait)
    assert str(step.reason) == "the DKIM key file can't be read: No such file or directory"

    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    octets = content(compose(MAIL), email_id, accepted_at(email_id))

    assert octets.startswith(b"DKIM-Signature:")
