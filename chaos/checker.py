"""Is a promise broken? Judged only by what clients are told and what the relay received.

An accepted mail is sent, or failed with a reason, or held; nothing is sent that nobody asked for,
or that was refused, or with another content; a mail goes twice only if its record says that it may
have, and never if it is to be held; a request with a key is accepted in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from chaos.ask import WAITING, Document
from chaos.journal import Answered, AnyLine, Dropped, Posted, Received
from chaos.relay import REFUSED_CODE, REFUSED_DOMAIN


@dataclass
class Story:
    """All that the journals say of one mail."""

    number: int
    posts: list[Posted] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    receipts: list[Received] = field(default_factory=list)
    drops: list[Dropped] = field(default_factory=list)

    @property
    def accepted_as(self) -> set[str]:
        """The ids under which it was accepted."""
        return {one.id or "" for one in self.answers if 200 <= one.status < 300}

    @property
    def ids(self) -> set[str]:
        """All ids that anybody was told, or that the relay saw (they stand in Message-IDs)."""
        told = {one.id for one in self.answers if one.id}
        return told | {one.message_id.strip("<>").partition("@")[0] for one in self.receipts}

    @property
    def was_refused(self) -> bool:
        """Whether the client knows for certain that it is not sent."""
        told = [one for one in self.answers if one.queued is False or 400 <= one.status < 500]
        return bool(self.posts) and len(told) == len(self.posts)

    def lines(self) -> list[AnyLine]:
        """Return everything in the order of time."""
        every: list[AnyLine] = [*self.posts, *self.answers, *self.receipts, *self.drops]
        return sorted(every, key=lambda line: line.at)


def stories(lines: Iterable[AnyLine]) -> dict[int, Story]:
    """Sort the journals' lines by mail."""
    found = dict[int, Story]()
    for line in lines:
        story = found.setdefault(line.number, Story(line.number))
        match line:
            case Posted():
                story.posts.append(line)
            case Answered():
                story.answers.append(line)
            case Received():
                story.receipts.append(line)
            case Dropped():
                story.drops.append(line)
    return found


class Findings(msgspec.Struct):
    """What a campaign's mails show; ``violations``: what is wrong, by the mail's number."""

    attempted: int = 0
    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    sent: int = 0
    failed: int = 0
    held: int = 0
    lost: int = 0
    explained: int = 0
    unexplained: int = 0
    in_doubt: int = 0
    altered: int = 0
    violations: list[tuple[int, str]] = msgspec.field(default_factory=list)


def check(
    told: Mapping[int, Story],
    documents: Mapping[str, Document | None],
    *,
    first_fault_at: float,
) -> Findings:
    """Check every mail. ``documents``: what the server finally says of each id."""
    findings = Findings()
    for story in told.values():
        _count(findings, story)
        known = [document for id_ in sorted(story.ids) if (document := documents.get(id_))]
        doubts = sum(document["possible_duplicates"] for document in known)
        findings.in_doubt += doubts
        wrong = [
            *_of_request(story),
            *_of_acceptance(findings, story, documents),
            *_of_receipts(story),
            *_of_content(findings, story),
            *_of_duplicates(findings, story, doubts, first_fault_at),
        ]
        findings.violations += [(story.number, text) for text in wrong]
    return findings


def _count(findings: Findings, story: Story) -> None:
    findings.attempted += bool(story.posts)
    if story.accepted_as:
        findings.accepted += 1
    elif story.was_refused:
        findings.refused += 1
    else:
        findings.unknown += 1


def _of_request(story: Story) -> Iterable[str]:
    for answer in story.answers:
        too_late = answer.status == 422 and story.posts[0].delayed  # it took long to get there
        if 400 <= answer.status < 500 and not too_late:
            yield f"a good request was answered {answer.status}: {answer.error}"
    over = story.accepted_as or any(400 <= answer.status < 500 for answer in story.answers)
    if story.posts and story.posts[0].with_key and not over:
        yield "a request with a key was never accepted"


def _of_acceptance(
    findings: Findings, story: Story, documents: Mapping[str, Document | None]
) -> Iterable[str]:
    ids = story.accepted_as
    if len(ids) > 1:
        yield f"accepted under {len(ids)} ids"
    for email_id in ids:
        document = documents.get(email_id)
        if document is None:
            findings.lost += 1
            yield "LOST: accepted, and the server does not know it"
            continue
        yield from _of_status(findings, story, document)


def _of_status(findings: Findings, story: Story, document: Document) -> Iterable[str]:
    status = document["status"]
    received = {address for one in story.receipts for address in one.to}
    if status in WAITING:
        findings.lost += not received
        yield f"STUCK: accepted, and {status} when all was over"
    elif status == "sent":
        findings.sent += 1
        recorded = {one["address"] for one in document["recipients"]}
        missing = (recorded | set(story.posts[0].to)) - received
        if missing:
            findings.lost += 1
            yield f"LOST: sent, it says, and the relay has it not for {sorted(missing)}"
    elif status == "failed":
        findings.failed += 1
        if not story.posts[0].to[0].endswith("@" + REFUSED_DOMAIN):
            findings.lost += not received
            yield f"failed, though nobody had refused it: {document['reason']}"
        elif {one["code"] for one in document["recipients"]} != {REFUSED_CODE}:
            yield f"failed, and not since the relay had refused it: {document['reason']}"
    elif status == "uncertain":
        findings.held += 1
        if not story.posts[0].hold:
            yield "held, and nobody had asked for that"
    else:
        yield f"it is {status}"


def _of_receipts(story: Story) -> Iterable[str]:
    if not story.receipts:
        return
    if not story.posts:
        yield "sent, and nobody had asked for it"
        return
    if story.was_refused:
        yield "sent, and the client had been told that it is not"
    strangers = {to for one in story.receipts for to in one.to} - set(story.posts[0].to)
    if strangers:
        yield f"sent to {sorted(strangers)}, to whom it was not addressed"
    if len({one.message_id for one in story.receipts}) > 1:
        yield "sent under several Message-IDs"


def _of_content(findings: Findings, story: Story) -> Iterable[str]:
    wrong = []
    if not all(one.whole for one in story.receipts):
        wrong.append("sent with a text that is not its own")
    if len({one.sha256 for one in story.receipts}) > 1:
        wrong.append("sent with several contents")
    findings.altered += bool(wrong)
    return wrong


def _of_duplicates(
    findings: Findings, story: Story, doubts: int, first_fault_at: float
) -> Iterable[str]:
    times = Counter(to for one in story.receipts for to in one.to)
    again = max(times.values(), default=1) - 1
    last_at = max((line.at for line in story.lines()), default=0.0)
    if last_at < first_fault_at and (again or doubts):
        yield f"{again} duplicates, {doubts} doubts before the first fault"
    if not again:
        return
    if story.posts and story.posts[0].hold:
        findings.unexplained += again
        yield f"to be held, and sent {again + 1} times"
    elif again > doubts:
        findings.unexplained += again - doubts
        findings.explained += doubts
        yield f"sent {again + 1} times, and {doubts} possible duplicates are recorded"
    else:
        findings.explained += again
