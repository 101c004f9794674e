"""Prompt templates from strangers: allowed ones say what Jinja makes of them, the others reach and cost nothing."""

import pickle
import re
import time
from collections.abc import Mapping

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctsdialog
from mctsdialog.errors import DomainError
from mctsdialog.roles import _prompts as prompts_module
from mctsdialog.roles import packaged_template
from mctsdialog.roles._prompts import Prompt
from mctsdialog.roles._template import FILTERS, Template, TemplateError, plain

SCENARIO = mctsdialog.Scenario(scene="Work", description="I {{ lost }} my {% job %}.", id="one", source="a file")


def of_blocks(system, instruction=""):
    return f"{{% block system %}}{system}{{% endblock %}}{{% block instruction %}}{instruction}{{% endblock %}}"


def prompt_of(domain, template):
    return Prompt("judge", domain.model_copy(update={"templates": {"judge": template}}), SCENARIO)


def rendered(source, values):
    return Template(of_blocks(source), values).render("system", plain(values))


class Shell:
    """What is pickled here would run a command where somebody unpickled it."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.file}",)


REACHES = [
    'domain.parse_raw("{pickle}", proto="pickle", allow_pickle=True)',
    'domain.parse_file("/etc/passwd")',
    'scenario.parse_file("/etc/passwd", content_type="text/plain", proto="pickle", allow_pickle=True)',
    'seeker.parse_raw("{pickle}", proto="pickle", allow_pickle=True)',
    'rubric[0].parse_raw("{pickle}", proto="pickle", allow_pickle=True)',
    "strategies[0].from_orm(domain)",
    "domain.model_construct",
    "domain.__class__",
    "domain['__class__']",
    "domain|attr('__class__')",
    "''.format",
    "'{}'.format(domain)",
    "'%s' % domain",
    "example.upper()",
    "strategies.index",
    "domain.items()",
    "domain.keys",
    "self",
    "self.system()",
    "super()",
    "caller()",
    "loop",
    "cycler('a')",
    "joiner()",
    "namespace(a=1)",
    "lipsum(1000)",
    "range(10)",
    "dict(a=1)",
    "request",
    "__builtins__",
    "strategies|map('upper')",
    "strategies|map(attribute='name')|map('upper')|join",
    "strategies|map(attribute='__class__')",
    "strategies|sort(attribute='__class__')",
    "strategies|sort(attribute='name.upper')",
    "strategies|map(attribute='name', default=domain)|join(1, 2, 3, 4)",
    "strategies ~ 'x'",
    "strategies|join(', ', attribute='__class__')",
    "strategies|join(attribute='name.__class__')",
    "domain|pprint",
    "domain|tojson",
    "domain|string",
    "strategies",
    "domain",
    "*strategies",
    "example|join(*strategies)",
    "example|join(**domain)",
    "example is callable",
    "example is filter",
    "'%9999999999d' is even",
]


@pytest.mark.parametrize("expression", REACHES)
def test_nothing_but_plain_data_is_reached(domain, expression, tmp_path):
    command = pickle.dumps(Shell(tmp_path / "ran"), protocol=0).decode().replace("\n", "\\n").replace("'", "\\'")
    source = "{{ " + expression.replace("{pickle}", command.replace('"', '\\"')) + " }}"
    with pytest.raises(DomainError) as caught:
        prompt_of(domain, of_blocks(source))
    assert caught.value.field == "templates.judge"
    assert len(str(caught.value)) < 1000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% call domain.parse_file('/etc/passwd') %}{% endcall %}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}",
        "{% from '/etc/passwd' import x %}",
        "{% extends '/etc/passwd' %}",
        "{% set x = domain %}",
        "{% set x %}y{% endset %}",
        "{% with x = domain %}{% endwith %}",
        "{% filter upper %}x{% endfilter %}",
        "{% autoescape true %}x{% endautoescape %}",
        "{% block inner %}{% endblock %}",
        "{% for a in strategies recursive %}{{ loop(strategies) }}{% endfor %}",
        "{% for a, b in strategies %}{% endfor %}",
        "{% for a in strategies %}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% for a in strategies %}{{ loop.changed }}{% endfor %}",
        "{% for a in strategies %}{{ loop.nextitem.__class__ }}{% endfor %}",
        "{% for a in strategies %}{{ loop }}{% endfor %}",
        "{% for a in domain %}{{ domain[a].copy() }}{% endfor %}",
        "{% for a in best %}{% endfor %}",
        "{% if false %}{{ domain.parse_file('/etc/passwd') }}{% endif %}",
        "{{ 'x' if true else domain.copy() }}",
        "{% do domain.copy() %}",
        "{% break %}",
        "{% debug %}",
        "{% trans %}x{% endtrans %}",
    ],
)
def test_statements_that_are_not_on_the_list_are_refused(domain, statement):
    with pytest.raises(DomainError, match="line 1") as caught:
        prompt_of(domain, of_blocks(statement))
    assert caught.value.field == "templates.judge"


BOMBS = {
    "text times a number": "{{ 'a' * 10**10 }}",
    "a power": "{{ 10 ** 10 ** 10 }}",
    "a shift": "{{ 1 * 9999 }}",
    "a wide filter": "{{ 'a'|center(10000000000) }}",
    "a format": "{{ '%010000000000d' % 1 }}",
    "loops in loops": "{% for a in strategies %}" * 30 + "{% endfor %}" * 30,
    "loops in loops that say something": "{% for a in example %}" * 8 + "x" + "{% endfor %}" * 8,
    "loops in loops over one text": "{% for a in example %}" * 8 + "{% endfor %}" * 8,
    "a test in loops": "{% for a in example %}" * 3
    + "{% for a in example if best > 100 %}{% endfor %}"
    + "{% endfor %}" * 3,
    "joined with itself": "{{ example|join(example)|join(example)|join(example)|join(example) }}",
    "replaced by itself": "{{ example" + "|replace('e', example)" * 12 + " }}",
    "nothing replaced by much": "{{ example" + "|replace('', example)" * 12 + " }}",
    "concatenated in filters": "{{ (example ~ example)" + "|replace('e', example ~ example)" * 12 + " }}",
    "a long text often": "{% for a in example %}" * 3 + "{% if example in example %}{% endif %}" + "{% endfor %}" * 3,
    "text added": "{{ example + example }}",
    "numbers added": "{{ 999999 + 999999 + 999999 }}",
    "a long number": "{{ " + "9" * 5000 + " }}",
    "brackets": "{{ " + "(" * 20_000 + " }}",
    "brackets that close": "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
    "lists": "{{ " + "[" * 20_000 + " }}",
    "nots": "{{ " + "not " * 10_000 + "1 }}",
    "minuses": "{{ " + "-" * 20_000 + "1 }}",
    "parts of parts": "{{ domain" + ".name" * 10_000 + " }}",
    "filters of filters": "{{ example" + "|reverse" * 5_000 + " }}",
    "a long sum": "{{ 1" + "+1" * 10_000 + " }}",
    "ifs in ifs": "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
    "elifs": "{% if best > 100 %}" + "{% elif best > 100 %}" * 2_500 + "{% endif %}{{ nothing }}",
    "comments": "{#" * 20_000,
    "openings": "{{" * 20_000,
    "raws": "{% raw %}" * 5_000,
    "quotes": "{{ '" + "\\'" * 20_000 + " }}",
    "too long": "x" * 70_000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_a_template_costs_is_bounded(domain, kind):
    begun = time.process_time()
    with pytest.raises(DomainError):
        prompt_of(domain, of_blocks(BOMBS[kind]))
    assert time.process_time() - begun < 5


def test_many_blocks_of_one_name_and_deep_blocks_are_refused(domain):
    with pytest.raises(DomainError, match="two blocks"):
        prompt_of(domain, of_blocks("x") + "{% block system %}{% endblock %}")
    with pytest.raises(DomainError, match="block is not allowed"):
        prompt_of(domain, "{% block a %}" + of_blocks("x") + "{% endblock %}")


def test_a_long_rendering_is_refused():
    with pytest.raises(TemplateError, match="more than 1,000,000 characters"):
        rendered("{% for a in many %}{{ text }}{% endfor %}", {"many": list(range(100)), "text": "x" * 20_000})


def reachable(value):
    """Every value that names, attributes and items lead to from one value."""
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        found.append(each)
        if isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, tuple):
            waiting += each
    return found


@pytest.mark.parametrize("role", mctsdialog.dialogue.TEMPLATE_NAMES)
def test_all_that_a_template_can_reach_is_plain_data(role, monkeypatch):
    seen = []
    monkeypatch.setattr(Template, "render", lambda self, block, values: seen.append(values) or "")
    prompt = Prompt(role, mctsdialog.get_domain("esc"), SCENARIO)
    prompt.chat((), "supporter", mctsdialog.get_domain("esc").strategies[0])
    values = [each for scope in seen for each in reachable(dict(scope))]
    assert len(values) > 100
    for value in values:
        assert not callable(value)
        assert type(value) in {str, int, float, tuple, dict, type(plain({}))}, type(value)
        if isinstance(value, Mapping) and type(value) is not dict:
            with pytest.raises(TypeError):
                value["more"] = 1
    assert set(seen[0]) == set(prompts_module._NAMES)


def test_only_plain_data_is_shown():
    with pytest.raises(TypeError, match="Domain"):
        plain({"domain": mctsdialog.get_domain("esc")})


def by_jinja(source, block, values):
    """What Jinja itself makes of it, without a sandbox."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(source)
    return "".join(template.blocks[block](template.new_context(values))).strip()


