"""What the peers on FastAPI share: the body of a call, the probe, and how they are served."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Call(BaseModel):
    """The body of a call, as ours."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


def serve(web: FastAPI) -> None:
    """Serve on loopback, at the port that the command names, as ``uvicorn[standard]`` does."""
    web.get("/readyz")(lambda: {})
    uvicorn.run(web, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
