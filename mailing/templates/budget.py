"""Limits of filling in one template: CPU time, and the text that is made on the way.

Python threads cannot be stopped from outside, so each step of a template calls this module:
``spend`` counts a step that was done, ``require`` checks a step before it makes much text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jinja2.exceptions import SecurityError

from mailing.errors import InvalidMessage

#: Bits of the largest whole number that a template may calculate.
INTEGER_BITS = 4096
#: Most characters in the argument of ``strip``: each one of the text is looked up among them.
STRIPPED = 256

# A width or precision that is taken from the arguments, or has four digits; or a named argument,
# whose name could contain anything.
_WIDE = re.compile(r"%[-+ #0]*(?:\*|\d{4}|\d*\.(?:\*|\d{4}))|%\(")
# The most characters of one conversion: 999 places and 309 digits, and ten characters for each
# character of the argument (%a).
_CONVERSION = 1500
_CONVERSION_FACTOR = 10
# The characters around an entry of an object ("'': '', "), and the length of a number.
_ENTRY = 8
_NUMBER = 24


class Budget:
    """``cpu_s`` is the thread's CPU time, so that no mail fails because the machine is busy."""

    def __init__(self, *, cpu_s: float, characters: int) -> None:
        self._cpu_s = cpu_s
        self._deadline = time.thread_time() + cpu_s
        self._characters = characters
        self.left = characters

    def require(self, size: int) -> None:
        """Check that ``size`` more characters may be made.

        Raises:
            InvalidMessage: they may not.
        """
        if size > self.left:
            raise InvalidMessage("template", f"makes more than {self._characters} characters")

    def spend(self, size: int = 0) -> None:
        """Count a step that was done, and the ``size`` characters that it made.

        Raises:
            InvalidMessage: that was too much, or the time is over.
        """
        self.require(size)
        self.left -= size
        if time.thread_time() > self._deadline:
            raise InvalidMessage("template", f"takes more than {self._cpu_s:g} s to fill in")


_budget: ContextVar[Budget] = ContextVar("template_budget")


@contextmanager
def limited(budget: Budget) -> Iterator[None]:
    """Count what this thread's templates do within the block against ``budget``."""
    token = _budget.set(budget)
    try:
        yield
    finally:
        _budget.reset(token)


def require(size: int) -> None:
    """See ``Budget.require``."""
    _budget.get().require(size)


def spend(value: object = None) -> None:
    """Note that a step was done, with this result. See ``Budget.spend``."""
    _budget.get().spend(len(value) if isinstance(value, str | list | tuple | dict) else 0)


def spend_size(size: int) -> None:
    """See ``Budget.spend``."""
    _budget.get().spend(size)


def text_size(value: object) -> int:
    """Return roughly how long ``str(value)`` is; stop as soon as it is beyond the budget.

    Lists may hold the same text many times over, so ``len`` says nothing.

    Raises:
        InvalidMessage: beyond the budget.
    """
    budget, total, rest = _budget.get(), 0, [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, list | tuple | dict):
            budget.spend()
            total += _ENTRY * (len(item) + 1)
            rest.extend(item)
            if isinstance(item, dict):
                rest.extend(item.values())
        else:
            total += _NUMBER + (item.bit_length() // 3 if isinstance(item, int) else 0)
        budget.require(total)
    return total


def format_size(template: str, arguments: tuple[object, ...]) -> int:
    """Return an upper bound of the length of ``template % arguments``.

    Raises:
        SecurityError: a width comes from the arguments or is above 999, or arguments are named.
    """
    if _WIDE.search(template):
        raise SecurityError("% takes no names and no wide fields here")
    longest = max(map(text_size, arguments), default=0)
    each = _CONVERSION + _CONVERSION_FACTOR * longest
    return len(template) + template.count("%") * each


def strip_size(chars: object = None) -> int:
    """Return 0: stripping makes no text.

    Raises:
        InvalidMessage: ``chars`` is so long that this one step would take long.
    """
    if isinstance(chars, str) and len(chars) > STRIPPED:
        raise InvalidMessage("template", f"strips a text of more than {STRIPPED} characters")
    return 0


def result_size(operator: str, left: object, right: object) -> int:
    """Return an upper bound of what ``left operator right`` makes, in characters or items.

    Raises:
        InvalidMessage: a whole number gets too large.
        SecurityError: a list is multiplied (it would hold the same things many times over).
    """
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() + right.bit_length()
        if operator == "**":
            bits = left.bit_length() * abs(right)
        if bits > INTEGER_BITS:
            raise InvalidMessage("template", "calculates with a number that is too large")
    elif operator == "*":
        return _repeated_size(left, right)
    elif operator == "%" and isinstance(left, str):
        return format_size(left, right if isinstance(right, tuple) else (right,))
    elif operator == "+" and isinstance(left, str | list | tuple):
        return len(left) + (len(right) if isinstance(right, str | list | tuple) else 0)
    return 0


def _repeated_size(left: object, right: object) -> int:
    if isinstance(left, list | tuple) or isinstance(right, list | tuple):
        raise SecurityError("lists can't be multiplied here")
    if isinstance(left, str) and isinstance(right, int):
        return len(left) * right
    if isinstance(right, str) and isinstance(left, int):
        return len(right) * left
    return 0
