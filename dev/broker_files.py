"""The folder of a private RabbitMQ node: its configuration, and the environment that names it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dev import packages

HOST = "127.0.0.1"
# The same for every folder: each node has its own epmd, so names do not collide, and a folder
# that is moved keeps its queues (they lie in a folder with the node's name; RabbitMQ 3.10 finds
# quorum queues and streams only at their old path). The nodes of a cluster share an epmd, and have
# other names.
NODE_NAME = "windmail@localhost"
LOG_NAME = "rabbitmq.log"
LOG_TAIL_LINES = 15
#: In RabbitMQ's log if it ends because its state is a much older RabbitMQ's.
UPGRADE_REFUSED = "failed_to_initialize_feature_flags_registry"
# The write-ahead log of quorum queues rolls over at 512 MiB by default; a developer's disk
# and memory need not hold that.
WAL_MAX_BYTES = 64 * 2**20

#: If a node is down, RabbitMQ 4.3 gives its consumers' messages to others after this many ms, by
#: default after a minute (docs/cluster.md). An older RabbitMQ does not know the setting: it ignores
#: it here, but would not start with it in rabbitmq.conf.
_ADVANCED = "[{rabbit, [{consumer_disconnected_timeout, 2000}]}].\n"

#: With less free disk space, RabbitMQ takes no messages until there is room again.
DISK_FREE_LIMIT_MB = 50

_ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
_ERLANG_ARGUMENTS = " ".join(
    [
        "+S 2:2",  # two schedulers are enough for a developer; the default is one a core
        "-noinput +B i",  # left out by the start script because of RABBITMQ_ALLOW_INPUT
        "-start_epmd false",  # ours is there already
        _ON_LOOPBACK,
    ]
)
_FILES = {
    "RABBITMQ_CONFIG_FILE": "rabbitmq.conf",
    "RABBITMQ_ADVANCED_CONFIG_FILE": "advanced.config",
    "RABBITMQ_CONF_ENV_FILE": "rabbitmq-env.conf",
    "RABBITMQ_CONFIG_FILES": "conf.d",
    "RABBITMQ_ENABLED_PLUGINS_FILE": "enabled_plugins",
    "RABBITMQ_GENERATED_CONFIG_DIR": "generated",
    "RABBITMQ_MNESIA_BASE": "data",
    "RABBITMQ_LOG_BASE": "log",
    "RABBITMQ_PID_FILE": "rabbitmq.pid",
    "ERL_CRASH_DUMP": "log/erl_crash.dump",
}


def environment(state: Path, *, name: str, dist_port: int, epmd_port: int) -> dict[str, str]:
    """Return the environment of the node and of rabbitmqctl; all paths lie in the folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
    return {
        **kept,
        **{name: str(state / file) for name, file in _FILES.items()},
        "PATH": os.pathsep.join([kept.get("PATH", os.defpath), *packages.EXTRA_PATH]),
        "HOME": str(state),  # Erlang's cookie lies there
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        "RABBITMQ_CTL_ERL_ARGS": _ON_LOOPBACK,
        # The start script then becomes the Erlang machine instead of waiting for it: the pid
        # is the node's, and signals go to it.
        "RABBITMQ_ALLOW_INPUT": "true",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": HOST,
        "LANG": "C.UTF-8",
    }


def write(
    state: Path,
    *,
    login: tuple[str, str, str],
    port: int,
    management_port: int | None,
    cluster: Sequence[str] = (),
) -> None:
    """Make the folder and write the configuration; `login` is user, password and vhost.

    RabbitMQ leaves its files readable: mails are in them, so the folder is its owner's alone.
    """
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)  # even if an earlier version made it
    for folder in ("log", "data", "generated"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    plugins = "rabbitmq_management" if management_port else ""
    (state / "enabled_plugins").write_text(f"[{plugins}].\n")
    file = state / "rabbitmq.conf"
    file.touch(mode=0o600)  # it holds the password
    lines = configuration(login=login, port=port, management_port=management_port)
    file.write_text("\n".join([*lines, *clustering(cluster)]) + "\n")
    if cluster:
        (state / _FILES["RABBITMQ_ADVANCED_CONFIG_FILE"]).write_text(_ADVANCED)


def configuration(
    *, login: tuple[str, str, str], port: int, management_port: int | None
) -> list[str]:
    """Return rabbitmq.conf's lines; the login counts at the node's first start only."""
    user, password, vhost = login
    lines = [
        f"listeners.tcp.1 = {HOST}:{port}",
        f"default_user = {user}",
        f"default_pass = {password}",
        f"default_vhost = {vhost}",
        f"log.file = {LOG_NAME}",
        "log.console = false",
        f"disk_free_limit.absolute = {DISK_FREE_LIMIT_MB}MB",
        f"raft.wal_max_size_bytes = {WAL_MAX_BYTES}",
    ]
    if management_port:
        lines.append(f"management.tcp.ip = {HOST}")
        lines.append(f"management.tcp.port = {management_port}")
    return lines


def clustering(names: Sequence[str]) -> list[str]:
    """Return the lines that let a node find its cluster at its first start."""
    if not names:
        return []
    return [
        "cluster_formation.peer_discovery_backend = classic_config",
        *(f"cluster_formation.classic_config.nodes.{n} = {one}" for n, one in enumerate(names, 1)),
        "cluster_formation.discovery_retry_interval = 200",  # ms
        "queue_leader_locator = balanced",  # docs/cluster.md
    ]


def tail(log: Path) -> list[str]:
    """Return the last lines of a log; none if there is no log."""
    try:
        return log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        return []