@pytest.mark.parametrize("name", mctsdialog.dialogue.domains())
@pytest.mark.parametrize("role", mctsdialog.dialogue.TEMPLATE_NAMES)
def test_packaged_templates_say_what_jinja_makes_of_them(role, name):
    domain = mctsdialog.get_domain(name)
    prompt = Prompt(role, domain, SCENARIO)
    values = {
        "example": re.search(r"\{.*\}", prompt.system).group() if role in ("judge", "strategist", "labeller") else "",
        "scenario": SCENARIO,
        "seeker": domain.seeker,
        "supporter": domain.supporter,
        "strategies": tuple(domain.strategies),
        "strategy": domain.strategies[1],
        "rubric": domain.rubric,
        "best": domain.max_score,
        "end_token": "</end/>",
    }
    for block in prompts_module._BLOCKS[role]:
        more = {"strategy": plain(domain.strategies[1].model_dump())} if role == "supporter" else {}
        source = domain.templates.get(role) or packaged_template(role)
        assert prompt.render(block, **more) == by_jinja(source, block, values)


NAMES = ["word", "number", "words", "things", "thing"]
VALUES = {
    "word": "Straße ij",
    "number": 3,
    "words": ("one", "Two", ""),
    "things": ({"name": "A", "size": 1}, {"name": "b", "size": 2}),
    "thing": {"name": "Ä", "size": 0},
}
atoms = st.sampled_from(
    [
        *NAMES,
        "thing.name",
        "thing['size']",
        "words[0]",
        "things[1].name",
        "'text'",
        "7",
        "true",
        "none",
        "nothing",
        "words[9]",
    ]
)


