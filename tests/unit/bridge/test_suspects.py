"""Which messages are suspects, whatever their headers hold; all else of it takes real workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bridge.worker.suspects import LOST_WORKERS, is_suspect


@pytest.mark.parametrize(
    ("count", "suspect"),
    [
        (LOST_WORKERS, True),
        (2**40, True),
        (LOST_WORKERS - 1, False),
        (None, False),
        ("many", False),
        ([3], False),
    ],
)
def test_a_message_is_a_suspect_by_a_count_that_is_one(count: object, suspect: bool) -> None:
    request = SimpleNamespace(
        request_dict={"x-delivery-count": count}, delivery_info={"routing_key": "mail"}
    )

    assert is_suspect(request, "mail.apart") is suspect
