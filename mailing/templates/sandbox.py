"""What a template may do with its variables: Jinja2's sandbox, with a budget.

The operator writes the templates; clients send the variables. Whatever these are, filling in a
template must take limited time and memory. Jinja2's sandbox does not limit them: with
``{{ text * count }}`` or ``{{ text|replace(old, new) }}`` one step may make gigabytes, and cannot
be interrupted. A template that loops for ever by mistake must end, too.

- Every turn of a loop, every output, and every call of a macro, block, include, function, filter
  or test spends from the budget of ``mailing.templates.budget``.
- What makes more than its input in one step (``*``, ``join``, ``replace`` ...) is checked before.
- Filters, and attributes of texts, lists and objects, are allow-listed. ``str.format``, ``join``
  and ``replace`` are not among the attributes: there are filters for that. Nor are those that
  search from the end: in CPython that is one step of quadratic time (0.3 MB in 0.7 MB: 18 s).

Not bounded: compiling a template, and a template that is itself malicious (it compares lists that
hold each other thousands of times).
"""

from __future__ import annotations

from jinja2 import BaseLoader, StrictUndefined, nodes, pass_context
from jinja2.exceptions import TemplateRuntimeError, UndefinedError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from mailing.templates.budget import (
    require,
    result_size,
    spend,
    spend_size,
    strip_size,
    text_size,
)
from mailing.templates.filters import FILTERS, TESTS

_TEXT_ATTRIBUTES = """
capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit islower
isnumeric isspace istitle isupper lower lstrip partition removeprefix removesuffix rstrip split
splitlines startswith strip swapcase title upper
"""
_STRIPPING = frozenset(["lstrip", "rstrip", "strip"])
_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (str, frozenset(_TEXT_ATTRIBUTES.split())),
    (dict, frozenset(["get", "items", "keys", "values"])),
    (tuple, frozenset(["count", "index", "grouper", "list"])),  # the last two: of groupby
    (list, frozenset(["count", "index"])),
    (int, frozenset()),
    (float, frozenset(["is_integer"])),
)
# Names of internal filters: with a space, so that no template can call them.
_STEP, _OPERAND, _MADE = " step", " operand", " made"


@pass_context
def _step(_: Context, size: int) -> None:
    spend_size(size)


@pass_context
def _operand(_: Context, value: object) -> object:
    spend_size(text_size(value))
    return value


@pass_context
def _output(_: Context, value: object) -> str:
    if not isinstance(value, str):
        text_size(value)
        value = str(value)
    spend(value)
    return value


@pass_context
def _made(_: Context, value: object) -> object:
    spend(value)
    return value


class _Steps(NodeTransformer):
    """Adds a call of ``_step`` at the beginning of whatever may run often, and counts what ``~``
    joins and what a slice copies, for which Jinja2 has no hook."""

    def _with_step(self, node: nodes.Node) -> nodes.Node:
        size = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        step = nodes.Filter(nodes.Const(size), _STEP, [], [], None, None, lineno=node.lineno)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))  # type: ignore[attr-defined] # all that come here have a body
        return node

    visit_Template = visit_Block = visit_For = _with_step  # noqa: N815 -- Jinja2's names
    visit_Macro = visit_CallBlock = _with_step  # noqa: N815 -- as above

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802 -- as above
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        return nodes.Filter(node, _MADE, [], [], None, None, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 -- as above
        self.generic_visit(node)
        node.nodes = [
            nodes.Filter(operand, _OPERAND, [], [], None, None, lineno=node.lineno)
            for operand in node.nodes
        ]
        return node


class _Missing(StrictUndefined):
    """A variable that is not there. The error's message is its name alone."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: object = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        if hint and name and exc is UndefinedError:
            exc = TemplateRuntimeError  # for a macro, block or argument, not a variable
        super().__init__(hint, obj, name, exc)

    @property
    def _undefined_message(self) -> str:
        return self._undefined_name if isinstance(self._undefined_name, str) else ""


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates; values are escaped in files that end in ``.html``."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, loader: BaseLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=_Missing,
            finalize=_output,
            autoescape=lambda name: name is not None and name.endswith(".html"),
        )
        #: Every name and text constant in the templates so far: these may be shown in errors.
        self.names: set[str] = set()
        del self.globals["lipsum"]
        self.filters = {**FILTERS, _STEP: _step, _OPERAND: _operand, _MADE: _made}
        self.tests = {**TESTS}

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        self.names.update(node.name for node in source.find_all(nodes.Name))
        self.names.update(node.attr for node in source.find_all(nodes.Getattr))
        for node in source.find_all(nodes.Const):
            if isinstance(node.value, str):
                self.names.update(node.value.split("."))  # attribute='address.city'
        return super()._generate(_Steps().visit(source), name, filename, defer_init)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        require(result_size(operator, left, right))
        result: object = super().call_binop(context, operator, left, right)
        spend(result)
        return result

    def call(self, context: Context, obj: object, /, *args: object, **kwargs: object) -> object:
        if getattr(obj, "__name__", None) in _STRIPPING:
            require(strip_size(*args))
        result: object = super().call(context, obj, *args, **kwargs)
        # A text's methods (split, partition) make new parts, so these are counted, too.
        is_parted = isinstance(getattr(obj, "__self__", None), str)
        spend_size(text_size(result)) if is_parted else spend(result)
        return result

    def getattr(self, obj: object, attribute: str) -> object:
        # For {{ order.items }} an object's entry "items" goes first; Jinja2 would take the method.
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: object) -> None:
        """``str.format`` is refused as an attribute; Jinja2 would wrap it before it looks."""

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        for kind, names in _ATTRIBUTES:
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)
