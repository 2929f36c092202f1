"""A server that cannot listen says which flag to look at."""

from __future__ import annotations

import errno
import os
import socket

import pytest

import server


@pytest.mark.parametrize(
    ("why", "flag"),
    [
        (OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)), "--address"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "--address"),
        (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), "--port"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "--port"),
    ],
)
def test_the_flag_that_is_at_fault_is_named(
    why: OSError,
    flag: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(port: int, address: str | None) -> None:
        raise why

    monkeypatch.setattr(server, "listen", refuse)

    with pytest.raises(SystemExit) as caught:
        server._listen(["server.py"])

    assert caught.value.code == 1
    said = f"cannot listen on 127.0.0.1:8888: {why.strerror}; see {flag}\n"
    assert capsys.readouterr().err == said
