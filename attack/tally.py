"""What a part of the attack has shown: counts for the table, and findings, which fail it."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 2**20
HEADER = (
    "part", "tried", "5xx", "hangs", "longest answer, s", "server, MiB: before, most, after",
    "injected",
)  # fmt: skip


@dataclass
class Tally:
    """One part. ``findings``: what must not be, a line each; ``injected``: None if the part sends
    no mails; ``..._bytes``: the server's resident memory."""

    part: str
    tried: int = 0
    longest_s: float = 0.0
    server_errors: int = 0
    hangs: int = 0
    injected: int | None = None
    before_bytes: int = 0
    most_bytes: int = 0
    after_bytes: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def answered(self, what: str, statuses: list[int], seconds: float) -> None:
        """Count a request and its answers."""
        self.tried += 1
        self.longest_s = max(self.longest_s, seconds)
        if any(status >= 500 for status in statuses):
            self.server_errors += 1
            self.findings.append(f"5xx: {what}: {statuses}")

    def hung(self, what: str) -> None:
        """Count a request that was neither answered nor cut off."""
        self.hangs += 1
        self.findings.append(f"hangs: {what}")

    def found_injected(self, what: str) -> None:
        """Count something in a mail that nobody asked for."""
        self.injected = (self.injected or 0) + 1
        self.findings.append(f"injected: {what}")

    def row(self) -> tuple[str, ...]:
        """Return the part's row."""
        sizes = (self.before_bytes, self.most_bytes, self.after_bytes)
        return (
            self.part,
            f"{self.tried:,}",
            str(self.server_errors),
            str(self.hangs),
            f"{self.longest_s:.2f}",
            ", ".join(f"{size / MIB:.0f}" for size in sizes),
            "" if self.injected is None else str(self.injected),
        )


def table(tallies: list[Tally]) -> str:
    """Return the parts as a Markdown table, their notes and findings below."""
    rows = [HEADER, tuple("---" for _ in HEADER), *(one.row() for one in tallies)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += [f"- {one.part}: {note}" for one in tallies for note in one.notes]
    lines += [f"- FOUND in {one.part}: {text}" for one in tallies for text in one.findings]
    return "\n".join(lines)
