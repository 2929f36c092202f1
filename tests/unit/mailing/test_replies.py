"""A relay's replies as smtplib reads them."""

from __future__ import annotations

import io

import pytest

from mailing.smtp.replies import LINE_LENGTH, MOST_LINES, Replies

LINE, LAST = b"250-more\r\n", b"250 done\r\n"


def replies(octets: bytes) -> Replies:
    return Replies(io.BytesIO(octets))


def test_a_reply_of_lines_without_end_is_none() -> None:
    endless = replies(LINE * (MOST_LINES + 1))

    with pytest.raises(ConnectionError, match="no end"):
        endless.readlines()


def test_long_replies_are_read_one_after_the_other() -> None:
    one = LINE * MOST_LINES + LAST

    assert replies(2 * one).readlines() == (2 * one).splitlines(keepends=True)


def test_a_long_line_is_cut() -> None:
    line = b"250 " + b"x" * 3 * LINE_LENGTH + b"\r\n"

    assert replies(line + LAST).readlines() == [line[:LINE_LENGTH], LAST]
