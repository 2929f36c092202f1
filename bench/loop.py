"""The bare loop: builds mails with ``EmailMessage`` and sends them by ``smtplib`` on one session.

``python -m bench.loop PORT COUNT``. It keeps no record and asks nobody what to send.
"""

from __future__ import annotations

import smtplib
import sys
from email.message import EmailMessage

TEXT = "Grüße aus Köln, and a line of plain words to follow.\n" * 48  # about 2.5 KB
HTML = "<p>Grüße aus Köln, and a line of plain words.</p>\n" * 48


def compose(number: int, text: str, html: str) -> EmailMessage:
    """Build the mail that all senders send: about 5 KB, text and HTML."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "from@example.com", "ann@example.com"
    mail["Subject"] = f"Mail {number}"
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    return mail


def main(port: int, count: int) -> None:
    """Build and send the mails one after the other."""
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        for number in range(count):
            smtp.send_message(compose(number, TEXT, HTML))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
