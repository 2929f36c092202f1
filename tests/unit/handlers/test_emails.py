"""What ``/emails`` does not do on the event loop."""

from __future__ import annotations

import pytest

from handlers.emails.many import TEMPLATE


@pytest.mark.parametrize("name", ['"template"', r'"t\u0065mplate"', r'"\u0074emplate"'])
def test_a_template_is_seen_however_its_name_is_written(name: str) -> None:
    assert TEMPLATE.search(f'{{{name}: {{"id": "welcome"}}}}'.encode())


def test_other_bodies_are_read_at_once() -> None:
    assert not TEMPLATE.search(rb'{"subject": "Gr\u00fc\u00dfe \u4f60", "text": "template\n"}')
