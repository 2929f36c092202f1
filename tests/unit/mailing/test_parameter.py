"""Parameters of MIME headers, as RFC 2045 and RFC 2231 write them."""

from __future__ import annotations

import pytest

from mailing.parameter import ascii_name, parameter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.pdf", ';\r\n n="a.pdf"'),
        ('a"\\b', ';\r\n n="a\\"\\\\b"'),
        ("=?utf-8?q?a?=", ";\r\n n*=utf-8''%3D%3Futf-8%3Fq%3Fa%3F%3D"),
        ("é'*%", ";\r\n n*=utf-8''%C3%A9%27%2A%25"),
        ("x" * 57, f";\r\n n*0*=utf-8''{'x' * 56};\r\n n*1*=x"),
        ("x" * 53 + "é", f";\r\n n*0*=utf-8''{'x' * 53};\r\n n*1*=%C3%A9"),
    ],
)
def test_parameters_take_any_script(text: str, expected: str) -> None:
    assert parameter("n", text) == expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("Übersicht.pdf", "Ubersicht.pdf"),
        ("你好.pdf", "__.pdf"),
        ("ａ／ｂ＂.pdf", "a_b_.pdf"),
        ("é" * 80 + ".pdf", "e" * 52 + ".pdf"),
        ("=\uff1fb", "__b"),
    ],
)
def test_old_readers_get_a_name_in_ascii(filename: str, expected: str) -> None:
    assert ascii_name(filename) == expected
