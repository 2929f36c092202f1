"""A server whose ledger has keys of every kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.keys import Client, command, id_of, make
from tests.system import Server, wait_until

#: What the keys may do; each test that uses one up has its own.
KEYS: Mapping[str, tuple[str, ...]] = {
    "shop": (),
    "office": (),
    "sender": ("--scope=send",),
    "reader": ("--scope=read",),
    "admin": ("--scope=admin",),
    "domains": ("--domain=shop.example", "--domain=MÜNCHEN.example"),
    "slow": ("--rate=5/h",),
    "small": ("--daily=10",),
    "smaller": ("--daily=3",),
    "busy": ("--daily=40",),
    "retrying": ("--daily=5",),
    "revoked": (),
}


@pytest.fixture(scope="package")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's ledger."""
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="package")
def keys(var: Path) -> Mapping[str, str]:
    """All keys, by their names."""
    made = {name: make(var, *options, name=name) for name, options in KEYS.items()}
    command(var, "revoke", id_of(made["revoked"]))
    return made


@pytest.fixture(scope="package")
def locked(broker: BrokerNode, logs: Path, var: Path, keys: Mapping[str, str]) -> Iterator[Server]:
    """A server of two processes."""
    env = {"VAR_DIR": str(var)}
    with Server(logs / "locked.log", env, free_port(), "--processes=2") as server:
        wait_until(lambda: server.text().count("results: connected") >= 2, "both processes")
        yield server


@pytest.fixture(scope="package")
def clients(locked: Server, keys: Mapping[str, str]) -> Mapping[str, Client]:
    """The keys' owners, by the keys' names."""
    return {name: Client(locked, key) for name, key in keys.items()}
