"""Templates become mails; whoever controls the variables gets no more than a mail."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from markupsafe import Markup

from mailing.errors import InvalidMessage, TemplateError
from mailing.templates.rendering import Rendered, Templates

Write = Callable[..., Templates]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes ``{"welcome/text.txt": "..."}`` and opens the folder."""

    def _write(
        files: Mapping[str, str], *, timeout_s: float = 1.0, output_bytes: int = 1 << 20
    ) -> Templates:
        for name, source in {"welcome/subject.txt": "Hello", **files}.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(source)
        return Templates(tmp_path, timeout_s=timeout_s, output_bytes=output_bytes)

    return _write


@pytest.fixture
def fill_in(write: Write) -> Callable[..., str]:
    """Return a function that gives the text that a source makes of variables."""

    def _fill_in(source: str, **variables: object) -> str:
        return write({"welcome/text.txt": source}).render("welcome", variables).text

    return _fill_in


def refusal(templates: Templates, variables: Mapping[str, object] | None = None) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        templates.render("welcome", {} if variables is None else variables)
    # Jinja2's errors quote variables.
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def fault(templates: Templates, variables: Mapping[str, object] | None = None) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        templates.render("welcome", variables or {})
    error = caught.value
    assert TemplateError(*msgspec.json.decode(msgspec.json.encode(error.args))).args == error.args
    return error


def test_the_three_files_make_a_mail(write: Write) -> None:
    templates = write(
        {
            "welcome/subject.txt": "Hello {{ name }}\n",
            "welcome/text.txt": "Dear {{ user.name }},\nyou owe {{ '%.2f'|format(sum) }}.\n",
            "welcome/html.html": "<p>{{ user['name'] }}</p>",
        }
    )

    rendered = templates.render("welcome", {"name": "Ann", "user": {"name": "<A&B>"}, "sum": 1.5})

    assert rendered == Rendered(
        subject="Hello Ann",
        text="Dear <A&B>,\nyou owe 1.50.",
        html="<p>&lt;A&amp;B&gt;</p>",
    )
    assert "Ann" not in repr(rendered)


def test_a_template_may_have_text_alone_or_html_alone(write: Write, tmp_path: Path) -> None:
    templates = write({"welcome/text.txt": "text"})
    assert templates.render("welcome", {}) == Rendered(subject="Hello", text="text", html=None)

    (tmp_path / "welcome/text.txt").rename(tmp_path / "welcome/html.html")
    assert templates.render("welcome", {}) == Rendered(subject="Hello", text="", html="text")


def test_layouts_includes_and_macros_are_shared(write: Write) -> None:
    templates = write(
        {
            "_layout/base.html": "<b>{% block body %}none{% endblock %}</b>",
            "_layout/macros.html": "{% macro cell(x) %}<td>{{ x }}</td>{% endmacro %}",
            "_layout/footer.txt": "-- {{ company }}",
            "welcome/html.html": "{% extends '_layout/base.html' %}"
            "{% from '_layout/macros.html' import cell %}"
            "{% block body %}{{ super() }}{{ cell(company) }}{% endblock %}",
            "welcome/text.txt": "{% include '_layout/footer.txt' %}",
        }
    )

    rendered = templates.render("welcome", {"company": "A & B"})

    assert rendered.html == "<b>none<td>A &amp; B</td></b>"
    assert rendered.text == "-- A & B"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ items|map(attribute='n')|join(', ') }}", "b, a"),
        ("{{ items|sort(attribute='n')|map(attribute='n')|list }}", "['a', 'b']"),
        ("{% for k, l in items|groupby('n') %}{{ k }}{{ l|length }} {% endfor %}", "a1 b1 "),
        ("{% for g in items|groupby('n') %}{{ g.grouper }}{{ g.list|count }}{% endfor %}", "a1b1"),
        ("{% for i in items %}{{ loop.index }}{{ i.n }}{{ ';' if not loop.last }}{% endfor %}", 0),
        ("{% for b in items|batch(3, 'x') %}{{ b|length }}{% endfor %}", "3"),
        ("{{ items|sum(attribute='p')|round(1) }} {{ 'x' * 3 }} {{ 2 ** 10 }} {{ 7 % 4 }}", 0),
        ("{{ 'a-b'|replace('-', '+') }} {{ '%05.1f|%s' % (1.25, 'x') }} {{ 'x'|center(5) }}|", 0),
        ("{{ name.upper() }} {{ name.split('n')|first }} {{ nick|default('none') }}", "ANN A none"),
        ("{% set n = namespace(x=0) %}{% for i in items %}{% set n.x = n.x + i.p %}{% endfor %}"
         "{{ n.x }} {{ n.x ~ '!' }}", "4.0 4.0!"),
        ("{{ 'yes' if nick is defined else 'no' }} {{ name in ['Ann'] }}", "no True"),
        ("{% filter upper %}{{ name }}{% endfilter %}{% set x %}{{ name }}{% endset %}{{ x }}", 0),
        ("{{ {'a': 1}|tojson }} {{ 'ä /'|urlencode }}", '{"a": 1} %C3%A4%20/'),
        ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "[x]"),
        ("{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is sequence else i }}{% endfor %}",
         "123"),
        ("{{ order.items|length }}{% for k, v in items[0].items() %}{{ k }}{% endfor %}", "2np"),
    ],
)  # fmt: skip
def test_what_templates_usually_do_works(
    source: str, text: str | int, fill_in: Callable[..., str]
) -> None:
    items = [{"n": "b", "p": 1.5}, {"n": "a", "p": 2.5}]
    expected = {
        "{% for": "1b;2a",
        "{{ ite": "4.0 xxx 1024 3",
        "{{ 'a-": "a+b 001.2|x   x  |",
        "{% fil": "ANNAnn",
    }

    result = fill_in(source, items=items, name="Ann", order={"items": [1, 2]})

    assert result == (text or expected[source[:6]])


