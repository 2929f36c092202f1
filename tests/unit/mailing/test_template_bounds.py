"""Filling in a template takes bounded time and memory, whatever its variables hold."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailing.errors import InvalidMessage, TemplateError
from mailing.templates.budget import Budget, limited, text_size
from mailing.templates.rendering import Templates

#: CPU time of one step, beyond the time allowed; tracemalloc makes it slower than it is.
SLACK_S = 0.5


def open_folder(
    folder: Path, files: Mapping[str, str], *, timeout_s: float = 1.0, output_bytes: int = 1 << 20
) -> Templates:
    """Write a template ``welcome`` of a subject and these files."""
    (folder / "welcome").mkdir()
    for name, source in {"subject.txt": "Hello", **files}.items():
        (folder / "welcome" / name).write_text(source)
    return Templates(folder, timeout_s=timeout_s, output_bytes=output_bytes)


def refusal(templates: Templates, variables: Mapping[str, object]) -> str:
    with pytest.raises(InvalidMessage) as caught:
        templates.render("welcome", variables)
    return str(caught.value)


LONG = "x" * 100_000
LINES = "\n" * 700_000
MANY = list(range(10_000))
HUGE = 10**9
#: Each asks for gigabytes, or for minutes, by its variables or by mistake.
GREEDY = [
    "{{ text * huge }}",
    "{{ huge * text }}",
    "{{ text[0] * huge }}",
    "{{ huge * text[0] }}",
    "{{ 5000 * many }}",
    "{{ huge ** huge }}",
    "{{ (huge ** 400) ** 400 }}",
    "{{ 'x'|center(huge) }}",
    "{{ text|replace('', text) }}",
    "{{ text|replace('x', text) }}",
    "{{ many|join(text) }}",
    "{{ 'a\nb'|indent(huge) }}",
    "{{ ('a\n' * 10000)|indent(text) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (huge, 1) }}",
    "{{ '%.*f' % (huge, 1) }}",
    "{{ '%1000000000s'|format(1) }}",
    "{{ '%((a))1000000000d' % {'(a)': 1} }}",
    "{{ '" + "%s" * 301 + "' % (''" + ", lines" * 300 + ") }}",
    "{{ '" + "%s" * 301 + "'|format(''" + ", lines" * 300 + ") }}",
    "{{ 1.5|round(huge, 'ceil') }}",
    "{{ many|batch(huge, 'x')|list }}",
    "{{ many|slice(huge)|list }}",
    "{{ [many, many]|sum(start=[]) }}",
    "{{ many|tojson(indent=huge) }}",
    "{{ 'x'.ljust(huge) }}",
    "{{ 'x'.zfill(huge) }}",
    "{{ '\t'.expandtabs(huge) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "{{ text.join(text) }}",
    "{{ text.replace('', text) }}",
    "{{ (text * 2).rfind('xy' ~ text) }}",
    "{{ (text * 2).rindex('xy' ~ text) }}",
    "{{ (text * 2).rsplit('xy' ~ text) }}",
    "{{ (text * 2).rpartition('xy' ~ text) }}",
    "{{ (text * 5).strip('y' * 500000 ~ 'x') }}",
    "{{ (text * 5).lstrip('y' * 500000 ~ 'x') }}",
    "{{ (text * 5).rstrip('y' * 500000 ~ 'x') }}",
    "{{ (text * 5)|trim('y' * 500000 ~ 'x') }}",
    "{{ huge.to_bytes(huge) }}",
    "{{ range(huge) }}",
    "{{ lipsum(huge) }}",
    "{{ many|select('in', many)|select('in', many)|select('in', many)|list|length }}",
    "{% for a in many %}{% for b in many %}{% endfor %}{% endfor %}",
    "{% for a in many %}{% for b in many %}{{ text }}{% endfor %}{% endfor %}",
    "{% set x %}{% for a in many[:2000] %}{{ text }}{% endfor %}{% endset %}",
    "{% set x %}{% for a in many[:2000] %}" + LONG + "{% endfor %}{% endset %}",
    "{% macro m() %}" + LONG + "{% endmacro %}{{ m()|length }}" * 2000,
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(50) }}",
    "{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}",
    "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x }}",
    "{% set n = namespace(x=[]) %}{% for i in some %}{% set n.x = n.x + [text] %}{% endfor %}"
    "{{ n.x|join }}",
    "{% set n = namespace(x=[]) %}{% for i in some %}{% set n.x = n.x + [text] %}{% endfor %}"
    "{{ n.x|string }}",
    "{% set n = namespace(x=[]) %}{% for i in some %}{% set n.x = n.x + [text] %}{% endfor %}"
    "{{ n.x ~ '' }}",
    "{% set n = namespace(x=[]) %}{% for i in many %}{% set n.x = [n.x, lines[1:]] %}{% endfor %}",
    "{% set n = namespace(x=[]) %}{% for i in many %}{% set n.x = [n.x, lines.partition('\n')] %}"
    "{% endfor %}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}",
]


@pytest.mark.parametrize("source", GREEDY, ids=lambda source: source[:60])
def test_no_template_takes_much_time_or_memory(source: str, tmp_path: Path) -> None:
    templates = open_folder(tmp_path, {"text.txt": source}, timeout_s=0.1)
    tracemalloc.start()
    begin = time.thread_time()

    with pytest.raises((InvalidMessage, TemplateError)):
        templates.render(
            "welcome",
            {"text": LONG, "huge": HUGE, "many": MANY, "some": MANY[:2000], "lines": LINES},
        )

    taken_s = time.thread_time() - begin
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken_s < 0.1 + SLACK_S
    assert peak_bytes < 100e6


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    )
)
def test_the_size_of_a_value_is_not_below_its_text(value: object) -> None:
    with limited(Budget(cpu_s=10, characters=10**9)):
        assert text_size(value) >= len(str(value))


def test_a_text_is_stripped_of_what_is_usual(tmp_path: Path) -> None:
    source = "{{ a.strip() }} {{ a.strip(' .') }} {{ a|trim }} {{ a|trim(' .') }}"

    text = open_folder(tmp_path, {"text.txt": source}).render("welcome", {"a": " a. "}).text

    assert text == "a. a a. a"


def test_a_slow_template_says_so(tmp_path: Path) -> None:
    source = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}"

    error = refusal(open_folder(tmp_path, {"text.txt": source}, timeout_s=0.05), {})

    assert error == "template: takes more than 0.05 s to fill in"


def test_a_greedy_template_says_so(tmp_path: Path) -> None:
    error = refusal(open_folder(tmp_path, {"text.txt": "{{ 'x' * 10000000 }}"}), {})

    assert re.fullmatch(r"template: makes more than \d+ characters", error)


def test_waiting_is_no_spending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not decide which mails are valid."""
    templates = open_folder(tmp_path, {"text.txt": "{% for a in range(50) %}{{ a }}{% endfor %}"})
    clock = iter(range(1_000_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) * 10.0)

    assert templates.render("welcome", {}).text.startswith("0123")


def test_the_output_is_counted_in_bytes_over_all_three_files(tmp_path: Path) -> None:
    files = {"text.txt": "{{ a }}", "html.html": "{{ a }}"}
    templates = open_folder(tmp_path, files, output_bytes=105)

    assert templates.render("welcome", {"a": "x" * 50}).text == "x" * 50
    for variables in ({"a": "x" * 51}, {"a": "ä" * 26}):
        assert refusal(templates, variables) == "template: makes a mail of more than 105 bytes"
