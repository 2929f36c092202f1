"""A relay for each test, and no session left over from the one before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mailing import (
    close_sessions,
)
from tests.smtp_server import SMTPServer


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_sessions()


@pytest.fixture
def server() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server
        close_sessions()