def test_an_edited_file_is_seen(write: Write, tmp_path: Path) -> None:
    templates = write({"welcome/text.txt": "old"})
    assert templates.render("welcome", {}).text == "old"

    file = tmp_path / "welcome/text.txt"
    file.write_text("new")
    os.utime(file, (1, 1))  # the clock of a file system may stand still between two edits

    assert templates.render("welcome", {}).text == "new"


@pytest.mark.parametrize(
    "template_id",
    ["", "none", "..", ".", "_layout", "welcome/..", "/etc", "welcome\n", "-a", "a" * 65, "wel\0"],
)
def test_an_unknown_template_is_refused(template_id: str, write: Write) -> None:
    templates = write({"_layout/text.txt": "x", "_layout/subject.txt": "x", "file": "x"})

    with pytest.raises(InvalidMessage, match=r"template\.id: is not one of the templates here"):
        templates.render(template_id, {})


def test_a_file_in_the_folder_is_not_a_template(write: Write) -> None:
    with pytest.raises(InvalidMessage, match=r"template\.id"):
        write({"file": "x"}).render("file", {})


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{{ name }}", "name"),
        ("{{ user.name }}", "name"),
        ("{{ user['name'] }}", "name"),
        ("{{ users|map(attribute='name')|join }}", "name"),
        ("{{ 'x' * count }}", "count"),
        ("{{ 1.5|round(count) }}", "count"),
        ("{% for x in items %}{% endfor %}", "items"),
        ("{% if flag %}{% endif %}", "flag"),
        ("{{ fee ~ 'x' }}", "fee"),
    ],
)
def test_a_missing_variable_is_named(source: str, name: str, write: Write) -> None:
    error = refusal(write({"welcome/text.txt": source}), {"user": {"x": "secret"}, "users": [{}]})

    assert str(error) == f"template.variables: must hold '{name}'"


def test_a_missing_name_that_comes_from_a_variable_is_not_shown(write: Write) -> None:
    templates = write({"welcome/text.txt": "{{ names[key] }}"})

    error = refusal(templates, {"names": {}, "key": "secret"})

    assert str(error) == "template.variables: must hold everything that the template asks for"


@pytest.mark.parametrize(
    "source",
    ["{{ a + 1 }}", "\n\n{{ a|round }}", "{% for x in 1 %}{% endfor %}", "{{ a[0].b() }}"],
)
def test_variables_that_do_not_fit_are_refused_without_their_values(
    source: str, write: Write
) -> None:
    error = refusal(write({"welcome/text.txt": source}), {"a": "secret"})

    line = source.count("\n") + 1
    assert str(error) in (
        f"template.variables: do not fit the template (welcome/text.txt, line {line})",
        "template.variables: must hold 'b'",
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"a": object()},
        {"a": (1, 2)},
        {"a": b"x"},
        {"a": {1: 2}},
        {1: 2},
        {"a": Markup("<b>")},
        {"a": 2**65},
        {"a": "\ud800"},
        [],
        "x",
    ],
)
def test_variables_must_be_plain_json(variables: Mapping[str, object], write: Write) -> None:
    templates = write({"welcome/text.txt": "{{ a }}"})

    assert refusal(templates, variables).field == "template.variables"


def test_deep_and_large_variables_are_refused(write: Write) -> None:
    templates = write({"welcome/text.txt": "x"}, output_bytes=1000)
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]

    assert "deeper than 32" in str(refusal(templates, {"a": deep}))
    assert "more than 1000 characters" in str(refusal(templates, {"a": "x" * 1000}))
    assert "more than 1000 characters" in str(refusal(templates, {"a": [0] * 1000}))


