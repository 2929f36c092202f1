"""Campaigns as a page of Markdown: one, or the sum of several."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from chaos.checker import Findings
from chaos.leaks import Sample
from chaos.struck import Struck
from chaos.summary import Summary, added
from chaos.system import CONCURRENCY, SERVER_PROCESSES, WORKERS

#: How soon after a fault we want full speed again, in seconds.
WANTED_S = 15.0


def page(campaigns: Sequence[Summary]) -> str:
    """Return the whole page."""
    seeds = ", ".join(str(one.seed) for one in campaigns)
    struck = [fault for one in campaigns for fault in one.struck]
    findings = added([one.findings for one in campaigns])
    parts = [
        f"# Fault campaign, {'seed' if len(campaigns) == 1 else 'seeds'} {seeds}",
        _about(campaigns),
        "## Mails",
        _mails(findings),
        "## Kills, and what was on its way",
        _kills(struck),
        "## Faults",
        _faults(struck),
        "## What processes held, at the beginning and at the end",
        *(_held(one.before, one.after) for one in campaigns),
        _restarts(campaigns),
        "## Broken promises",
        "\n".join(f"- {text}" for text in broken(campaigns)) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def broken(campaigns: Sequence[Summary]) -> list[str]:
    """Return each violation as a line; none if all promises were kept."""
    found = list[str]()
    for one in campaigns:
        if not one.findings.accepted or not one.struck:
            found.append("no mail was accepted, or no fault came: that proves nothing")
        found += one.wrong
        if one.within_s:
            found += [f"LATE: {fault}" for fault in one.struck if fault.is_late(one.within_s)]
        found += [f"mail {number}: {text}" for number, text in one.findings.violations]
    return found


def _about(campaigns: Sequence[Summary]) -> str:
    lines = [
        f"- Seed {one.seed}, commit {one.commit}: {one.seconds / 60:.0f} minutes, {one.rate:g} "
        f"mails a second offered, {one.findings.accepted} accepted, {len(one.struck)} faults; "
        f"{one.ledger}, Python {one.python}, {one.machine}."
        for one in campaigns
    ]
    settings = sorted(
        {f"{name}={value}" for one in campaigns for name, value in one.settings.items()}
    )
    return (
        f"{SERVER_PROCESSES} server processes, {len(WORKERS)} workers of {CONCURRENCY} pool "
        "processes, one RabbitMQ node.\n\n" + "\n".join(lines) + "\n\n"
        f"Settings that are not the defaults: `{' '.join(settings)}`"
    )


def _mails(found: Findings) -> str:
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
        (
            "**sent with a content that is not its own, or not always the same**",
            f"**{found.altered}**",
        ),
        ("sent again, of those accepted", f"{share:.3f} %"),
        ("possible duplicates recorded", found.in_doubt),
    ]
    return _table(("mails", "number"), rows)


def _kills(struck: Sequence[Struck]) -> str:
    rows = []
    others = [one for one in struck if not _is_kill(one)]
    for name, these in [
        *_by_kind(one for one in struck if _is_kill(one)),
        ("all others", others),
    ]:
        flights, again = [one.in_flight for one in these], [one.again for one in these]
        over = sum(1 for one in these if one.again > one.in_flight)
        sums = (sum(flights), max(flights, default=0), sum(again), max(again, default=0))
        rows.append((name, len(these), *sums, over))
    head = ("fault", "number", "mails on their way", "most", "sent again", "most", "more than were")
    return (
        "*On their way*: claimed by a worker before the fault came, and their outcome not yet "
        "recorded, by the ledger's events. *Sent again*: copies of mails that were on their way "
        "when it came, or came on their way while it lasted; each counts for the first such "
        "fault. *More than were*: faults after which more were sent again than had been on "
        "their way when they came.\n\n" + _table(head, rows)
    )


def _is_kill(one: Struck) -> bool:
    return one.kind.startswith("kill ")


def _by_kind(struck: Iterable[Struck]) -> list[tuple[str, list[Struck]]]:
    found = dict[str, list[Struck]]()
    for one in struck:
        found.setdefault(one.kind, []).append(one)
    return sorted(found.items())


def _faults(struck: Sequence[Struck]) -> str:
    rows = [
        (kind, len(these), *_times([one for one in these if one.alone]))
        for kind, these in _by_kind(struck)
    ]
    rows.append(("**all**", len(struck), *_times(struck)))
    head = ("fault", "number", "alone", "lasted, median", "back, median", "back, longest", "late")
    return (
        "*Back*: seconds from the fault's end (of a killed process: from the kill; of the broker: "
        "from when it lets clients in again) until "
        "a whole second of full speed began, of faults that came alone; *late*: those that took "
        f"more than {WANTED_S:g} s. The last line: of all, from the end of a round's last fault."
        "\n\n" + _table(head, rows)
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


def _restarts(campaigns: Sequence[Summary]) -> str:
    numbers = dict[str, int]()
    for one in campaigns:
        for name, number in one.restarts.items():
            numbers[name] = numbers.get(name, 0) + number
    told = ", ".join(f"{name} {number}" for name, number in numbers.items())
    return f"Started again, after a kill or by themselves: {told}."


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
