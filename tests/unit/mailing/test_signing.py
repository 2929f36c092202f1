"""A signed mail verifies, also after SMTP; what the signature covers can't be changed."""

from __future__ import annotations

import base64
import logging
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import dkim  # type: ignore[import-untyped] # dkimpy has no types
import pytest

from mailing import Relay, build, compose, deliver
from mailing.signing import Signer
from tests.smtp_server import SMTPServer

SIGNED_AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True).stdout


def rsa_key(bits: int = 2048) -> bytes:
    return openssl("genrsa", str(bits))


@pytest.fixture(scope="module")
def key() -> bytes:
    return rsa_key()


@pytest.fixture(scope="module")
def signer(key: bytes) -> Signer:
    return Signer("example.com", "mail2026", key)


def content(
    from_: str = "Ann Example <ann@example.com>",
    text: str = ".\n.hidden\n..twice\nTwo  blanks at the end  \n\n\n",
    headers: dict[str, str] | None = None,
) -> bytes:
    mail = compose("Grüße", text, "Bob <bob@example.org>", from_=from_, headers=headers)
    return build(mail, mail_id="0197", accepted_at=SIGNED_AT)


def verifies(mail: bytes, key: bytes) -> bool:
    """Ask dkimpy, with the public key of ``key`` in place of the DNS."""
    public = base64.b64encode(openssl("rsa", "-pubout", "-outform", "DER", stdin=key))
    records = {b"mail2026._domainkey.example.com.": b"v=DKIM1; k=rsa; p=" + public}
    return cast(bool, dkim.verify(mail, dnsfunc=lambda name, **_: records.get(name)))


def signature_of(mail: bytes) -> str:
    """Return the DKIM-Signature's value, unfolded."""
    header = re.match(rb"DKIM-Signature: ((?:.+\r\n[ \t])*.+)\r\n", mail)
    assert header
    return re.sub(r"\s+", " ", header[1].decode("ascii"))


def signed_names(mail: bytes) -> list[str]:
    match = re.search(r" h=([^;]*);", signature_of(mail))
    assert match
    return match[1].replace(" ", "").split(":")


def test_a_signed_mail_verifies(signer: Signer, key: bytes) -> None:
    mail = content()

    signed = signer.sign(mail, signed_at=SIGNED_AT)

    assert signed.startswith(b"DKIM-Signature: v=1; ")
    assert signed.endswith(b"\r\n" + mail)
    assert verifies(signed, key)


def test_a_signed_mail_verifies_after_smtp(signer: Signer, key: bytes) -> None:
    signed = signer.sign(content(), signed_at=SIGNED_AT)

    with SMTPServer() as server:
        deliver(
            replace(Relay.from_url(server.url), timeout_s=5.0),
            sender="ann@example.com",
            recipients=("bob@example.org",),
            content=signed,
        )
        (received,) = server.wait_for(1)

    assert verifies(received.content, key)


def test_an_empty_body_verifies(signer: Signer, key: bytes) -> None:
    for body in (b"", b"\r\n", b" \r\n\r\n"):
        mail = b"From: ann@example.com\r\n\r\n" + body

        assert verifies(signer.sign(mail, signed_at=SIGNED_AT), key), body


def test_another_key_does_not_verify(signer: Signer) -> None:
    signed = signer.sign(content(), signed_at=SIGNED_AT)

    assert not verifies(signed, rsa_key())


def test_the_same_mail_is_signed_with_the_same_octets(signer: Signer, key: bytes) -> None:
    again = Signer("example.com", "mail2026", key)

    first = signer.sign(content(), signed_at=SIGNED_AT)

    assert again.sign(content(), signed_at=SIGNED_AT) == first
    assert f" t={int(SIGNED_AT.timestamp())};" in signature_of(first)


def test_the_signature_is_folded(signer: Signer) -> None:
    header = signer.sign(content(), signed_at=SIGNED_AT).partition(b"\r\nFrom:")[0]

    assert max(map(len, header.split(b"\r\n"))) <= 78


def test_the_signature_has_crlf_and_no_overlong_line(key: bytes) -> None:
    domain = ".".join(["a" * 60] * 3) + ".example"
    signer = Signer(domain, "s" * 63, key)

    signed = signer.sign(content(f"ann@{domain}"), signed_at=SIGNED_AT)

    assert not re.search(rb"[^\r]\n|\r[^\n]", signed)
    header = signed.partition(b"\r\nFrom:")[0]
    assert all(len(line) <= 998 and line.isascii() for line in header.split(b"\r\n"))


def test_every_change_of_a_signed_header_or_the_body_is_seen(signer: Signer, key: bytes) -> None:
    headers = {
        "List-Unsubscribe": "<https://example.com/u>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Auto-Submitted": "auto-generated",
        "In-Reply-To": "<1@example.org>",
        "References": "<1@example.org>",
    }
    signed = signer.sign(content(headers=headers), signed_at=SIGNED_AT)
    signature, _, rest = signed.partition(b"\r\nFrom:")
    lines = (b"From:" + rest).split(b"\r\n")
    assert verifies(signed, key)

    for index, line in enumerate(lines):
        if line.strip():
            changed = [*lines[:index], line + b"x", *lines[index + 1 :]]
            assert not verifies(signature + b"\r\n" + b"\r\n".join(changed), key), line