def test_variables_stay_as_they_are(write: Write) -> None:
    templates = write({"welcome/text.txt": "{% set a = 2 %}{% do x %}"})
    variables = {"a": 1}
    assert fault(templates, variables).line == 1  # no extension is on

    write({"welcome/text.txt": "{% set a = 2 %}{{ a }}"}).render("welcome", variables)

    assert variables == {"a": 1}


@pytest.mark.parametrize("name", ["a\nBcc: x@example.com", "a\rb", "a\x0bb", "a\u2028b", "a\x85b"])
def test_a_subject_has_one_line(name: str, write: Write) -> None:
    templates = write({"welcome/subject.txt": "{{ name }}!\n", "welcome/text.txt": ""})

    assert refusal(templates, {"name": name}).field == "subject"


def test_line_breaks_around_the_subject_are_dropped(write: Write) -> None:
    templates = write({"welcome/subject.txt": "\r\nHello\r\n\r\n", "welcome/text.txt": ""})

    assert templates.render("welcome", {}).subject == "Hello"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{{ a", "welcome/text.txt, line 2: unexpected end of template"),
        ("{{ 1|urlize }}", "welcome/text.txt, line 1: No filter named 'urlize'"),
        ("{% include 'a.txt' %}", "welcome/text.txt, line 1: takes in a file that is not there"),
        ("{% include '../a.txt' %}", "welcome/text.txt, line 1: takes in a file that"),
        ("{% include ['a', 'b'] %}", "welcome/text.txt, line 1: takes in a file that"),
        ("{% include '_layout/a.txt' %}", "_layout/a.txt, line 3: unexpected '}'"),
        ("\n{{ ''.__class__ }}", "welcome/text.txt, line 2: does something that templates may"),
        ("{{ 'x'.format(1) }}", "welcome/text.txt, line 1: does something that templates may"),
        ("{{ [1] * 2 }}", "welcome/text.txt, line 1: does something that templates may"),
        ("{{ [].append(1) }}", "welcome/text.txt, line 1: does something that templates may"),
        ("{% include 'welcome/text.txt' %}", "welcome/text.txt, line 1: takes itself in again"),
        ("{% from '_layout/b.txt' import x %}{{ x() }}", "welcome/text.txt, line 1: asks for som"),
        ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m() }}", "welcome/text.txt, line 1: asks for"),
    ],
)
def test_a_faulty_template_is_named_with_its_line(source: str, message: str, write: Write) -> None:
    files = {"welcome/text.txt": source, "_layout/a.txt": "\n\n{{ } }}", "_layout/b.txt": ""}

    error = fault(write(files))

    assert str(error).startswith(message)


def test_a_template_that_lacks_a_file_is_named(write: Write, tmp_path: Path) -> None:
    templates = write({})
    assert str(fault(templates)) == "welcome/text.txt: is missing, and html.html too"

    write({"welcome/text.txt": "x"})
    (tmp_path / "welcome/subject.txt").unlink()
    assert str(fault(templates)) == "welcome/subject.txt: is missing"


def test_a_file_that_is_not_utf_8_is_named(write: Write, tmp_path: Path) -> None:
    templates = write({})
    (tmp_path / "welcome/text.txt").write_bytes(b"\xff")

    assert str(fault(templates)) == "welcome/text.txt, line 1: is not UTF-8"


def test_a_link_may_lead_inside_the_folder_but_not_out(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write({"welcome/text.txt": "in"})
    (tmp_path / "welcome").rename(folder / "inside")
    (folder / "link").symlink_to(folder / "inside")
    (tmp_path / "secret.txt").write_text("out")
    (folder / "outside").mkdir()
    (folder / "outside" / "subject.txt").symlink_to(tmp_path / "secret.txt")
    templates = Templates(folder)

    assert templates.render("link", {}).text == "in"
    with pytest.raises(TemplateError, match="leads out of the template folder"):
        templates.render("outside", {})


def test_many_threads_fill_in_one_template(write: Write) -> None:
    templates = write(
        {
            "welcome/subject.txt": "{{ n }}",
            "welcome/text.txt": "{% for i in range(n) %}{{ n }} {% endfor %}",
        }
    )

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: templates.render("welcome", {"n": n}), range(200)))

    for n, rendered in enumerate(results):
        assert rendered == Rendered(subject=str(n), text=f"{n} " * n, html=None)


def test_error_messages_hold_no_machine_path(write: Write, tmp_path: Path) -> None:
    for source in ("{{ a", "{% include 'x' %}", "{{ a + 1 }}", "{{ ''.x }}"):
        with pytest.raises((InvalidMessage, TemplateError)) as caught:
            write({"welcome/text.txt": source}).render("welcome", {"a": "b"})

        assert not re.search(re.escape(str(tmp_path)), str(caught.value) + repr(caught.value))
