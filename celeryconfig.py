"""Celery's settings, derived from :mod:`config`; ``task.py`` loads them by name.

Celery loads it when it first needs a setting; by then ``server.py`` has read its flags.
Why each value is what it is: docs/design.md, "Celery settings that keep the promise".
"""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlencode

from celery.events import event as _event  # event_exchange is the name of a setting

import config
from bridge.broker import KEEPALIVE
from bridge.topology import DEFAULT

#: The ledger is pruned every hour.
PRUNE_S = 3600.0

_options = config.options
_var = Path(_options.var_dir)
try:
    config.check()
    _var.mkdir(mode=0o700, parents=True, exist_ok=True)
except (config.ConfigError, OSError) as exc:
    raise SystemExit(str(exc)) from exc  # a celery command prints that, and no traceback

# -- broker and topology
broker_url = _options.broker_url
broker_use_ssl = config.broker_tls()  # for the transport of bridge/tls.py
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker outlasts an outage of any length
# No read_timeout: during an alarm a publish waits for its confirm. With one, Celery would publish
# again and again, and the broker would take every copy at the alarm's end.
# A connection that waits for a confirm sends nothing. If the other end vanishes silently, only the
# kernel's keepalive notices it: after 7 s; with py-amqp's settings after 71.
broker_transport_options = {
    "confirm_publish": True,
    "socket_settings": {
        getattr(socket, name): value  # not every system has all of them
        for name, value in KEEPALIVE.items()
        if hasattr(socket, name)
    },
}
broker_declare = _options.broker_declare == "on"  # ours: see bridge/topology.py
_event.event_exchange.no_declare = not broker_declare  # Celery and Flower copy this exchange
task_queues = DEFAULT.kombu_queues(no_declare=not broker_declare)
task_routes = DEFAULT.routes
task_default_queue = DEFAULT.default_queue
task_default_exchange = DEFAULT.exchange
task_default_exchange_type = "topic"
task_default_queue_type = "quorum"
task_default_routing_key = DEFAULT.default_queue
task_create_missing_queues = False  # a mistyped name must not make a classic queue

# -- results
override_backends = {"stream": "bridge.backend.stream:StreamBackend"}
result_backend = f"stream://{_options.result_stream}?" + urlencode(
    {"retention_s": _options.result_retention_s}
)
result_serializer = _options.task_serializer
task_track_started = True

# -- messages
task_serializer = _options.task_serializer
task_compression = _options.task_compression or None
accept_content = ["json", "msgpack"]  # never pickle: it runs code
task_signing_keys = config.signing_keys()  # ours; Celery masks what has KEY in its name
enable_utc = True
timezone = "UTC"

# -- a task is acknowledged when it has ended, and a failed one goes to the dead queue
task_acks_late = True
task_reject_on_worker_lost = True
task_acks_on_failure = False
task_acks_on_timeout = False
worker_deduplicate_successful_tasks = True
worker_pool = "bridge.worker.processes:TaskPool"  # results in groups
worker_consumer = "bridge.worker.consumer:DurableConsumer"  # bad messages go to the dead queue, too
worker_prefetch_multiplier = _options.worker_prefetch
worker_cancel_long_running_tasks_on_connection_loss = False
worker_enable_prefetch_count_reduction = False  # quorum queues have none; Celery would log that
task_time_limit = _options.task_time_limit_s
task_soft_time_limit = _options.task_soft_time_limit_s
worker_concurrency = _options.worker_concurrency
worker_proc_alive_timeout = 30.0  # Celery's 4 s kill slow starts on a busy machine
worker_state_db = str(_var / "revoked-%n.json")

# -- what Flower sees
worker_send_task_events = True
task_send_sent_event = _options.task_sent_events == "on"

# -- beat
beat_scheduler = "bridge.beat:DurableScheduler"  # a clock that is set back does not stop it
beat_schedule_filename = str(_var / "beat-schedule")
beat_schedule = {
    "periodic": {
        "task": _options.beat_task,
        "schedule": _options.beat_interval_s,
        # A late run is worth nothing, and runs must not pile up while there is no worker.
        "options": {"expires": _options.beat_interval_s},
    },
    "prune": {"task": "task.prune", "schedule": PRUNE_S, "options": {"expires": PRUNE_S}},
}
