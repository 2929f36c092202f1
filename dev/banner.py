"""What `make run` prints when everything is ready: addresses, and a command to send a mail."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

EXAMPLE_BODY = '{"to": "you@example.com", "subject": "Hello", "text": "It works."}'


def http_url(host: str, port: int) -> str:
    """Return the URL of a server; an IPv6 address is bracketed."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


#: In a variable, so that the key stays out of the shell's history.
WITH_KEY = ' -H "Authorization: Bearer $WINDMAIL_KEY"'
MAKE_KEY = 'WINDMAIL_KEY=$(make -s key ARGS="create --name=me --scope=send,read")'


def curl_line(web_url: str, *, with_key: bool) -> str:
    """Return a command that sends a mail and waits for the relay's verdict."""
    url = shlex.quote(f"{web_url}/emails?wait=10")
    key = WITH_KEY if with_key else ""
    return f"curl -X POST {url}{key} -d {shlex.quote(EXAMPLE_BODY)}"


def block(
    rows: Sequence[tuple[str, str]], web_url: str, mailbox: str | None, *, with_key: bool
) -> str:
    """Return the text: a table of what is where, then how to send a mail, and where it arrives.

    ``with_key``: an API key was made, so each request needs one.
    """
    width = max(len(label) for label, _ in rows)
    lines = ["", "Windmail is ready. Ctrl-C stops it.", ""]
    lines += [f"  {label:{width}}  {value}" for label, value in rows]
    lines += ["", "Send a mail:", ""]
    if with_key:
        lines += [f"  {MAKE_KEY}    # or use a key that you have"]
    lines += [f"  {curl_line(web_url, with_key=with_key)}", ""]
    if mailbox:
        lines += [f"The mail then arrives in {mailbox}/new/", ""]
    return "\n".join(lines)
