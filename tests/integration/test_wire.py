"""docs/wire.md and the messages on the broker say the same, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import config
import task
from bridge import Bridge
from tests.outside import Tap

pytestmark = pytest.mark.usefixtures("celery_worker")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "wire.md"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"
#: What the page's placeholders stand for; the task's id is compared with the id itself.
PLACEHOLDERS = {
    "<uuid>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<sender>": r"gen\d+@\S+",
    "<worker>": r"session@\S+",
    "<time>": TIME,
    "<unix time>": r"1[0-9]{9}",
    "<offset>": r"\d+",
}
PARTS = ("Address", "Properties", "Headers", "Body")


@dataclass(frozen=True)
class Field:
    """A row of one of the page's tables."""

    value: str
    optional: bool

    def fits(self, actual: Any, task_id: str) -> bool:
        """Tell whether the message's value is the one that the page says."""
        if self.value == "<task id>":
            return bool(actual == task_id)
        pattern = PLACEHOLDERS.get(self.value)
        if pattern is not None:
            return re.fullmatch(pattern, str(actual)) is not None
        expected = json.loads(self.value)
        return bool(actual == expected) and type(actual) is type(expected)


def tables(kind: str) -> dict[str, dict[str, Field]]:
    """Return the page's tables of one message by their headings: "A task", "A result"."""
    (section,) = re.findall(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    parts = re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", section, re.M | re.S)
    return {part: dict(rows(text)) for part, text in parts}


def rows(text: str) -> Iterator[tuple[str, Field]]:
    for name, value, absent in re.findall(
        r"^\| (\S+) \| `([^`]+)`( or absent)? \| .+ \|$", text, re.M
    ):
        yield name, Field(value, bool(absent))


def parts(message: Any) -> dict[str, dict[str, Any]]:
    """Return a message in the page's four parts."""
    properties = dict(message.properties)
    headers = properties.pop("application_headers")
    address = {name: message.delivery_info[name] for name in ("exchange", "routing_key")}
    body = json.loads(message.body)
    if isinstance(body, list):
        args, kwargs, embedded = body
        body = {"0": args, "1": kwargs, **{f"2.{name}": value for name, value in embedded.items()}}
    return {"Address": address, "Properties": properties, "Headers": headers, "Body": body}


def differences(
    page: Mapping[str, Mapping[str, Field]], message: Any, task_id: str
) -> Iterator[str]:
    actual = parts(message)
    for part in PARTS:
        for name in page[part].keys() | actual[part].keys():
            field = page[part].get(name)
            if field is None:
                yield f"{part}: {name} is not on the page ({actual[part][name]!r})"
            elif name not in actual[part]:
                if not field.optional:
                    yield f"{part}: {name} is not in the message"
            elif not field.fits(actual[part][name], task_id):
                yield f"{part}: {name} is {actual[part][name]!r}, on the page {field.value}"


def task_taps() -> tuple[Tap, Tap]:
    url, stream = str(config.options.broker_url), str(config.options.result_stream)
    return Tap(url, "windmail"), Tap(url, queue=stream, arguments={"x-stream-offset": "next"})


def last_record(results: Tap, task_id: str) -> Any:
    return results.wait_for(
        lambda message: (
            message.properties["correlation_id"] == task_id
            and json.loads(message.body)["status"] == "SUCCESS"
        ),
        f"SUCCESS of {task_id}",
    )


@pytest.mark.parametrize("kind", ["A task", "A result"])
def test_the_page_has_four_tables_of_each_message(kind: str) -> None:
    found = tables(kind)

    assert tuple(found) == PARTS
    assert all(found.values())


def test_celerys_own_task_message_is_the_one_on_the_page() -> None:
    tasks, results = task_taps()
    with tasks, results:
        task_id = task.add.delay(4, 4).id

        message, record = tasks.task(task_id), last_record(results, task_id)

    assert list(differences(tables("A task"), message, task_id)) == []
    assert list(differences(tables("A result"), record, task_id)) == []


@pytest.mark.gen_test
async def test_the_bridges_task_message_is_the_one_on_the_page() -> None:
    tasks, results = task_taps()
    with tasks, results:
        async with Bridge(task.app) as bridge:
            task_id = (await bridge.apply_async(task.add, (4, 4))).id

        message, record = tasks.task(task_id), last_record(results, task_id)

    assert list(differences(tables("A task"), message, task_id)) == []
    assert list(differences(tables("A result"), record, task_id)) == []


def test_every_difference_would_be_told() -> None:
    tasks, results = task_taps()
    with tasks, results:
        task_id = task.add.delay(4, 4).id
        message = tasks.task(task_id)
    page = tables("A task")
    del page["Headers"]["origin"]
    page["Headers"]["new"] = Field("1", optional=False)
    page["Body"]["0"] = Field("[4, 5]", optional=False)

    assert [line.split(" is ")[0] for line in sorted(differences(page, message, task_id))] == [
        "Body: 0",
        "Headers: new",
        "Headers: origin",
    ]
