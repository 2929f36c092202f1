"""What we replace, override, copy or reach into of our libraries is as it was when it was read.

Such places are no library's promise: after ``make lock`` they may have changed without a word, and
a worker would fail quietly. ``tests/data/upstream.txt`` lists them, each with a digest of its
source.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import io
import pkgutil
import re
import smtplib
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from unittest.mock import Mock

import pytest
from celery.worker.consumer import Consumer

from bridge.worker.consumer import DurableConsumer

ROOT = Path(__file__).resolve().parents[2]
TABLE = "tests/data/upstream.txt"
#: Each row: the digest, our file, and whose source was read for it.
ROWS = [tuple(line.split()) for line in (ROOT / TABLE).read_text().splitlines()]
FOLDERS = ("access", "bridge", "delivery", "dev", "handlers", "ledger", "mailing", "serving")
#: Our files, by their paths, as trees.
TREES = {
    str(file.relative_to(ROOT)): ast.parse(file.read_text())
    for pattern in ("*.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
    for file in sorted(ROOT.glob(pattern))
}
#: Private by their look alone: the Python documentation has them.
PUBLIC = frozenset({"_asdict", "_exit", "_make", "_replace"})


def source_of(name: str) -> str:
    """Return the source of ``module:name``; nothing where nothing is called so any more."""
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return ""
    found = getattr(found, "fget", None) or getattr(found, "func", None) or found
    return inspect.getsource(found)


def digest_of(source: str) -> str:
    """Return a digest that comments and empty lines do not change."""
    lines = [line for line in map(str.strip, source.splitlines()) if line and line[0] != "#"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8] if lines else "is-gone"


def library_of(name: str) -> str:
    package = name.partition(".")[0]
    return f"{package} {version(package)}"


def words(source: str) -> set[str]:
    return set(re.findall(r"\w+", source))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def made_in(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a file defines, in a class or as an attribute of its objects."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) == "self" else []


def foreign_names(tree: ast.AST, of_ours: set[str]) -> set[str]:
    """Return the private names that a file uses, and that are not ours (``of_ours``: of all
    files)."""
    own, found = set(made_in(tree)), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(FOLDERS):
            found |= {alias.name for alias in node.names if is_private(alias.name)}
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            known = {"self": of_ours, "super()": set[str]()}.get(ast.unparse(node.value), own)
            found |= {node.attr} - known
    return found


def is_ours_or_python_s(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names.union(FOLDERS)


def overridden(file: str) -> set[str]:
    """Return the private names of libraries' classes that those of a file define anew."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    return set(made_in(TREES[file])) & {
        name
        for made in vars(module).values()
        if isinstance(made, type) and made.__module__ == module.__name__
        for name in filter(is_private, vars(made))
        for base in made.__mro__[1:]
        if name in vars(base) and not is_ours_or_python_s(base.__module__)
    }


@pytest.mark.parametrize(("digest", "file", "name"), ROWS, ids=str)
def test_what_we_lean_on_is_as_it_was_read(digest: str, file: str, name: str) -> None:
    found = digest_of(source_of(name))

    assert found == digest, (
        f"{name} of {library_of(name)} has changed since it was read for {file}: read both again, "
        f"then put this line in its place in {TABLE}:\n{found} {file} {name}"
    )


def test_each_private_name_that_we_use_was_read() -> None:
    of_ours = {name for tree in TREES.values() for name in made_in(tree)}
    unread = set()
    for file, tree in TREES.items():
        used = foreign_names(tree, of_ours) | (overridden(file) if "/" in file else set())
        read = {word for _, of, name in ROWS if of == file for word in words(source_of(name))}
        unread |= {f"{file}: {name}" for name in used - read}

    assert not unread, (
        f"{', '.join(sorted(unread))}: a private name of a library. Read its source, and list that "
        f"in {TABLE}, with any digest: the next run prints the right one"
    )


@pytest.mark.parametrize(
    "source",
    [
        "from celery.worker.loops import _theirs",
        "loops._theirs = drain",
        "self._pool._theirs.stop()",
        "class A(B):\n    def _theirs(self):\n        super()._theirs()",
        "print(self._theirs)",
    ],
)
def test_a_private_name_is_seen(source: str) -> None:
    assert foreign_names(ast.parse(source), {"_pool"}) == {"_theirs"}


def test_each_row_is_of_a_file_of_ours() -> None:
    assert {file for _, file, _ in ROWS} <= set(TREES)


def test_two_of_a_worker_s_steps_are_ours() -> None:
    theirs = Consumer.Blueprint.default_steps
    ours = DurableConsumer.Blueprint.default_steps

    assert [step.rpartition(":")[2] for step in theirs if step not in ours] == [
        "Control",
        "DelayedDelivery",
    ]


def test_smtplib_reads_replies_from_the_file_that_it_is_given() -> None:
    smtp = smtplib.SMTP()
    smtp.file = io.BytesIO(b"250-one\r\n250 two\r\n")

    assert smtp.getreply() == (250, b"one\ntwo")


def test_smtplib_has_no_file_after_starttls() -> None:
    smtp = smtplib.SMTP()
    smtp._host = "relay.example"  # type: ignore[attr-defined] # from Python 3.14 on, by connect()
    smtp.ehlo_resp, smtp.does_esmtp, smtp.esmtp_features = b"relay", True, {"starttls": ""}
    smtp.sock, smtp.file = Mock(), io.BytesIO(b"220 go ahead\r\n")

    smtp.starttls(context=Mock())

    assert smtp.file is None


def test_smtplib_closes_what_it_cannot_send_to() -> None:
    smtp = smtplib.SMTP()
    smtp.sock = Mock(sendall=Mock(side_effect=BrokenPipeError))

    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.send(b"NOOP\r\n")

    assert smtp.sock is None
