"""Fills in the operator's templates, and explains their errors.

``<id>/subject.txt``, ``<id>/text.txt`` and ``<id>/html.html``, in Jinja2. They may include and
extend any file in the template folder, by its path from there; a folder such as ``_layout`` is no
template itself. A file that has changed is read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import jinja2
import msgspec
from jinja2.exceptions import SecurityError

from mailing.errors import InvalidMessage, MailError, TemplateError
from mailing.templates.budget import Budget, limited
from mailing.templates.files import FolderLoader
from mailing.templates.sandbox import Sandbox
from mailing.templates.variables import check_variables

#: How many characters may be made for each octet of output: macros, blocks and filters each make a
#: new text.
WORK_FACTOR = 8

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

# Errors that are the template's fault, not the variables'.
_FAULTS: dict[type[Exception], str] = {
    jinja2.TemplateNotFound: "takes in a file that is not there",
    jinja2.TemplatesNotFound: "takes in a file that is not there",
    jinja2.TemplateRuntimeError: "asks for something that is not there",
    SecurityError: "does something that templates may not do here",
    RecursionError: "takes itself in again and again",
}


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A template that was filled in. ``html`` is None if the template has none."""

    subject: str
    text: str
    html: str | None

    def __repr__(self) -> str:
        return f"<Rendered, {'text' if self.html is None else 'text and HTML'}>"


class Templates:
    """The templates in a folder; may be used from any thread."""

    def __init__(
        self, folder: Path, *, timeout_s: float = 1.0, output_bytes: int = 1 << 20
    ) -> None:
        """Name the folder; nothing is read yet.

        Args:
            folder: symbolic links in it may lead to other places in it, not out of it.
            timeout_s: CPU time for filling in one template.
            output_bytes: of one template's subject, text and HTML together, and of the variables.
        """
        self._folder = folder.absolute()
        self._timeout_s = timeout_s
        self._output_bytes = output_bytes
        self._loader = FolderLoader(self._folder)
        self._sandbox = Sandbox(self._loader)

    def render(self, template_id: str, variables: Mapping[str, object]) -> Rendered:
        """Fill in a template. Takes CPU time and reads files: not for the event loop's thread.

        Args:
            template_id: a folder's name, of letters, digits, ``_`` and ``-``.
            variables: plain JSON data.

        Raises:
            InvalidMessage: ``template.id``: there is no such template; ``template.variables``: a
                variable is missing (by name) or does not fit; ``template``: it takes too long
                or makes too much; ``subject``: it holds a line break.
            TemplateError: the template's files are at fault.
        """
        if not _ID.fullmatch(template_id) or not (self._folder / template_id).is_dir():
            raise InvalidMessage("template.id", "is not one of the templates here")
        checked = check_variables(variables, self._output_bytes)
        characters = self._output_bytes * WORK_FACTOR
        with limited(Budget(cpu_s=self._timeout_s, characters=characters)):
            subject, text, html = self._parts(template_id, checked)
        if subject is None:
            raise TemplateError(f"{template_id}/subject.txt", None, "is missing")
        if text is None and html is None:
            raise TemplateError(f"{template_id}/text.txt", None, "is missing, and html.html too")
        return Rendered(subject=_one_line(subject), text=text or "", html=html)

    def _parts(self, template_id: str, variables: dict[str, object]) -> list[str | None]:
        left = self._output_bytes
        parts: list[str | None] = []
        for name in ("subject.txt", "text.txt", "html.html"):
            part = self._fill_in(f"{template_id}/{name}", variables, left)
            left -= len((part or "").encode())
            parts.append(part)
        return parts

    def _fill_in(self, file: str, variables: dict[str, object], left: int) -> str | None:
        """Return what the file makes, None if there is no such file."""
        with self._explained(file):
            try:
                template = self._sandbox.get_template(file)
            except jinja2.TemplateNotFound:
                return None
            pieces, size = [], 0
            for piece in template.generate(variables):
                pieces.append(piece)
                size += len(piece)
                if size > left:
                    self._too_long()
        text = "".join(pieces)
        try:
            if len(text.encode()) > left:
                self._too_long()
        except UnicodeEncodeError:  # its text quotes the character
            raise InvalidMessage(
                "template.variables", "hold a lone surrogate, which is not a character"
            ) from None
        return text

    def _too_long(self) -> NoReturn:
        raise InvalidMessage("template", f"makes a mail of more than {self._output_bytes} bytes")

    @contextmanager
    def _explained(self, file: str) -> Iterator[None]:
        """Turn what Jinja2 raises into our errors, none of which quotes a variable."""
        try:
            yield
        except MailError:
            raise
        except jinja2.TemplateSyntaxError as error:
            problem = error.message or "has a syntax error"
            raise TemplateError(error.name or file, error.lineno, problem) from None
        except jinja2.UndefinedError as error:
            raise InvalidMessage("template.variables", self._missing(error.message)) from None
        except Exception as error:  # noqa: BLE001 -- whatever {{ a + b }} raises
            raise self._explanation(error, file) from None

    def _explanation(self, error: Exception, file: str) -> MailError:
        where, line = self._loader.place_of(error.__traceback__) or (file, None)
        fault = _FAULTS.get(type(error), "can't be read" if isinstance(error, OSError) else None)
        if fault is not None:
            return TemplateError(where, line, fault)
        at = where if line is None else f"{where}, line {line}"
        return InvalidMessage("template.variables", f"do not fit the template ({at})")

    def _missing(self, name: str | None) -> str:
        # Shown only if a template contains the name: in {{ names[key] }} it is a variable's value.
        if name and name in self._sandbox.names and _NAME.fullmatch(name):
            return f"must hold '{name}'"
        return "must hold everything that the template asks for"


def _one_line(subject: str) -> str:
    line = subject.strip("\r\n")
    if len(line.splitlines()) > 1:
        raise InvalidMessage("subject", "holds a line break, from the template or its variables")
    return line
