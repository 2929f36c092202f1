"""The filters and tests of templates: allow-listed, and within the budget.

Left out is what takes more than linear time (``striptags``, ``urlize``, ``wordwrap``), and what
is of no use in mails (``pprint``, ``random``, ``xmlattr``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import cast

from jinja2 import pass_eval_context
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nodes import EvalContext
from jinja2.tests import TESTS as JINJA_TESTS
from markupsafe import escape

from mailing.templates.budget import format_size, require, spend, strip_size, text_size
from mailing.templates.variables import NESTING

# These filters take text; a list or object is converted to text first, which is limited, too.
_TEXT_FILTERS = """
capitalize center e escape filesizeformat forceescape format indent lower replace safe string
title tojson trim truncate upper urlencode wordcount
"""
_OTHER_FILTERS = """
abs attr batch count d default dictsort first float groupby int items last length list map max
min reject rejectattr reverse round select selectattr slice sort sum unique
"""


def _indent_size(value: str, width: int | str = 4, *_: object, **__: object) -> int:
    each = len(width) if isinstance(width, str) else width
    return (len(str(value).splitlines()) + 1) * each


def _replace_size(value: str, old: str, new: str, count: int | None = None) -> int:
    text, old = str(value), str(old)
    found = max(text.count(old), escape(text).count(old))
    return found * len(escape(str(new)))


def _sum_size(value: object, attribute: object = None, start: float = 0) -> int:
    if not isinstance(start, int | float):  # lists take quadratic time
        raise TypeError("only numbers are summed here")
    return 0


#: Upper bounds of what a filter makes beyond its value.
_SIZES: dict[str, Callable[..., int]] = {
    "batch": lambda value, linecount, fill_with=None: linecount,
    "center": lambda value, width=80: width,
    "format": lambda value, *args, **kwargs: format_size(str(value), args or (kwargs,)),
    "indent": _indent_size,
    "replace": _replace_size,
    "round": lambda value, precision=0, method="common": precision * precision,
    "slice": lambda value, slices, fill_with=None: slices,
    "sum": _sum_size,
    "tojson": lambda value, indent=None: text_size(value) * NESTING * (indent or 0),
    "trim": lambda value, chars=None: strip_size(chars),
}


def _bounded_filter(name: str) -> Callable[..., object]:
    function: Callable[..., object] = JINJA_FILTERS[name]
    size = _SIZES.get(name)
    # Some filters get Jinja2's context as their first argument.
    value_at = 1 if hasattr(function, "jinja_pass_arg") else 0
    takes_text = name in _TEXT_FILTERS.split()

    @functools.wraps(function)
    def bounded(*args: object, **kwargs: object) -> object:
        if takes_text and isinstance(args[value_at], list | tuple | dict):
            text_size(args[value_at])
        if size is not None:
            require(size(*args[value_at:], **kwargs))
        result = function(*args, **kwargs)
        spend(result)
        return result

    return bounded


def _bounded_test(name: str) -> Callable[..., object]:
    function = cast(Callable[..., object], JINJA_TESTS[name])

    @functools.wraps(function)
    def bounded(*args: object, **kwargs: object) -> object:
        spend()
        return function(*args, **kwargs)

    return bounded


@pass_eval_context
def _join(
    eval_ctx: EvalContext,
    value: Iterable[object],
    d: str = "",
    attribute: str | int | None = None,
) -> object:
    items = list(value)
    require(len(items) * len(escape(str(d))))
    text_size(items)
    result = JINJA_FILTERS["join"](eval_ctx, items, d, attribute)
    spend(result)
    return result


#: What a template may call, by name.
FILTERS: dict[str, Callable[..., object]] = {
    **{name: _bounded_filter(name) for name in (_TEXT_FILTERS + _OTHER_FILTERS).split()},
    "join": _join,
}
TESTS = {name: _bounded_test(name) for name in JINJA_TESTS}
