"""Flower by its own command, and requests to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from dev.ports import free_port
from tests.system import Answer, Process, Server, celery, wait_until


class Flower(Process):
    """A running Flower."""

    def __init__(self, var: Path, auth: str, env: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        ours = {"FLOWER_PORT": str(self.port), "FLOWER_AUTH": auth, "VAR_DIR": str(var)}
        env = {**(env or {}), **ours}
        super().__init__(celery("flower"), var / "flower.log", env, ready="Visit me at")

    def start(self) -> None:
        super().start()
        wait_until(self._listens, "Flower's port")

    def _listens(self) -> bool:
        try:
            self.ask("GET", "/healthcheck")
        except OSError:
            return False
        return True

    def ask(self, method: str, path: str, auth: str = "") -> Answer:
        """Send a request with this login."""
        token = base64.b64encode(auth.encode()).decode()
        headers = {"Authorization": f"Basic {token}"} if auth else {}
        return Server(self.log, {}, self.port).request(method, path, None, headers)
