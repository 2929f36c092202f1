"""Dead letters are looked at, sent again and discarded, and none is lost by that."""

from __future__ import annotations

import kombu
import pytest
from msgspec.structs import replace

from bridge import DeadLetter
from bridge.dead import queue as dead_queue
from bridge.dead.batch import BATCH
from tests.dead_system import DeadSystem, browse, replay
from tests.outside import Tap
from tests.system import wait_until

SECRET = "hunter2"


def test_a_replayed_task_runs_and_shows_no_sign_of_its_death(system: DeadSystem) -> None:
    task_id = system.call("tests.dead_app.work", 1)
    system.recorded(task_id)
    (system.folder / "well").touch()

    with Tap(system.url, "windmail") as tap:
        counts = replay(system.connection, [task_id])
        message = tap.wait_for(lambda message: message.headers.get("id") == task_id, "the replay")

    assert counts.replayed == 1
    assert not [name for name in message.headers if name.startswith("x-")]
    wait_until(lambda: task_id in system.worked(), "the task's second run")
    assert system.letters() == []


def test_a_task_that_has_succeeded_since_is_not_run_by_a_second_replay(system: DeadSystem) -> None:
    task_id = system.call("tests.dead_app.work")
    system.recorded(task_id)
    (letter,) = system.letters()
    (system.folder / "well").touch()
    replay(system.connection, [task_id])
    wait_until(lambda: system.worked().count(task_id) == 1, "the first replay")

    system.bury(letter)
    replay(system.connection, [task_id])

    ignored = f"[{task_id}] Task already completed successfully."
    wait_until(lambda: ignored in system.worker.text(), ignored)
    assert system.worked().count(task_id) == 1


def test_looking_removes_nothing_and_keeps_the_order_however_often(system: DeadSystem) -> None:
    ids = [f"letter-{number}" for number in range(5)]
    system.fill(*ids)

    looks = [system.letters() for _ in range(45)]

    assert all([letter.id for letter in letters] == ids for letters in looks)
    # RabbitMQ 4 drops a message at its 20th delivery.
    assert 5 <= max(letter.deliveries for letters in looks for letter in letters) < 15


def test_a_look_at_a_part_leaves_all_in_the_queue(system: DeadSystem) -> None:
    system.fill(*"abcde")

    with kombu.Connection(system.url) as connection:
        part = [letter.id for letter in browse(connection, 2)]
        first = next(browse(connection, 5)).id

    assert part == ["a", "b"]
    assert first in set("abcde")
    assert sorted(str(letter.id) for letter in system.letters()) == list("abcde")


def test_a_look_at_many_goes_on_to_their_end_and_takes_out_no_more_than_it_shows(
    system: DeadSystem,
) -> None:
    ids = [f"{number:03}" for number in range(2 * BATCH + 5)]
    system.fill(*ids)

    with kombu.Connection(system.url) as connection:
        part = [letter.id for letter in browse(connection, BATCH + 5)]
    letters = system.letters()

    assert part == ids[: BATCH + 5]
    assert sorted(str(letter.id) for letter in letters) == ids
    looked_at = {str(letter.id) for letter in letters if letter.deliveries}
    assert looked_at == set(part)


def test_looks_at_the_same_time_see_different_letters(system: DeadSystem) -> None:
    ids = [f"{number:03}" for number in range(BATCH + 5)]
    system.fill(*ids)

    with kombu.Connection(system.url) as one, kombu.Connection(system.url) as other:
        first = browse(one, BATCH)
        second = browse(other, len(ids))
        seen = [next(first).id]
        begun = [next(second).id]
        seen += [letter.id for letter in first]  # which goes back
        begun += [letter.id for letter in second]

    assert seen == ids[:BATCH]
    assert begun == ids[BATCH:]
    assert sorted(str(letter.id) for letter in system.letters()) == ids


def test_a_letter_behind_many_is_found(system: DeadSystem) -> None:
    ids = [f"{number:03}" for number in range(BATCH + 1)]
    system.fill(*ids)

    assert dead_queue.discard(system.connection, [ids[-1]]).discarded == 1

    assert [letter.id for letter in system.letters()] == ids[:-1]


def test_a_letter_is_replayed_alone_and_keeps_the_others(system: DeadSystem) -> None:
    system.fill(*"abc")

    assert replay(system.connection, ["b", "nobody"]).replayed == 1

    system.recorded("b")  # it fails again
    assert sorted(str(letter.id) for letter in system.letters()) == list("abc")


