"""What is left of a mail that is refused: nothing, at once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from handlers.accepting.outgoing import Outgoing
from handlers.emails.accepting_handler import AcceptingHandler
from handlers.problems import Problem


class Body:
    """Stands for megabytes."""


class Stranger:
    """A handler of a request that nobody knows."""

    async def _entered_before(self, _key: Any) -> None:
        return None


async def refuse() -> None:
    async def outgoing_at(_now: float) -> Sequence[Outgoing]:
        raise NotImplementedError

    handler = cast(AcceptingHandler, Stranger())
    try:
        body = Body()
        bodies.append(weakref.ref(body))
        raise Problem(422, "no")
    except Problem as exc:
        await AcceptingHandler.accept_as_before(handler, None, outgoing_at, exc)


bodies: list[weakref.ref[Body]] = []


def test_a_refused_body_does_not_wait_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        with suppress(Problem):  # pytest.raises and tasks keep the traceback
            refuse().send(None)

        assert bodies[0]() is None
    finally:
        gc.enable()
