"""``/healthz`` and ``/readyz``: is the process alive, and can it do its work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from access import AccessError
from handlers.base import BaseHandler
from handlers.problems import RETRY_AFTER_S
from handlers.representation import iso, utc
from lifecycle import CIRCUIT_ID
from task import HEARTBEAT_ID

#: What callers without a key see in place of a reason, which may name hosts.
SEE_LOG = "see the log"


class ProbeHandler(BaseHandler):
    """A handler that answers everybody: probes have no key."""

    def admit(self) -> None:
        """Let everybody in."""

    def is_known(self) -> bool:
        """Return whether the request comes from somebody with a key, or needs none."""
        try:
            self._services.keyring.identify(self.request.headers.get("Authorization"))
        except AccessError:
            return False
        return True


class HealthHandler(ProbeHandler):
    """``/healthz``: the event loop answers."""

    async def get(self) -> None:
        self.write_json({"status": "alive"})

    head = get


class ReadyHandler(ProbeHandler):
    """``/readyz``: both connections are open, the topology is declared, new results and keys are
    read.

    Heartbeat, relay and ledger are shown as this process has last seen them: a probe starts no
    lookup. Callers without a key see what does not work, but not why.
    """

    async def get(self) -> None:
        problems = self._problems()
        document: dict[str, Any] = {
            "status": "not ready" if problems else "ready",
            "problems": problems,
            "heartbeat": None if problems else self._heartbeat(),
            "relay": None if problems else self._relay(),
            "ledger": self._ledger(),
            "estimated_wait_s": self._services.pressure.wait_s(),
        }
        if problems:
            self.set_header("Retry-After", str(RETRY_AFTER_S))
        self.write_json(document, 503 if problems else 200)

    head = get

    def _problems(self) -> dict[str, str]:
        found = self.bridge.problems()
        if not self._services.keyring.is_known:
            found["keys"] = "not read yet"
        return found if self.is_known() else dict.fromkeys(found, SEE_LOG)

    def _relay(self) -> dict[str, Any] | None:
        """Return the last change of a worker's circuit breaker, for information only: while it is
        open, mails are accepted, and wait."""
        state = self.bridge.result(CIRCUIT_ID).known()
        if state.at is None:
            return None
        return {"circuit": state.result, "at": utc(state.at)}

    def _ledger(self) -> dict[str, Any] | None:
        """Return since when this process has failed to read or write the ledger, for information
        only: tasks other than mails do not need the ledger."""
        failure = self._services.ledger.failure()
        if failure is None:
            return None
        error = failure.detail if self.is_known() else SEE_LOG
        return {"error": error, "since": iso(failure.since)}

    def _heartbeat(self) -> dict[str, Any] | None:
        """Return when beat, broker and worker were last seen to work together."""
        state = self.bridge.result(HEARTBEAT_ID).known()
        if state.at is None:
            return None
        age_s = (datetime.now(UTC) - datetime.fromisoformat(state.at)).total_seconds()
        shown = {"at": utc(state.at), "age_s": round(age_s, 1)}
        return {**shown, "worker": state.worker} if self.is_known() else shown
