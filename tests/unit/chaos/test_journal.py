"""The journals: what is written is read, once, and no line before it is whole."""

from __future__ import annotations

from pathlib import Path

from chaos.journal import Dropped, Journal, Reader, Received


def test_lines_are_read_once_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal, reader = Journal(file), Reader(file)
    first = Received(number=1, message_id="<a@b>", to=["c@d"], told=False)
    second = Dropped(number=2)

    journal.write(first)
    assert list(reader.new()) == [first]
    journal.write(second)

    assert list(reader.new()) == [second]
    assert list(Reader(file).new()) == [first, second]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    Journal(file).write(Dropped(number=1))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:10])
    reader = Reader(file)

    assert [line.number for line in reader.new()] == [1]
    file.write_bytes(whole + whole)

    assert [line.number for line in reader.new()] == [1]


def test_a_journal_that_nobody_has_begun_is_empty(tmp_path: Path) -> None:
    assert list(Reader(tmp_path / "none").new()) == []
