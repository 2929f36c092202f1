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


@pytest.fixture(params=[False, True], ids=["one by one", "pipelining"])
def server(request: pytest.FixtureRequest) -> Iterator[SMTPServer]:
    with SMTPServer(pipelining=request.param) as server:
        yield server
        close_sessions()
