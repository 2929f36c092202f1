"""Handing mails to a relay: addresses, sessions, transactions (RFC 5321)."""