def deeper(inner):
    return st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["+", "-", "~", "==", "!=", "<", "in", "not in", "and", "or"]),
            inner,
        ),
        st.builds("(not {})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds(
            "({}|{})".format,
            inner,
            st.sampled_from(
                [
                    *sorted(FILTERS.keys() - {"replace", "map"}),
                    *("default('d')", "d(1, true)", "join('-')", "replace('e', 'xy')", "map(attribute='name')"),
                    *("join('-', attribute='name')", "sort(true)", "sort(attribute='size', reverse=true)"),
                ]
            ),
        ),
        st.builds("({} is {})".format, inner, st.sampled_from(["defined", "none", "not none"])),
        st.builds("[{}, {}]".format, inner, inner),
    )


expressions = st.recursive(atoms, deeper, max_leaves=6)
statements = st.recursive(
    st.one_of(st.just(" text\n"), st.builds("{{{{ {} }}}}".format, expressions)),
    lambda inner: st.one_of(
        st.builds("{{% if {} %}}{}{{%- else %}}{}{{% endif %}}".format, expressions, inner, inner),
        st.builds("{{% if {} %}}{}{{% elif {} %}}{}{{% endif %}}".format, expressions, inner, expressions, inner),
        st.builds(
            "{{% for x in {} -%}}{}{{{{ loop.index }}}}{{{{ x }}}}{{% else %}}-{{% endfor %}}".format,
            expressions,
            inner,
        ),
        st.builds(
            "{{% for x in {} if {} %}}{}{{{{ loop.last }}}}{{% endfor %}}".format, expressions, expressions, inner
        ),
        st.builds("{}{}".format, inner, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=300)
@given(statements)
def test_what_is_rendered_is_what_jinja_renders(source):
    names = [*NAMES, "nothing"]
    try:
        ours = Template(of_blocks(source), names).render(
            "system", {name: plain(value) for name, value in VALUES.items()}
        )
    except TemplateError:
        return
    assert ours == by_jinja(of_blocks(source), "system", VALUES)


def test_what_people_write_works(domain):
    source = """
        {%- for strategy in strategies -%}
          {{ loop.index }}. {{ strategy.name|upper }}{{ ":" if strategy.description else "." }}{{ strategy['name'] }}
        {% endfor -%}
        {{ strategies|length }} {{ strategies|join(", ", attribute="name") }} {{ domain.title|default("none", true) }}
        {{ rubric[0].levels|first }} {{ (rubric|last).name|title }} {{ domain.weights[rubric[0].name] }} {{ best - 1 }}
        {%- if "Work" in scenario.scene and not scenario.nothing is defined %} {{ scenario.description }}{% endif %}
    """
    said = prompt_of(domain, of_blocks(source)).system
    assert said.startswith("1. ASK.Ask")
    assert "3 Ask, Comfort, Plan none" in said
    assert said.endswith("I {{ lost }} my {% job %}.")


def test_an_error_says_what_there_is(domain):
    with pytest.raises(DomainError, match=r"line 2: unknown name 'stratgies'; there are best, domain, "):
        prompt_of(domain, of_blocks("\n{{ stratgies }}"))
    with pytest.raises(DomainError, match=r"line 1: there is no 'nme' here; there are name, description, levels"):
        prompt_of(domain, of_blocks("{{ rubric[0].nme }}"))


@given(st.text(alphabet="{}%#-+~|()[]'\"., abfori\n\\n01.", max_size=80))
def test_any_text_is_a_template_or_one_error(text):
    try:
        template = Template(of_blocks(text), NAMES)
        template.render("system", {name: plain(value) for name, value in VALUES.items()})
    except TemplateError:
        return
    except KeyError:
        assert "system" not in template.blocks
