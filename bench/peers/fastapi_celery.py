"""FastAPI with Celery's ``delay()``: ``python -m bench.peers.fastapi_celery PORT``.

As FastAPI's documentation advises for code that blocks: in a ``def``, which runs in its threads.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from bench.peers.celery_app import add, declare
from bench.peers.web import Call, serve

web = FastAPI()


@web.post("/call", status_code=202)
def call(call: Call) -> dict[str, Any]:
    result = add.delay(*call.args, **call.kwargs)
    return {"id": result.id, "state": "PENDING"}


@web.post("/wait")
def wait(call: Call) -> dict[str, Any]:
    return {"result": add.delay(*call.args, **call.kwargs).get(timeout=30)}


if __name__ == "__main__":
    declare()
    serve(web)
