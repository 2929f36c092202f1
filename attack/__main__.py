"""``make attack``: attacks a real system on loopback, part by part, and prints a table."""

from __future__ import annotations

import argparse
import sys
import time

from attack import crowds, octets
from attack.crowds import Part
from attack.described import described
from attack.mails import mails
from attack.tally import Tally, table
from attack.target import Target


def parts(args: argparse.Namespace) -> dict[str, Part]:
    """Return the parts, in their order, as large as is asked for."""
    if args.smoke:
        sizes = {"examples": 3, "mutations": 100, "mails": 40, "clients": 120, "idle": 300}
    else:
        sizes = {"examples": 100, "mutations": 3000, "mails": 2000, "clients": 1200, "idle": 10_000}
    found: dict[str, Part] = {
        "described": lambda target: described(target, sizes["examples"], args.seed),
        "http": lambda target: octets.http(target, sizes["mutations"], args.seed),
        "bodies": octets.bodies,
        "mails": lambda target: mails(target, sizes["mails"]),
        "slow": lambda target: crowds.slow(target, sizes["clients"]),
        "unread": lambda target: crowds.unread(target, sizes["clients"] // 12),
        "idle": lambda target: crowds.idle(target, sizes["idle"]),
        "streams": lambda target: crowds.streams(target, sizes["clients"]),
    }
    if not args.smoke:
        found["slowhttptest"] = lambda target: crowds.slowhttptest(target, 1000, 30)
    return found


def main(argv: list[str]) -> int:
    """Run the parts; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("part", nargs="*", help="some of them only")
    parser.add_argument("--smoke", action="store_true", help="small numbers, under a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="the ledger in PostgreSQL")
    args = parser.parse_args(argv)
    known = parts(args)
    if unknown := set(args.part) - known.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    tallies: list[Tally] = []
    try:
        with Target(postgres=args.postgres) as target:
            for name in args.part or known:
                begin = time.monotonic()
                tallies.append(known[name](target))
                print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    finally:
        print(table(tallies))
    return 1 if any(tally.findings for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
