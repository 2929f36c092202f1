"""What stops TLS is said in words that tell what to look at."""

from __future__ import annotations

import ssl

import pytest
from pika.exceptions import IncompatibleProtocolError

from bridge.tls import explained

NO_TLS = "no TLS is spoken there, or it was cut off"
NOT_US = "the broker refuses our certificate, or has got none of us"
ALERT = "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)"


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (ssl.SSLError(1, ALERT), NOT_US),
        (IncompatibleProtocolError(f"StreamLostError: (SSLError(1, '{ALERT}'),)"), NOT_US),
        (ssl.SSLError(1, "[SSL: SSLV3_ALERT_BAD_CERTIFICATE] bad certificate"), NOT_US),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"), NOT_US),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2427)"), NO_TLS),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
    ],
)
def test_who_refuses_whom_is_told_apart(exc: Exception, said: str) -> None:
    assert explained(exc).startswith(said)
