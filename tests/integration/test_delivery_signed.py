"""With DKIM set, what arrives at the relay has a valid signature."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import dkim  # type: ignore[import-untyped] # dkimpy has no types

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.delivery_parts import parts


def make_key(file: Path) -> bytes:
    """Write a new private key, and return its DNS record."""
    openssl = ["openssl", "genrsa", "-traditional", "-out", str(file), "2048"]
    subprocess.run(openssl, check=True, capture_output=True)
    public = ["openssl", "rsa", "-in", str(file), "-pubout", "-outform", "DER"]
    der = subprocess.run(public, check=True, capture_output=True).stdout
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def test_a_signature_arrives_whole(broker: BrokerNode, tmp_path: Path) -> None:
    record = make_key(tmp_path / "key.pem")
    env = {
        "DKIM": "example.com:spring",
        "DKIM_KEY_FILE": str(tmp_path / "key.pem"),
        "MAIL_FROM": "shop@example.com",
    }
    with parts(broker, tmp_path, free_port(), **env) as mails:
        mails.relay.behave(refuse_4xx=True)
        email_id = mails.send(text=".\nA line with a dot in front.\n..", html="<p>Grüße</p>")
        mails.when(email_id, "delivery_delayed")
        mails.relay.behave()
        mails.when(email_id, "sent")
        (mail,) = mails.relay.mails

    assert dkim.verify(mail.content, dnsfunc=lambda name, **_: record)


def test_a_mail_waits_for_a_key_that_broke_after_the_start(
    broker: BrokerNode, tmp_path: Path
) -> None:
    file = tmp_path / "key.pem"
    make_key(file)
    good = file.read_bytes()
    env = {"DKIM": "example.com:spring", "DKIM_KEY_FILE": str(file)}
    with parts(broker, tmp_path, free_port(), **env) as mails:
        file.write_text("no key")
        email_id = mails.send(from_="shop@example.com")
        mails.until_log(f"mail {email_id} waits for a key to sign it")
        file.write_bytes(good)
        mails.when(email_id, "sent")
        (mail,) = mails.relay.mails

    assert mail.content.startswith(b"DKIM-Signature:")
