"""Loading one server with requests: ``wrk`` (Debian's package), one thread of it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

#: `errors` and `wrong` are counted in wrk's threads, `done` runs apart from them.
_SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
wrk.method = "POST"
wrk.body = [==[%(body)s]==]
wrk.headers["Content-Type"] = "application/json"
%(headers)s
%(request)s
wrong = 0
%(response)s
function done(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write
            + summary.errors.status + summary.errors.timeout
  for _, thread in ipairs(threads) do bad = bad + thread:get("wrong") end
  io.write(string.format("FIGURES %%d %%d %%d %%d %%d\\n", summary.duration, summary.requests, bad,
                         latency:percentile(50), latency:percentile(99)))
end
"""
#: Reading each answer costs wrk time, so it is done only where an answer's text matters.
_RESPONSE = """
function response(status, headers, body)
  if status ~= 200 or not string.find(body, [==[%s]==], 1, true) then wrong = wrong + 1 end
end
"""
#: The keys of two bursts differ, as the addresses of their tables do.
_KEYS = """
local burst, number = os.time() .. tostring({}), 0
function request()
  number = number + 1
  wrk.headers["Idempotency-Key"] = burst .. number
  return wrk.format()
end
"""


class WrongAnswer(Exception):
    """A server gave answers that it must not give; the text says how many."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked again and again. ``expects``: a text that each answer, a 200, must have;
    ``keyed``: each request has an ``Idempotency-Key`` of its own; ``wrong_share``: the share of
    answers that may be wrong, for a peer that has some under load."""

    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    expects: str | None = None
    keyed: bool = False
    wrong_share: float = 0.0

    def script(self) -> str:
        """Return wrk's Lua program for it."""
        headers = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in self.headers.items())
        response = _RESPONSE % self.expects if self.expects else ""
        request = _KEYS if self.keyed else ""
        parts = {"headers": headers, "request": request, "response": response}
        return _SCRIPT % {"body": self.body, **parts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """What a load of some seconds has shown; no more answers were wrong than is allowed."""

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float


def burst(port: int, request: Request, *, connections: int, seconds: float, folder: Path) -> Burst:
    """Load a server for ``seconds``. A peer that may err, and gives no answer, has the rate 0.

    Raises:
        WrongAnswer: more answers than allowed were errors or lacked the expected text, or no
            answer came.
    """
    script = folder / "request.lua"
    script.write_text(request.script())
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout=30s"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}{request.path}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if line.startswith("FIGURES "))
    duration_us, answers, bad, p50_us, p99_us = map(int, line.split()[1:])
    if not answers and request.wrong_share:  # all requests hung for at least as long
        p50_us = p99_us = duration_us
    elif bad > request.wrong_share * answers or not answers:
        raise WrongAnswer(f"{request.path}: {bad} of {answers} answers were wrong\n{text}")
    return Burst(
        answers=answers,
        rate=answers * 1e6 / duration_us,
        p50_ms=p50_us / 1e3,
        p99_ms=p99_us / 1e3,
    )
