"""A campaign as a page of Markdown, and each broken promise with all that is known of its mail."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Sequence

import msgspec

from chaos.campaign import Outcome, Plan, Struck
from chaos.leaks import Sample
from chaos.system import CONCURRENCY, SERVER_PROCESSES, SETTINGS, WORKERS

#: Back to full speed within this is what we want.
WANTED_S = 15.0
#: A mail's story is not told for more violations than this.
STORIES = 20


def page(plan: Plan, outcome: Outcome) -> str:
    """Return the whole page."""
    parts = [
        f"# Fault campaign, seed {plan.seed}",
        _about(plan, outcome),
        "## Mails",
        _mails(outcome),
        "## Faults",
        _faults(outcome.struck),
        "## What processes held, at the beginning and at the end",
        _held(outcome.before, outcome.after),
        _restarts(outcome),
        "## Broken promises",
        "\n".join(f"- {text}" for text in broken(plan, outcome)) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def broken(plan: Plan, outcome: Outcome) -> list[str]:
    """Return every violation in a line; none: all promises were kept."""
    mails = [f"mail {number}: {text}" for number, text in outcome.findings.violations]
    late = [
        f"LATE: {one}" for one in outcome.struck if plan.within_s and one.is_late(plan.within_s)
    ]
    nothing = []
    if not outcome.findings.accepted or not outcome.struck:
        nothing.append("no mail was accepted, or no fault came: that proves nothing")
    return nothing + outcome.wrong + late + mails


def _about(plan: Plan, outcome: Outcome) -> str:
    settings = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
    return (
        f"{outcome.seconds / 60:.0f} minutes, {plan.rate:g} mails a second offered; "
        f"{SERVER_PROCESSES} server processes, {len(WORKERS)} workers of {CONCURRENCY}, SQLite, "
        f"one RabbitMQ node, Python {platform.python_version()}, {platform.machine()}.\n\n"
        f"Settings that are not the defaults: `{settings}`"
    )


def _mails(outcome: Outcome) -> str:
    found = outcome.findings
    duplicates = found.explained + found.unexplained
    share = 100 * duplicates / found.accepted if found.accepted else 0.0
    rows = [
        ("requested", found.attempted),
        ("accepted", found.accepted),
        ("refused for certain", found.refused),
        ("left open, as they had no key", found.unknown),
        ("accepted and sent", found.sent),
        ("accepted and failed with a reason", found.failed),
        ("accepted and held as uncertain", found.held),
        ("**accepted and lost**", f"**{found.lost}**"),
        ("sent again, and recorded as possible duplicates", found.explained),
        ("**sent again without a record of it**", f"**{found.unexplained}**"),
        ("sent again, of those accepted", f"{share:.2f} %"),
        ("possible duplicates recorded", found.in_doubt),
    ]
    return _table(("mails", "number"), rows)


def _faults(struck: Sequence[Struck]) -> str:
    rows = []
    for kind in sorted({one.kind for one in struck}):
        these = [one for one in struck if one.kind == kind]
        rows.append((kind, len(these), *_times([one for one in these if one.alone])))
    rows.append(("**all**", len(struck), *_times(struck)))
    head = ("fault", "number", "alone", "lasted, median", "back, median", "back, longest", "late")
    return (
        "*Back*: seconds from the fault's end (of a killed process: from the kill; of the broker: "
        "from when it lets clients in again) until "
        "a whole second of full speed began, of faults that came alone; *late*: those that took "
        f"more than {WANTED_S:g} s.\n\n" + _table(head, rows)
    )


def _times(struck: Sequence[Struck]) -> tuple[object, ...]:
    if not struck:
        return 0, "", "", "", ""
    lasted = statistics.median(one.lasted_s for one in struck)
    back = [one.recovered_s for one in struck if one.recovered_s is not None]
    never = len(struck) - len(back)
    longest = f"{max(back):.1f}" if back and not never else "never"
    median = f"{statistics.median(back):.1f}" if back else "never"
    late = sum(1 for one in struck if one.is_late(WANTED_S))
    return len(struck), f"{lasted:.1f}", median, longest, late


def _held(before: Sample | None, after: Sample | None) -> str:
    if before is None or after is None:
        return "Not measured."
    rows: list[tuple[object, ...]] = []
    for kind, then in before.uses.items():
        now = after.uses[kind]
        sizes = [f"{use.bytes / 2**20:.0f} MiB" for use in (then, now)]
        rows.append((kind, then.files, now.files, *sizes))
    head = ("largest of its kind", "files, first", "files, last", "memory, first", "memory, last")
    clients = f"Clients of the broker: {before.connections} at first, {after.connections} at last."
    return f"{_table(head, rows)}\n\n{clients}"


def _restarts(outcome: Outcome) -> str:
    told = ", ".join(f"{name} {number}" for name, number in outcome.restarts.items())
    return f"Started again, after a kill or by themselves: {told}."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


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
