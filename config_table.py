"""The table of settings: names, defaults, helps, checks. Only here each setting is explained."""

from __future__ import annotations

from kombu.compression import encoders as compression_types

from config_checks import (
    Check,
    authorities,
    between,
    broker_urls,
    database,
    dkim,
    file_or_empty,
    folder,
    header_names,
    https_or_empty,
    not_empty,
    one_of,
    packages,
    rate_limits,
    relay_url,
    sender,
    signing_keys,
    user_and_password,
)
from config_setting import Setting, Value
from mailing import Limits

_SECONDS = between(0.1, 3600)
_LIMITS = Limits()
_DAY = between(1, 86400)
_DAYS = between(1, 30 * 86400)
# kombu's short names and content types; only those whose library is installed are offered.
_TYPES = {
    "brotli": "x-brotli",
    "bzip2": "x-bz2",
    "gzip": "x-gzip",
    "lzma": "x-lzma",
    "zstd": "zstd",
}
_OFFERED = compression_types()
_COMPRESSIONS = tuple(name for name, kind in _TYPES.items() if f"application/{kind}" in _OFFERED)

_TABLE: dict[str, tuple[tuple[str, Value, str, Check | None], ...]] = {
    "web": (
        ("address", "127.0.0.1", "address to listen on; empty: all addresses", None),
        ("port", 8888, "port to listen on; 0: any free port", between(0, 65535)),
        ("processes", 1, "number of server processes; 0: one per core", between(0, 64)),
        ("event_loop", "asyncio", "web server: asyncio or uvloop", one_of("asyncio", "uvloop")),
        ("max_body_size", 10 * 2**20, "largest request body, in bytes", between(1024, 2**30)),
        ("idle_timeout_s", 30.0, "how long to wait for a request's header, in seconds", _SECONDS),
        ("body_timeout_s", 30.0, "how long a request's body may take, in seconds", _SECONDS),
        ("max_connections", 10_000, "most open connections per server process", between(1, 10**6)),
        (
            "max_bodies_size",
            256 * 2**20,
            "memory per process for request bodies, and again for untaken answers, in bytes",
            between(1024, 2**40),
        ),
        ("unread_timeout_s", 30.0, "answer not taken: cut off after this many seconds", _SECONDS),
        (
            "queue_wait_limit_s",
            14400,
            "refuse mails that would wait longer (0: never), in seconds",
            between(0, 30 * 86400),
        ),
        ("max_wait_s", 60.0, "longest `Prefer: wait` or `?wait` granted, in seconds", _SECONDS),
        ("sse_heartbeat_s", 15.0, "silent event stream: comment every this many seconds", _SECONDS),
        ("drain_s", 10.0, "how long open requests may take at shutdown, in seconds", _SECONDS),
    ),
    "broker": (
        (
            "broker_url",
            "amqp://guest:guest@127.0.0.1:5672//",
            "RabbitMQ: amqp:// or amqps://; a cluster's nodes separated by ';'",
            broker_urls,
        ),
        ("broker_ca_file", "", "amqps://: CA certificates, PEM; empty: the system's", authorities),
        ("broker_cert_file", "", "amqps://: client certificate, PEM, if asked for", None),
        ("broker_key_file", "", "key of BROKER_CERT_FILE, PEM, without a password", file_or_empty),
        (
            "broker_declare",
            "on",
            "on: declare queues; off: `make broker-users` has done it",
            one_of("on", "off"),
        ),
        ("publish_timeout_s", 4.0, "time to wait for the broker's confirm, in seconds", _SECONDS),
        ("result_stream", "windmail.results", "name of the stream of results", not_empty),
        ("result_retention_s", 86400, "how long a new stream keeps results, in seconds", _DAYS),
        ("result_replay_s", 3600, "how far back results are read, in seconds", between(0, 86400)),
        ("result_cache_bytes", 2**26, "memory for cached results, in bytes", between(2**16, 2**36)),
    ),
    "tasks": (
        ("task_packages", "", "your packages with a `tasks` module, comma-separated", packages),
        ("task_serializer", "json", "of task messages: json or msgpack", one_of("json", "msgpack")),
        (
            "task_compression",
            "",
            f"compression of task messages: {', '.join(_COMPRESSIONS)}; empty: none",
            one_of("", *_COMPRESSIONS),
        ),
        (
            "task_signing_keys",
            "",
            "comma-separated: the first signs tasks, workers accept any; empty: unsigned",
            signing_keys,
        ),
        ("task_sent_events", "on", "show queued tasks in Flower: on or off", one_of("on", "off")),
        ("task_time_limit_s", 1500, "a task is killed after this many seconds", _DAY),
        ("task_soft_time_limit_s", 1440, "SoftTimeLimitExceeded after this many seconds", _DAY),
        ("worker_concurrency", 8, "tasks at a time in a worker's pool", between(1, 1024)),
        ("worker_prefetch", 1, "messages held per process of a worker's pool", between(1, 64)),
        ("worker_shutdown_s", 30.0, "how long tasks may run on at shutdown, in seconds", _SECONDS),
        ("beat_task", "task.heartbeat", "name of the periodic task", not_empty),
        ("beat_interval_s", 30.0, "how often BEAT_TASK is sent, in seconds", _DAYS),
    ),
    "mail": (
        (
            "smtp_url",
            "smtp://127.0.0.1:1025",
            "relay: smtp://user:password@host:587?tls=required, smtps://host:465",
            relay_url,
        ),
        ("mail_from", "windmail@localhost", "sender of mails that name none", sender),
        ("mail_concurrency", 16, "mails and threaded tasks at a time per worker", between(1, 1024)),
        ("smtp_timeout_s", 30.0, "how long each SMTP command may take, in seconds", _SECONDS),
        ("smtp_data_timeout_s", 600.0, "how long the final reply may take, in seconds", _SECONDS),
        ("smtp_idle_s", 30.0, "idle SMTP sessions are replaced after this many seconds", _SECONDS),
        ("mail_retry_first_s", 5.0, "first wait if the relay is unreachable, in seconds", _SECONDS),
        ("mail_retry_refused_s", 60.0, "first wait after a reply of 4xx, in seconds", _SECONDS),
        ("mail_retry_longest_s", 14400.0, "longest wait between two attempts, in seconds", _DAYS),
        ("mail_retry_for_s", 172800.0, "how long a mail is tried, in seconds", _DAYS),
        (
            "breaker_failures",
            5,
            "unanswered attempts in a row before the relay is left alone",
            between(1, 1000),
        ),
        ("breaker_open_s", 10.0, "longest time the relay is then left alone, in seconds", _SECONDS),
        (
            "rate_limits",
            "",
            "per domain and worker: gmail.com=20/s,example.com=100/m:4 (4 at a time)",
            rate_limits,
        ),
        ("mail_schedule_days", 30, "how far ahead scheduled_at may be, in days", between(1, 365)),
        ("mail_templates", "templates", "folder of mail templates", not_empty),
        ("template_timeout_s", 1.0, "CPU time that a template may take, in seconds", _SECONDS),
        ("template_output_bytes", 2**20, "most a template makes, in bytes", between(1024, 2**26)),
        ("dkim", "", "domain:selector to sign mails with; empty: no DKIM", dkim),
        ("dkim_key_file", "", "private key for DKIM signatures, PEM", file_or_empty),
    ),
    "limits": (
        (
            "mail_max_recipients",
            _LIMITS.recipients_per_field,
            "most recipients in each of to, cc, bcc and reply_to",
            between(1, 1000),
        ),
        ("mail_max_subject", _LIMITS.subject_length, "longest, in characters", between(1, 8192)),
        ("mail_max_headers", _LIMITS.headers, "entries in a mail's `headers`", between(0, 200)),
        (
            "mail_headers",
            ",".join(_LIMITS.header_names),
            "names allowed in a mail's `headers`; * may end a name",
            header_names,
        ),
        ("mail_max_attachments", _LIMITS.attachments, "most attachments per mail", between(0, 200)),
        (
            "mail_max_attachment_bytes",
            _LIMITS.attachment_bytes,
            "largest attachment, decoded, in bytes",
            between(1024, 2**27),
        ),
        (
            "mail_max_bytes",
            _LIMITS.total_bytes,
            "largest total of texts and decoded attachments, in bytes",
            between(1024, 2**27),
        ),
    ),
    "ledger": (
        ("database_url", "", "postgresql://user:password@host/name; empty: SQLite", database),
        ("ledger_keep", "failed", "keep content of failed mails, or all", one_of("failed", "all")),
        ("ledger_days", 30, "how long a mail's record is kept, in days", between(1, 3650)),
        ("ledger_timeout_s", 4.0, "how long to wait for the database, in seconds", _SECONDS),
        ("idempotency_s", 86400, "how long an Idempotency-Key is remembered, in seconds", _DAYS),
    ),
    "flower": (
        ("flower_address", "127.0.0.1", "address that Flower listens on", not_empty),
        ("flower_port", 5555, "port that Flower listens on", between(1, 65535)),
        (
            "flower_auth",
            "",
            "Flower's user:password; empty: no login, and its API is off",
            user_and_password,
        ),
        (
            "flower_broker_api",
            "",
            "RabbitMQ's management, for Flower: https://user:password@host:15671/api/",
            https_or_empty,
        ),
    ),
    "files": (("var_dir", "var", "folder for state (ledger, schedule, revoked, history)", folder),),
}
_SECRET = frozenset(
    {
        "broker_url",
        "smtp_url",
        "flower_auth",
        "flower_broker_api",
        "database_url",
        "task_signing_keys",
    }
)
SETTINGS: tuple[Setting, ...] = tuple(
    Setting(group, name, default, text, check, secret=name in _SECRET)
    for group, rows in _TABLE.items()
    for name, default, text, check in rows
)
