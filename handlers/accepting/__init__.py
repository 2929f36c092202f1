"""Accepting mails: queue and ledger, daily quotas, backpressure; knows nothing of HTTP."""
