"""TLS to the broker: always verified, by name, and in the same way by both client libraries.

By itself, kombu accepts for ``amqps://`` any certificate of a known authority, whatever name it is
for; given a name, it keeps the first broker's for all others in a list.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.pyamqp import SSLTransport

#: Members of Celery's setting ``broker_use_ssl`` (Flower reads the first for RabbitMQ's management
#: API): files of authorities (without: the system's), of our own certificate and of its key.
AUTHORITIES, CERTIFICATE, KEY = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"

#: What OpenSSL calls an answer that is not TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
#: What OpenSSL calls a broker's refusal of our certificate; pika gives it within a longer text.
_NOT_US = re.compile("ALERT_(?:[A-Z_]*CERTIFICATE[A-Z_]*|UNKNOWN_CA|HANDSHAKE_FAILURE)")

Options = Mapping[str, Any]


def client_context(options: Options) -> ssl.SSLContext:
    """Return the context of a client that verifies its broker.

    Raises:
        OSError: a file cannot be read, or is not of its kind; also where the key has a password.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it checks certificates and names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.get(AUTHORITIES):
        context.load_verify_locations(options[AUTHORITIES])
    else:
        context.load_default_certs()
    if options.get(CERTIFICATE):
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(options[CERTIFICATE], options.get(KEY), password=lambda: b"")
    return context


def explained(exc: BaseException) -> str:
    """Say what stopped a connection; if it was TLS, in words that say what to check."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the broker's certificate is refused: {exc.verify_message}"
    reason = getattr(exc, "reason", None)
    if isinstance(exc, ssl.SSLEOFError) or reason in _NO_TLS:
        return f"no TLS is spoken there, or it was cut off ({reason or 'end of file'})"
    if alert := _NOT_US.search(str(exc)):
        return f"the broker refuses our certificate, or has got none of us ({alert[0]})"
    return f"{type(exc).__name__}: {exc}".rstrip(": ")


class VerifiedTransport(SSLTransport):
    """kombu's ``amqps://``, with the options of :func:`client_context`."""

    def establish_connection(self) -> Any:
        """Connect; raises ConnectionError where TLS fails, and what kombu raises."""
        client = self.client
        given, name = client.ssl, client.hostname
        options = given if isinstance(given, Mapping) else {}
        client.ssl = {
            "ca_certs": options.get(AUTHORITIES),
            "certfile": options.get(CERTIFICATE),
            "keyfile": options.get(KEY),
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": name,
            "tls_minimum_version": ssl.TLSVersion.TLSv1_2,
        }
        try:
            return super().establish_connection()
        except ssl.SSLError as exc:
            raise ConnectionError(explained(exc)) from exc
        finally:
            client.ssl, client.hostname = given, name  # kombu has made `localhost` an address


TRANSPORT_ALIASES["amqps"] = f"{__name__}:{VerifiedTransport.__name__}"
