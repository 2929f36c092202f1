"""The web server: ``python server.py [--port=8888 --processes=N --address=127.0.0.1]``.

Listens first and forks then, so all processes share the sockets; each has its own event
loop and its own bridge. SIGTERM and SIGINT stop it: no new connections, open requests are
finished (for ``drain_s`` at most), then the broker's connections are closed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys

import tornado.log
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.options import Error as OptionError

import config
import delivery
from application import make_application
from bridge import Bridge
from handlers.services import Services, make_services
from ledger import LedgerUnavailable
from processes import run_processes
from task import app

logger = logging.getLogger("windmail.server")

#: Beyond the body that a handler takes: refusing it with 413 is the handler's work.
TORNADO_BODY_LIMIT = 2**40
MAX_HEADER_BYTES = 64 * 1024


async def serve(sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    options = config.options
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    bridge = Bridge(
        app,
        publish_timeout_s=options.publish_timeout_s,
        replay_s=options.result_replay_s,
        cache_bytes=options.result_cache_bytes,
    )
    ledger = delivery.ledger()
    services = make_services(app, bridge, ledger)
    server = HTTPServer(
        make_application(services),
        idle_connection_timeout=options.idle_timeout_s,
        body_timeout=options.body_timeout_s,
        max_body_size=TORNADO_BODY_LIMIT,
        max_header_size=MAX_HEADER_BYTES,
    )
    bridge.start()
    server.add_sockets(sockets)
    await stop.wait()
    await _drain(server, services)
    await services.acceptance.close(options.publish_timeout_s + options.ledger_timeout_s)
    await bridge.close()
    await asyncio.to_thread(ledger.close)


async def _drain(server: HTTPServer, services: Services) -> None:
    """Stop listening and let open requests finish."""
    server.stop()
    services.stopping.set()
    for wait in list(services.waits):
        wait.cancel()
    if not await services.open_requests.wait_none(config.options.drain_s):
        logger.warning("stopping with %d requests unfinished", len(services.open_requests))
    await server.close_all_connections()


def main(argv: list[str]) -> int:
    """Read the flags, listen, fork and serve; returns the exit code."""
    try:
        config.options.parse_command_line(argv)
        config.check()
        sockets = bind_sockets(config.options.port, config.options.address or None)
    except (OptionError, config.ConfigError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except OSError as exc:
        where = f"{config.options.address}:{config.options.port}"
        print(f"cannot listen on {where}: {exc.strerror}; see --port", file=sys.stderr)
        return 1
    tornado.log.enable_pretty_logging(config.options)
    logging.getLogger("tornado.general").setLevel(logging.WARNING)  # it quotes bad headers
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # the bridge says it in one line
    app.loader.import_default_modules()  # TASK_PACKAGES
    try:
        delivery.prepare_ledger()
    except LedgerUnavailable as exc:  # it may come; until then mails are answered with 503
        logger.warning("the ledger cannot be used: %s", exc)
    for sock in sockets:
        logger.info("listening on http://%s:%d", *sock.getsockname()[:2])
    gc.collect()
    gc.freeze()  # imported code is no garbage: looking it through would stop the loop for 30 ms
    count = config.options.processes or os.cpu_count() or 1
    return run_processes(count, lambda: asyncio.run(serve(sockets)))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
