"""Where templates are read from: a folder, and nothing outside of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import jinja2


class FolderLoader(jinja2.FileSystemLoader):
    """Reads UTF-8 files in a folder. Symbolic links may point within the folder, not out of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        """Return the file's text, its path, and whether it is still the same.

        Raises:
            TemplateNotFound: there is no such file.
            TemplateSyntaxError: it is not UTF-8, or a link that leads out.
            OSError: it can't be read.
        """
        try:
            source, path, up_to_date = super().get_source(environment, template)
        except UnicodeDecodeError:
            raise jinja2.TemplateSyntaxError("is not UTF-8", 1, template) from None
        if not Path(path).resolve().is_relative_to(self._folder.resolve()):
            raise jinja2.TemplateSyntaxError("leads out of the template folder", 1, template)
        return source, path, up_to_date

    def place_of(self, traceback: TracebackType | None) -> tuple[str, int] | None:
        """Return the template's file and line that an error comes from."""
        place = None
        while traceback is not None:
            file = Path(traceback.tb_frame.f_code.co_filename)
            if file.is_relative_to(self._folder):
                place = str(file.relative_to(self._folder)), traceback.tb_lineno
            traceback = traceback.tb_next
        return place
