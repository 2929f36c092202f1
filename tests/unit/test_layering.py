"""The parts import each other one way, and what one file is to do, no other file does.

Read with ``ast``, so nothing runs. The product only: ``dev/``, ``examples/``, ``tests/``,
``attack/``, ``bench/`` and ``chaos/`` are users of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bridge", "mailing", "ledger", "access", "delivery", "handlers", "serving")
PRODUCT = sorted(
    [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in ROOT.glob(f"{folder}/**/*.py"))]
)

#: What each part may import of the others. ``celeryconfig`` belongs to ``config``: it says the
#: settings in Celery's words, with the queues that the bridge lists. ``config_checks`` asks
#: ``mailing`` what a usable relay and sender are, and the bridge which certificates; neither knows
#: settings. ``delivery`` brings the parts together for one mail: of the bridge it needs only to
#: read an id's time.
#: ``serving`` is ``server.py``'s helper.
MAY_IMPORT: dict[str, set[str]] = {
    "broker_users": {"config", "command_line", "bridge", "task"},
    "config": {"config_table", "config_checks", "bridge.tls"},
    "config_table": {"config_checks", "config_setting", "mailing"},
    "config_setting": {"config_checks"},
    "config_checks": {"bridge.tls", "mailing"},
    "celeryconfig": {"config", "bridge.broker", "bridge.topology"},
    "flowerconfig": {"config"},
    "bridge": set(),
    "mailing": set(),
    "ledger": set(),
    "access": {"mailing", "ledger"},
    "delivery": {"config", "bridge.ids", "mailing", "ledger"},
    "task": {"config", "bridge", "mailing", "delivery", "lifecycle"},
    "lifecycle": {"config", "bridge", "mailing", "ledger", "delivery"},
    "command_line": {"config"},
    "keys_parser": {"command_line", "mailing", "access"},
    "keys": {"command_line", "keys_parser", "ledger", "access", "delivery"},
    "dead": {"command_line", "bridge", "ledger", "delivery", "lifecycle", "task"},
    "handlers": {
        "config",
        "bridge",
        "mailing",
        "ledger",
        "access",
        "delivery",
        "lifecycle",
        "task",
    },
    "application": {"handlers"},
    "serving": {"handlers"},
    "server": {
        "config",
        "bridge",
        "ledger",
        "access",
        "delivery",
        "lifecycle",
        "task",
        "handlers",
        "application",
        "serving",
    },
}
#: What the files in each folder of a part may import of the part's other folders; "": the files
#: beside these folders.
WITHIN: dict[str, dict[str, set[str]]] = {
    "bridge": {
        "": set(),
        "sending": {""},
        "loop": {""},
        "results": {"", "loop"},
        "backend": {""},
        "worker": {"", "backend"},
        "dead": {""},
    },
    "mailing": {"": set(), "smtp": {""}, "templates": {""}},
    "handlers": {
        "accepting": set(),
        "": {"accepting"},
        "emails": {"", "accepting"},
        "celery": {"", "accepting", "emails"},
        "openapi": {"", "emails", "celery"},
    },
}
#: They bring a part's folders together, for other parts.
FACES = ("bridge/__init__.py", "bridge/client.py", "bridge/task_result.py", "mailing/__init__.py")
#: Libraries that belong to other parts.
MAY_NOT_USE = {
    "config": {"celery", "pika"},
    "config_checks": {"celery", "pika"},
    "bridge": {"tornado", "smtplib", "email"},
    "mailing": {"tornado", "celery", "kombu", "pika", "amqp"},
    "ledger": {"tornado", "celery", "kombu", "pika", "amqp", "smtplib"},
    "access": {"tornado", "celery", "kombu", "pika", "amqp", "smtplib"},
    "delivery": {"tornado", "celery", "kombu", "pika", "amqp", "smtplib"},
    "task": {"tornado", "pika", "smtplib"},
    "handlers": {"pika", "kombu", "amqp", "smtplib"},
    "application": {"celery", "pika", "kombu"},
    "server": {"celery", "pika", "kombu"},
}
#: Lines; most files are far below.
LONGEST_FILE = 250


def part_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every imported module by its full name, also from inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def environment_reads(tree: ast.AST) -> list[int]:
    """Return the lines that name ``os.environ``, ``os.getenv`` or the like."""
    names = {"environ", "environb", "getenv", "getenvb"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
    ]


def loop_and_signal_calls(tree: ast.AST) -> list[int]:
    """Return the lines that set a signal handler or run an event loop."""
    functions = {
        ("signal", "signal"),
        ("signal", "sigaction"),
        ("asyncio", "run"),
        ("asyncio", "Runner"),
    }
    methods = {"add_signal_handler", "run_until_complete", "run_forever", "run_sync"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and (node.attr in methods or (ast.unparse(node.value), node.attr) in functions)
    ]


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def own_parts(modules: Iterator[str]) -> set[str]:
    """Return those that are parts of Windmail: ``bridge.topology`` and ``bridge``, as named."""
    return {module for module in modules if module.partition(".")[0] in MAY_IMPORT}


def shown(files: list[Path]) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in files]


def test_every_file_of_the_product_is_looked_at() -> None:
    found = set(shown(PRODUCT))

    assert found >= {"config.py", "server.py", "task.py", "bridge/client.py", "handlers/base.py"}
    assert {part_of(file) for file in PRODUCT} <= set(MAY_IMPORT)


@pytest.mark.parametrize("file", PRODUCT, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_what_its_layer_may(file: Path) -> None:
    part = part_of(file)
    allowed = MAY_IMPORT[part] | {part}

    upwards = {
        module
        for module in own_parts(imports(tree_of(file)))
        if not any(module == name or module.startswith(name + ".") for name in allowed)
    }
    # `from bridge.topology import DEFAULT` names bridge.topology.DEFAULT too, which is within;
    # `import bridge` alone is not.
    assert not upwards, f"{part} may not import {', '.join(sorted(upwards))}"


def folder_of(file: Path) -> str:
    """Return a file's folder within its part."""
    return "".join(file.relative_to(ROOT).parts[1:-1])


