"""The development mailbox's start; that mails arrive in it, the integration tests show."""

from __future__ import annotations

import pytest

import config
from dev import mailbox


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:99999", "smtp://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setattr(config.options.mockable(), "smtp_url", url)

    assert mailbox.main() == 1
    assert "SMTP_URL: the relay's" in capsys.readouterr().err
