"""A TCP forwarder that a test can cut: between a program and a server that stays up."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Road:
    """Forwards connections to ``target``. ``cut``: all end, and no new one is let in."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        #: After these bytes went to the target, the answer is kept back and all is cut.
        self.cut_after: bytes | None = None
        #: What goes these ways ("there", "back") vanishes, and neither end is told.
        self.vanishing: frozenset[str] = frozenset()
        self.vanished = b""

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mend(self) -> None:
        """Let connections in, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._drop()

    def _drop(self) -> None:
        ended, self._open = self._open, []
        for end in ended:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for pump in ((near, far, "there"), (far, near, "back")):
                    threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if way in self.vanishing:
                    self.vanished += data
                    continue
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    self._send_and_cut(sink, data)
                    return
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def _send_and_cut(self, sink: socket.socket, data: bytes) -> None:
        near = self._open[self._open.index(sink) - 1]
        near.shutdown(socket.SHUT_RDWR)  # nothing of the answer gets through
        sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
