"""``/openapi.json``: what can be asked here."""
