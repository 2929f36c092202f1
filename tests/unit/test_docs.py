"""The pages that people read: what they point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import config_table
from handlers.emails.body import EmailBody
from handlers.openapi.paths import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_settings_that_the_readme_names_exist_with_these_defaults() -> None:
    table = (ROOT / "README.md").read_text().split("## Settings")[1].split("\n## ")[0]
    defaults = {s.name.upper(): str(s.default) for s in config_table.SETTINGS}
    named = dict[str, str]()
    for row in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE):
        names = re.findall(r"`(\w+)`", row[0])
        values = [value.strip().strip("`") for value in row[1].split(", ")]
        named |= dict(zip(names, values, strict=True))

    shown = {name: "" if value == "none" else value for name, value in named.items()}
    assert shown == {name: defaults[name].removesuffix(".0") for name in shown}


def test_every_setting_is_named_on_some_page() -> None:
    pages = " ".join(page.read_text() for page in PAGES if page.name != "CHANGELOG.md")
    named = set(re.findall(r"\b[A-Z][A-Z_]+\b", pages))

    assert [s.name for s in config_table.SETTINGS if s.name.upper() not in named] == []


def test_the_readme_names_every_path_and_every_member_of_a_mail() -> None:
    text = (ROOT / "README.md").read_text()
    paths = {one.path.replace("{", "<").replace("}", ">") for one in OPERATIONS}
    unnamed = [
        path for path in paths if path not in text and f"…{path[path.rindex('/') :]}" not in text
    ]
    members = [
        name
        for name in EmailBody.__struct_encode_fields__
        if not re.search(rf"[\"`]{name}[\"`]", text)
    ]

    assert (unnamed, members) == ([], [])