@pytest.mark.parametrize(
    "file",
    [file for file in PRODUCT if part_of(file) in WITHIN and shown([file])[0] not in FACES],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_a_parts_folders_import_each_other_one_way(file: Path) -> None:
    part, own = part_of(file), folder_of(file)
    modules = {ROOT / f"{name.replace('.', '/')}.py" for name in imports(tree_of(file))}
    within = [one for one in modules if one.is_file() and part_of(one) == part]

    assert {folder_of(module) for module in within} <= WITHIN[part][own] | {own}
    assert not set(shown(within)) & set(FACES)


@pytest.mark.parametrize("file", PRODUCT, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_uses_no_library_of_another_part(file: Path) -> None:
    used = {module.partition(".")[0] for module in imports(tree_of(file))}

    assert not used & MAY_NOT_USE.get(part_of(file), set())


def test_imports_are_absolute() -> None:
    relative = [file for file in PRODUCT if any(m[0] == "." for m in imports(tree_of(file)))]

    assert not shown(relative), "the layering test sees absolute imports only"


def test_only_config_reads_the_environment() -> None:
    readers = [file for file in PRODUCT if environment_reads(tree_of(file))]

    # What systemd tells a process of its sockets is no setting.
    assert shown(readers) == ["config.py", "serving/listening.py"]


def test_only_the_server_and_its_helper_handle_signals_and_run_the_loop() -> None:
    callers = [file for file in PRODUCT if loop_and_signal_calls(tree_of(file))]

    assert shown(callers) == ["server.py", "serving/processes.py"]


def test_exactly_one_file_imports_a_pika_adapter() -> None:
    users = [
        file
        for file in PRODUCT
        if any(module.startswith("pika.adapters") for module in imports(tree_of(file)))
    ]

    assert shown(users) == ["bridge/loop/adapter.py"]


@pytest.mark.parametrize("file", PRODUCT, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_too_long(file: Path) -> None:
    lines = len(file.read_text().splitlines())

    assert lines <= LONGEST_FILE


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']",
        "import os\nos.getenv('A')",
        "from os import environ as e",
        "import os as system\nsystem.environ.get('A')",
    ],
)
def test_a_read_of_the_environment_is_seen(source: str) -> None:
    assert environment_reads(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nasyncio.run(main())",
        "loop.add_signal_handler(15, stop)",
        "def f():\n    import signal\n    signal.signal(signal.SIGTERM, g)",
    ],
)
def test_a_loop_or_a_signal_handler_is_seen(source: str) -> None:
    assert loop_and_signal_calls(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["import task", "def f():\n    from task import add", "import handlers.base as b"]
)
def test_an_import_is_seen_wherever_it_stands(source: str) -> None:
    assert own_parts(imports(ast.parse(source)))