def test_all_letters_are_replayed_once_though_they_die_again(system: DeadSystem) -> None:
    ids = [f"again-{number}" for number in range(5)]
    system.fill(*ids)

    def edit(letter: DeadLetter) -> DeadLetter:
        if letter.id == ids[1]:
            system.recorded(ids[0])  # so it is back in the dead queue, too
        return letter

    assert replay(system.connection, None, edit).replayed == 5

    for task_id in ids:
        system.recorded(task_id)
    records = [record["id"] for record in system.records()]
    assert [records.count(task_id) for task_id in ids] == [1] * 5


def test_an_edit_changes_a_letter_or_keeps_it(system: DeadSystem) -> None:
    (system.folder / "well").touch()
    system.fill("old", "kept")

    def edit(letter: DeadLetter) -> DeadLetter | None:
        if letter.id == "kept":
            return None
        return replace(letter, headers={**letter.headers, "id": "new"})

    counts = replay(system.connection, None, edit)

    assert (counts.replayed, counts.kept) == (1, 1)
    wait_until(lambda: "new" in system.worked(), "the edited task")
    assert [letter.id for letter in system.letters()] == ["kept"]


def test_a_letter_that_no_queue_takes_stays_and_the_next_goes_out(system: DeadSystem) -> None:
    (system.folder / "well").touch()
    # Two in a row: the second must not be taken for confirmed by the first one's late confirm.
    system.fill("lost", "lost too", queue="no-such-queue")
    system.fill("found")

    counts = replay(system.connection, None)

    assert (counts.replayed, counts.unroutable) == (1, 2)
    wait_until(lambda: "found" in system.worked(), "the other task")
    assert [letter.id for letter in system.letters()] == ["lost", "lost too"]


def test_a_letter_of_which_nobody_knows_where_it_died_stays(system: DeadSystem) -> None:
    system.fill("lost")

    counts = replay(system.connection, None, lambda letter: replace(letter, queue=None))

    assert (counts.replayed, counts.unroutable) == (0, 1)
    assert [letter.id for letter in system.letters()] == ["lost"]


def test_a_letter_that_is_kept_is_renewed_before_the_broker_drops_it(
    system: DeadSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.fill("kept")
    monkeypatch.setattr(dead_queue, "RENEW_AT", 0)

    replay(system.connection, None, lambda letter: None)

    (letter,) = system.letters()
    assert (letter.id, letter.deliveries) == ("kept", 0)


def test_letters_are_discarded_by_id(system: DeadSystem) -> None:
    system.fill(*"abc")
    system.publish(SECRET, {})
    wait_until(lambda: len(system.letters()) == 4, "the letter without an id")

    counts = dead_queue.discard(system.connection, ["a", None])

    assert counts.discarded == 2
    assert {letter.id for letter in system.letters()} == {"b", "c"}


def test_the_command_lists_replays_and_discards_and_shows_no_body(system: DeadSystem) -> None:
    unknown = system.call("nobody.knows.this", SECRET)
    failed = system.call("tests.dead_app.work", SECRET)
    for task_id in (unknown, failed):
        system.recorded(task_id)

    listed = system.run("dead.py", "list")
    gone = system.run("dead.py", "discard", unknown)
    again = system.run("dead.py", "replay", "--all")
    nothing = system.run("dead.py", "replay", "nobody")

    rows = {line.split()[0]: line.split()[1:4] for line in listed.stdout.splitlines()}
    assert rows[unknown] == ["nobody.knows.this", "unknown_task", "celery"]
    assert failed in rows
    assert (gone.stdout, again.stdout) == ("1 discarded\n", "1 replayed\n")
    assert (nothing.stdout, nothing.returncode) == ("no such letter\n", 1)
    for done in (listed, gone, again, nothing):
        assert done.stderr == ""
        assert SECRET not in done.stdout


def test_the_command_says_what_is_wrong(system: DeadSystem) -> None:
    neither = system.run("dead.py", "discard")
    both = system.run("dead.py", "replay", "--all", "a")
    flag = system.run("dead.py", "list", "--no-such-flag")
    away = system.run("dead.py", "list", "--broker-url=amqp://user:hunter2@127.0.0.1:1//")

    assert (neither.returncode, both.returncode) == (2, 2)
    assert "--all" in neither.stderr
    assert (flag.returncode, away.returncode) == (2, 1)
    assert "no-such-flag" in flag.stderr
    assert "Connection refused" in away.stderr
    assert SECRET not in away.stderr
    assert "Traceback" not in flag.stderr + away.stderr
