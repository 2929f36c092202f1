"""The web server: ``python server.py [--port=8888 --processes=N --address=127.0.0.1]``.

Listens first and then forks, so all processes share the sockets; each has its own event
loop and its own bridge. SIGTERM and SIGINT stop it: no new connections, open requests are
finished (for ``drain_s`` at most), then the broker's connections are closed. Sockets may
come from systemd (``LISTEN_FDS``), which keeps them over a restart.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from ipaddress import ip_address

import tornado.log
import uvloop
from tornado.options import Error as OptionError

import config
import delivery
from access import Buckets, Keyring
from application import make_application
from bridge import Bridge
from handlers.services import Services, make_services
from ledger import ApiKey, LedgerUnavailable, OtherVersion, api_keys
from lifecycle import CIRCUIT_ID
from serving.limits import Limits, bound_unread, possible, raise_file_limit
from serving.listening import Listening, listen, url_of
from serving.processes import run_processes
from serving.server import Server
from task import HEARTBEAT_ID, app

logger = logging.getLogger("windmail.server")

MAX_HEADER_BYTES = 64 * 1024

#: How many objects are made between two garbage collections. A small request makes some hundred
#: that live until its confirm; with Python's default, 700, 4 % fewer requests are accepted.
YOUNG_OBJECTS = 20_000

OPEN_NOTE = " (no API key was made: loopback only, and open to everybody on this machine)"
AS_ROOT = (
    "running as root, which nothing here needs; deploy/README.md says how to use a user of its own"
)
NO_KEY = """\
refusing to listen on {} without an API key: anybody could send mails.
Make one:  make key ARGS="create --name=first --scope=send,read"
or listen on this machine only:  --address=127.0.0.1\
"""


async def serve(listening: Listening, buckets: Buckets) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    options = config.options
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    bridge = _make_bridge()
    ledger = delivery.ledger()
    keyring = Keyring(ledger, buckets, may_be_open=is_private(listening.sockets))
    services = make_services(app, bridge, ledger, keyring)
    server = _make_server(services)
    bound_unread(listening.sockets, options.unread_timeout_s)
    bridge.start()
    await keyring.start()
    server.add_sockets(listening.sockets)
    await stop.wait()
    await server.drain(services, listening, options.drain_s)
    await services.acceptance.close(options.publish_timeout_s + options.ledger_timeout_s)
    await keyring.close()
    await bridge.close()
    await asyncio.to_thread(ledger.close)


def _make_bridge() -> Bridge:
    options = config.options
    return Bridge(
        app,
        publish_timeout_s=options.publish_timeout_s,
        replay_s=options.result_replay_s,
        cache_bytes=options.result_cache_bytes,
        pinned=frozenset({HEARTBEAT_ID, CIRCUIT_ID}),
    )


def _make_server(services: Services) -> Server:
    options = config.options
    limits = Limits(options.idle_timeout_s, options.body_timeout_s, MAX_HEADER_BYTES)
    application = make_application(services)
    return Server(application, limits, max_connections=possible(options.max_connections))


def is_private(sockets: list[socket.socket]) -> bool:
    """Return whether only this machine can reach the sockets."""
    return all(ip_address(sock.getsockname()[0]).is_loopback for sock in sockets)


def _keys() -> list[ApiKey] | None:
    """Return all API keys that were ever made; None: the ledger cannot be used.

    Until it can be used, every request is answered with 503.

    Raises:
        SystemExit: the ledger is another version's.
    """
    try:
        delivery.prepare_ledger()
        return delivery.ledger().read(api_keys.known)
    except LedgerUnavailable as exc:
        logger.warning("the ledger cannot be used: %s", exc)
        return None
    except OtherVersion as exc:
        print(exc, file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        delivery.ledger().close()  # each process opens its own


def _listen(argv: list[str]) -> Listening:
    """Read the flags, and listen.

    Raises:
        SystemExit: with the exit code; why is on standard error.
    """
    try:
        config.read_flags(argv)
        config.check()
        return listen(config.options.port, config.options.address or None)
    except (OptionError, config.ConfigError) as exc:
        print(exc, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as exc:
        where = f"{config.options.address}:{config.options.port}"
        is_address = isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL
        flag = "--address" if is_address else "--port"
        print(f"cannot listen on {where}: {exc.strerror}; see {flag}", file=sys.stderr)
        raise SystemExit(1) from None


def _set_up_logging() -> None:
    tornado.log.enable_pretty_logging(config.options)
    logging.getLogger("tornado.general").setLevel(logging.WARNING)  # it quotes bad headers
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the bridge says it in one line


def _announce(listening: Listening, note: str) -> None:
    """Log what an operator should know before the first request."""
    for warning in config.warnings():
        logger.warning("%s", warning)
    if os.geteuid() == 0:
        logger.warning(AS_ROOT)
    for sock in listening.sockets:
        logger.info("listening on %s%s", url_of(sock), note)
    clients = possible(config.options.max_connections)
    logger.info("each process holds up to %d connections", clients)


def _spare_garbage_collection() -> None:
    gc.collect()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.freeze()  # no collection scans the imported code, which takes 30 ms


def main(argv: list[str]) -> int:
    """Read the flags, listen, fork and serve; returns the exit code."""
    listening = _listen(argv)
    raise_file_limit()
    _set_up_logging()
    app.loader.import_default_modules()  # TASK_PACKAGES
    made = _keys()
    has_key = made is None or any(key.revoked_at is None for key in made)
    if not has_key and not is_private(listening.sockets):
        print(NO_KEY.format(config.options.address or "all addresses"), file=sys.stderr)
        return 2
    _announce(listening, OPEN_NOTE if made == [] else "")
    _spare_garbage_collection()
    buckets = Buckets()  # before the fork: all processes share them
    count = config.options.processes or os.cpu_count() or 1
    run_processes(count, lambda: _run(listening, buckets), listening.close)
    return 0


def _run(listening: Listening, buckets: Buckets) -> None:
    """Serve on the event loop that the settings name."""
    loop_factory = uvloop.new_event_loop if config.options.event_loop == "uvloop" else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(listening, buckets))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
