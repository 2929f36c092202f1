"""A broker's address as pika takes it, with the certificates that its files have now."""

from __future__ import annotations

import asyncio
from functools import partial

import kombu
import pika

from bridge import tls
from bridge.broker import KEEPALIVE

#: pika checks every 15 s whether anything came, so it notices a stalled peer within 15 to 30 s.
#: RabbitMQ advises 5 to 20 s; with less, a busy broker is taken for a dead one
#: (https://www.rabbitmq.com/docs/heartbeats).
HEARTBEAT_S = 10
#: If the other machine is gone, or the network has dropped the connection, the kernel gives up
#: sooner: after 5 s without an answer to sent data (here in ms, tcp(7)), or after 7 s in which
#: nothing came, not even answers to keepalive probes.
TCP_OPTIONS = {
    **KEEPALIVE,
    "TCP_USER_TIMEOUT": 5000,
}
#: For the TCP connect; twice that for the whole handshake. An address that drops packets must not
#: delay the next attempt.
CONNECT_TIMEOUT_S = 5


def parameters(
    url: str, client_name: str, tls_options: tls.Options | None = None
) -> pika.ConnectionParameters:
    """Translate a broker URL as kombu reads it (``//`` is the virtual host ``/``).

    Raises:
        OSError: see :func:`tls.client_context`.
    """
    info = kombu.Connection(url)
    ssl_options = None
    if url.startswith("amqps:"):
        ssl_options = pika.SSLOptions(tls.client_context(tls_options or {}), info.hostname)
    return pika.ConnectionParameters(
        host=info.hostname,
        port=info.port or (5671 if ssl_options else 5672),
        virtual_host=info.virtual_host or "/",
        credentials=pika.PlainCredentials(info.userid or "guest", info.password or "guest"),
        heartbeat=HEARTBEAT_S,
        socket_timeout=CONNECT_TIMEOUT_S,
        stack_timeout=2 * CONNECT_TIMEOUT_S,
        ssl_options=ssl_options,
        tcp_options=TCP_OPTIONS,
        client_properties={"connection_name": client_name},
    )


class Address:
    """One of a broker's addresses; as text, its host and port.

    Raises:
        OSError: as :func:`parameters`; so a wrong path is noticed before the first attempt.
    """

    def __init__(self, url: str, client_name: str, tls_options: tls.Options | None = None) -> None:
        self.url = url
        self._make = partial(parameters, url, client_name, tls_options)
        self._first = self._make()

    def __str__(self) -> str:
        return f"{self._first.host}:{self._first.port}"

    async def parameters(self) -> pika.ConnectionParameters:
        """Return what a connection needs. Certificates are read each time: whoever renews them puts
        new files there, long before a server's next restart.

        Raises:
            OSError: as :func:`parameters`.
        """
        if self._first.ssl_options is None:
            return self._first
        return await asyncio.to_thread(self._make)  # reading the system's takes some 20 ms
