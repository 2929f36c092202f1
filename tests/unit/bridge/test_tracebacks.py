"""Failed tasks share the copies of code that their tracebacks hold."""

from __future__ import annotations

import pickle
import traceback

import pytest
from billiard import einfo

from bridge.worker import tracebacks


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(einfo._Frame, "Code", einfo._Code)  # put back afterwards
    tracebacks.install()


def failed() -> einfo.ExceptionInfo:
    """Return what is kept of a failure."""
    try:
        raise ValueError("a failure")
    except ValueError:
        return einfo.ExceptionInfo()


def test_two_failures_of_one_function_share_its_code() -> None:
    first, second = failed(), failed()

    assert first.tb.tb_frame.f_code is second.tb.tb_frame.f_code
    assert first.tb.tb_frame is not second.tb.tb_frame


def test_equal_functions_of_two_files_are_told_apart() -> None:
    files = []
    for name in ("one.py", "two.py"):
        try:
            exec(compile("1 / 0", name, "exec"))
        except ZeroDivisionError:
            files.append(einfo.ExceptionInfo().tb.tb_next.tb_frame.f_code.co_filename)

    assert files == ["one.py", "two.py"]


def test_a_traceback_is_printed_and_pickled_as_before() -> None:
    text = "".join(traceback.format_tb(failed().tb))
    copied = pickle.loads(pickle.dumps(failed()))

    assert 'raise ValueError("a failure")' in text
    assert copied.traceback == failed().traceback
