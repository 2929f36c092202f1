"""``/openapi.json``: the description of the HTTP API."""
