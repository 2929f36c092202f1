"""A setting: its default, help and check; converting its text, and masking its value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config_checks import Check, split_url

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``help`` states the unit; ``secret`` masks it wherever it is shown."""

    group: str
    name: str
    default: Value
    help: str
    check: Check | None = None
    secret: bool = False

    def convert(self, text: str) -> Value:
        """Turn a variable's or a flag's text into this setting's type.

        Raises:
            ValueError: the text is not a number where one is needed; says so.
        """
        try:
            return type(self.default)(text)
        except ValueError:  # texts never fail, and all secrets are texts, so none is shown
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise ValueError(f"{text!r} is not {kind}") from None

    def masked(self, value: Value) -> str:
        """Return a value as text with any password replaced by ``***``."""
        text = str(value)
        if not self.secret or not text or text.startswith("sqlite:"):
            return text
        if self.name == "task_signing_keys":
            return "***"  # all of it is secret, also before a colon
        return ";".join(_mask(part) for part in re.split(r";(?=amqps?://)", text))


def _mask(text: str) -> str:
    """Mask what is between the user's name and the last @, and passwords in the query."""
    if "://" not in text or split_url(text) is None:
        user, colon, _ = text.partition(":")
        return f"{user}:***" if colon else "***"
    shown = re.sub(r"^([a-z]+://[^:@/?#]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", shown)
