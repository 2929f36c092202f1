"""Content transfer encodings: which one a text gets, and what its lines look like."""

from __future__ import annotations

import binascii
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing.transfer import base64_lines, encode_text

SEED = b"0123abcd"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "7bit"),
        ("a\tb\n", "7bit"),
        ("x" * 78, "7bit"),
        ("x" * 79, "quoted-printable"),
        ("a\0", "base64"),
        ("a longer text with one \0 in it", "quoted-printable"),
        ("a\x7f", "base64"),
        ("abc é", "base64"),
        ("a longer text with one é in it", "quoted-printable"),
        ("a longer text with 0123abcd in it", "quoted-printable"),
        ("你好", "base64"),
    ],
)
def test_the_encoding_is_the_plainest_that_fits(text: str, encoding: str) -> None:
    assert encode_text(text, SEED)[0] == encoding


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("", b"\r\n"),
        ("\r\r\n\n", b"\r\n\r\n\r\n"),
        ("a\nb", b"a\r\nb\r\n"),
        (".\n..\n", b".\r\n..\r\n"),
        ("trailing é in a line \n. and dots", b"trailing =C3=A9 in a line=20\r\n. and dots\r\n"),
    ],
)
def test_lines_end_with_crlf(text: str, octets: bytes) -> None:
    assert encode_text(text, SEED)[1] == octets


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_whatever_is_encoded_is_read_again_from_short_lines(text: str) -> None:
    encoding, octets = encode_text(text, SEED)

    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= (78 if encoding == "7bit" else 76)
    if encoding != "7bit":
        decode = quopri.decodestring if encoding == "quoted-printable" else binascii.a2b_base64
        octets = decode(octets)
    expected = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n") + "\n"
    assert octets.decode() == expected.replace("\n", "\r\n")


@pytest.mark.parametrize("octets", [0, 3, 57, 60, 114])
def test_base64_is_cut_into_lines_of_76(octets: int) -> None:
    content = binascii.b2a_base64(bytes(octets), newline=False)

    lines = base64_lines(content).split(b"\r\n")

    assert lines.pop() == b""
    assert b"".join(lines) == content
    assert all(len(line) == 76 for line in lines[:-1])
    assert not lines or 0 < len(lines[-1]) <= 76
