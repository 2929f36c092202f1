"""The settings of the whole test run: set before anything of Windmail is imported."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import settings
from packaging.version import Version

from dev.ports import free_port

BROKER_PORT = free_port()
SMTP_PORT = free_port()

#: What the test process and every process that it starts read. Short times, so that no test
#: waits; everything else is as a user has it.
SETTINGS = {
    "BROKER_URL": f"amqp://guest:guest@127.0.0.1:{BROKER_PORT}//",
    "SMTP_URL": f"smtp://127.0.0.1:{SMTP_PORT}",
    "SMTP_TIMEOUT_S": "3",
    "SMTP_DATA_TIMEOUT_S": "3",
    "MAIL_RETRY_FIRST_S": "1",
    "MAIL_RETRY_REFUSED_S": "1",
    "VAR_DIR": tempfile.mkdtemp(prefix="windmail-tests-"),
    "WORKER_CONCURRENCY": "4",
    "TASK_PACKAGES": "examples.sms",
}
os.environ.update(SETTINGS)
atexit.register(shutil.rmtree, SETTINGS["VAR_DIR"], ignore_errors=True)

# pytest-tornado 0.8.1 (the newest, of 2020) takes one function of pkg_resources, which setuptools
# has no more. The versions that had it have a known hole (CVE-2026-59890).
sys.modules["pkg_resources"] = SimpleNamespace(parse_version=Version)  # type: ignore[assignment]
pytest_plugins = ["pytest_tornado.plugin"]

# Speed is measured in bench/; a busy machine makes no example wrong.
settings.register_profile("windmail", deadline=None)
settings.load_profile("windmail")


@pytest.fixture(scope="session", autouse=True)
def _current_event_loop() -> Iterator[None]:
    """Have a loop to go back to, and close it: Tornado's ``make_current`` makes one otherwise,
    which nobody closes, and which warns of that in whichever test comes next."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
