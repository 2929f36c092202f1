"""The story of each mail with a broken promise, as everybody saw it."""

from __future__ import annotations

import msgspec

from chaos.campaign import Outcome

#: Most mails whose story is told.
STORIES = 20


def told(outcome: Outcome) -> str:
    """Return, for each mail with a broken promise, its timeline as everybody saw it."""
    numbers = list(dict.fromkeys(number for number, _ in outcome.findings.violations))
    return "\n".join(_story(outcome, number) for number in numbers[:STORIES])


def _story(outcome: Outcome, number: int) -> str:
    story = outcome.told[number]
    lines = [(line.at, msgspec.json.encode(line).decode()) for line in story.lines()]
    begin, end = lines[0][0] - 5, lines[-1][0] + 5
    lines += [
        (one.at, f"FAULT {one.kind} for {one.lasted_s:.1f} s")
        for one in outcome.struck
        if begin - one.lasted_s < one.at < end
    ]
    texts = [f"  {at:.3f} {text}" for at, text in sorted(lines)]
    texts += [f"  the server: {line}" for line in outcome.timelines.get(number, ())]
    for email_id in sorted(story.ids):
        texts.append(f"  {email_id}: {outcome.documents.get(email_id)}")
    return "\n".join([f"mail {number}", *texts])
