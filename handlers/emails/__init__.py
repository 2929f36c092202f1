"""``/emails``, after Resend's API."""
