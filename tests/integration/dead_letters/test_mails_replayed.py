"""A mail is replayed before it is recorded, or twice since the first was cut off: sent once."""

from __future__ import annotations

import pytest

from tests.mortal_mails import MAIL, MortalMails

#: The command, killed at a point: where it would publish a letter, or remove it.
KILLED = """
import os, signal, sys
from bridge.dead import queue as dead_queue
import dead
setattr(dead_queue._DeadQueue, {point!r}, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
sys.exit(dead.main(["dead.py", "replay", {email_id!r}]))
"""


def test_a_letter_that_is_replayed_before_any_worker_has_recorded_it_goes_out(
    mails: MortalMails,
) -> None:
    before = len(mails.relay.mails)
    mails.worker.stop()
    email_id = mails.send(**MAIL)
    mails.deliver_too_often()
    mails.letter(email_id)

    done = mails.dead("replay", email_id)
    mails.worker.start()

    assert (done.stdout, done.stderr, done.returncode) == ("1 replayed\n", "", 0)
    mails.recorded(email_id)
    mails.status(email_id, "sent")
    assert mails.nothing_more_than(before + 1)


# -- a replay that is cut off


@pytest.mark.parametrize("point", ["publish", "remove"])
@pytest.mark.parametrize("sent_between", [True, False])
def test_a_replay_that_is_killed_and_repeated_sends_the_mail_once(
    mails: MortalMails, point: str, sent_between: bool
) -> None:
    before = len(mails.relay.mails)
    email_id = mails.dead_mail(**MAIL)
    if not sent_between:
        mails.worker.stop()

    cut_off = mails.python("-c", KILLED.format(point=point, email_id=email_id))
    if sent_between and point == "remove":
        mails.status(email_id, "sent")
    mails.letter(email_id)
    again = mails.dead("replay", email_id)
    if not sent_between:
        mails.worker.start()

    assert cut_off.returncode == -9, cut_off.stderr
    assert (again.stdout, again.stderr) == ("1 replayed\n", "")
    mails.status(email_id, "sent")
    assert mails.letters() == []
    assert mails.nothing_more_than(before + 1)