@pytest.mark.parametrize(
    "name", ["From", "To", "Cc", "Reply-To", "Subject", "Date", "Content-Type", "Message-ID"]
)
def test_a_header_that_the_reader_trusts_cannot_be_added(
    name: str, signer: Signer, key: bytes
) -> None:
    signed = signer.sign(content(), signed_at=SIGNED_AT)
    signature, _, rest = signed.partition(b"\r\nFrom:")
    added = b"\r\n" + name.encode() + b": mallory@example.net"

    assert not verifies(signature + added + b"\r\nFrom:" + rest, key)
    assert not verifies(signed.replace(b"\r\n\r\n", added + b"\r\n\r\n", 1), key)


def test_other_headers_may_be_added_on_the_way(signer: Signer, key: bytes) -> None:
    signed = signer.sign(content(headers={"X-Mine": "1"}), signed_at=SIGNED_AT)

    assert verifies(b"Received: from a by b\r\nX-Other: 1\r\n" + signed, key)
    assert verifies(signed.replace(b"X-Mine: 1", b"X-Mine: 2"), key)


def test_a_header_that_is_not_there_is_signed_only_where_it_is_seen(signer: Signer) -> None:
    names = signed_names(signer.sign(content(), signed_at=SIGNED_AT))

    assert [names.count(name) for name in ("from", "to", "cc", "reply-to")] == [2, 2, 1, 1]
    assert not {"references", "list-unsubscribe", "auto-submitted"} & set(names)


@pytest.mark.parametrize(
    "from_", ["ann@news.example.com", '"ann@example.net, or" <ann@EXAMPLE.com>', "ann@example.com"]
)
def test_the_domain_and_its_subdomains_are_signed(from_: str, signer: Signer, key: bytes) -> None:
    assert verifies(signer.sign(content(from_), signed_at=SIGNED_AT), key)


@pytest.mark.parametrize(
    "from_", ["ann@example.net", "ann@badexample.com", '"ann@example.com" <ann@example.net>']
)
def test_a_mail_of_another_domain_stays_as_it_is(from_: str, signer: Signer) -> None:
    mail = content(from_)

    assert signer.sign(mail, signed_at=SIGNED_AT) == mail


def test_a_mail_with_no_from_or_two_stays_as_it_is(signer: Signer) -> None:
    for mail in (b"To: a@example.com\r\n\r\n", b"From: a@example.com\r\n" * 2 + b"\r\n"):
        assert signer.sign(mail, signed_at=SIGNED_AT) == mail


def test_the_time_of_signing_must_have_a_zone(signer: Signer) -> None:
    with pytest.raises(ValueError, match="timezone"):
        signer.sign(content(), signed_at=datetime(2026, 1, 2))


def test_the_key_is_read_from_a_file_in_either_form(key: bytes, tmp_path: Path) -> None:
    forms = [key, openssl("rsa", "-traditional", stdin=key), key.replace(b"\n", b"\r\n")]
    file = tmp_path / "key.pem"

    for form in forms:
        file.write_bytes(form)
        signer = Signer.from_file(domain="Example.COM", selector="mail2026", key_file=file)

        assert verifies(signer.sign(content(), signed_at=SIGNED_AT), key)


def test_a_missing_key_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't be read: No such file"):
        Signer.from_file(domain="example.com", selector="a", key_file=tmp_path / "none.pem")


def test_a_key_that_does_not_fit_is_a_clear_error_that_does_not_quote_it(key: bytes) -> None:
    lines = key.splitlines(keepends=True)
    octets = bytearray(base64.b64decode(b"".join(lines[1:-1])))
    octets[-64] ^= 1  # in the last number, which signing uses
    damaged = lines[0] + base64.encodebytes(octets) + lines[-1]
    keys = [
        b"",
        b"no key",
        b"".join(lines[:5]),
        b"".join([*lines[:5], lines[-1]]),
        damaged,
        openssl("pkey", "-aes128", "-passout", "pass:secret", stdin=key),
        openssl("genpkey", "-algorithm", "ed25519"),
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        rsa_key(512),
    ]
    for wrong in keys:
        with pytest.raises(ValueError, match="the DKIM key") as caught:
            Signer("example.com", "a", wrong)
        assert caught.value.__cause__ is None
        assert not any(line.decode()[:20] in str(caught.value) for line in lines[1:-1])


def test_a_key_below_2048_bits_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Signer("example.com", "a", rsa_key(1024))

    assert "the DKIM key has 1024 bits; 2048 are advised" in caplog.text


@pytest.mark.parametrize(
    ("domain", "selector"),
    [
        *(
            (domain, "s")
            for domain in ("", "a b.example", "exämple.com", "a..b", "a;d=b", "a.b\r\n")
        ),
        *(("example.com", selector) for selector in ("", "s;", "s\n", "a b", "ä")),
    ],
)
def test_a_domain_or_selector_that_would_break_the_header_is_refused(
    domain: str, selector: str
) -> None:
    with pytest.raises(ValueError, match="must be a domain name in ASCII"):
        Signer(domain, selector, b"")


def test_the_key_does_not_show(signer: Signer) -> None:
    assert repr(signer) == "<Signer mail2026._domainkey.example.com>"
