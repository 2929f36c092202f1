"""What Celery keeps of a failed task's traceback, at a fraction of its size."""

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
    """Return a copy of a function's code. Code that differs only in its file compares equal, so
    the cache needs the file's name, too: a traceback would show the wrong one."""
    return einfo._Code(code)
