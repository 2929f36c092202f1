"""Makes the tracebacks that Celery keeps of failed tasks take a fraction of their memory."""

from __future__ import annotations

from functools import lru_cache
from types import CodeType

from billiard import einfo

#: How many functions' copies are kept: those used last.
MOST = 2048


def install() -> None:
    """Have billiard copy a function's code once, and not again for each task that fails.

    A copy holds the position of each instruction: 324 KB for the functions between Celery and a
    task, and each mail that is retried had its own until its acknowledgement.
    """
    einfo._Frame.Code = staticmethod(lambda code: _copy(code, code.co_filename))


@lru_cache(MOST)
def _copy(code: CodeType, _filename: str) -> einfo._Code:
    """Return a copy of a function's code. The file's name is part of the cache's key: code objects
    that differ only in it compare equal, and a traceback would show the wrong file."""
    return einfo._Code(code)
