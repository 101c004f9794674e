"""Prompt templates drawn from a grammar: what a stranger might write to run code, read files or use up the machine."""

import re
from importlib import resources

ATTRIBUTES = (
    "__class__", "__mro__", "__subclasses__", "__init__", "__globals__", "__builtins__", "parse_raw", "parse_file",
    "copy", "model_construct", "model_validate", "model_dump", "model_fields", "model_json_schema", "json", "dict",
    "construct", "schema", "from_orm", "update_forward_refs", "validate", "model_config", "name", "description",
    "levels", "strategies", "aliases", "names", "resolve", "weights", "templates", "rubric", "with_weights", "format",
    "format_map", "join", "count", "index", "items", "keys", "values", "cycler", "scene", "id", "source", "_fields",
    "append", "update", "pop", "clear", "mro", "func_globals", "gi_frame", "f_back", "__dict__", "__reduce__",
    "__getattribute__", "__base__", "encode", "translate",
)  # fmt: skip
NAMES = (
    "domain", "scenario", "seeker", "supporter", "strategies", "rubric", "best", "end_token", "example", "strategy",
    "self", "range", "dict", "lipsum", "cycler", "joiner", "namespace", "loop", "caller", "varargs", "x", "y", "true",
    "none", "super",
)  # fmt: skip
FILTERS = (
    "abs", "attr", "batch", "capitalize", "center", "default", "dictsort", "escape", "filesizeformat", "first",
    "float", "forceescape", "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower",
    "map", "max", "min", "pprint", "random", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select",
    "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique",
    "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr", "nosuch",
)  # fmt: skip
TESTS = (
    "defined", "none", "callable", "string", "sequence", "mapping", "number", "even", "divisibleby(0)", "in [1]",
    "eq(1)",
)  # fmt: skip
OPERATORS = ("+", "-", "*", "**", "//", "/", "%", "~", "in", "==", "and", "or", "<")
STRINGS = (
    "'a'", "''", "'%s%1000000000s'", "'{0.__class__}'", "'../outside/important.txt'", "'/etc/passwd'",
    "'{:>1000000000}'",
)  # fmt: skip
PICKLE = '"cos\\nsystem\\n(S\'touch ../outside/owned\'\\ntR.", proto="pickle", allow_pickle=True'
NUMBERS = ("0", "1", "-1", "3", "1.5", "10**10", "999999999", "2**100000", "1e308", "10**400", "7//0", "1000000")
ARGUMENTS = (
    "", "'a'", "1", "domain", PICKLE, "'../outside/important.txt'", "1000000000", "**{'a': 1}", "*[1]", "x=1",
    "best, best",
)  # fmt: skip


ATTACKS = (
    "{name}.parse_raw({pickle})",
    "{name}.parse_file('../outside/important.txt', content_type='text/plain')",
    "{name}.parse_file('../outside/important.txt')",
    "{name}.__class__.parse_raw({pickle})",
    "{name}.model_construct.__func__.__globals__",
    "{name}.with_weights.__globals__['os'].system('true')",
    "{name}.copy(update={{'templates': {name}}})",
    "{name}.__class__.__mro__[1].__subclasses__()",
    "({name}|attr('__class__'))|attr('__base__')",
    "lipsum.__globals__['os'].popen('true').read()",
    "cycler.__init__.__globals__.os.system('true')",
    "'%s'.format.__self__.__class__",
    "'{{0.__class__.__init__.__globals__}}'.format({name})",
    "self._TemplateReference__context.environment",
    "namespace.__init__.__globals__",
    "dict.__base__.__subclasses__()",
    "{name}.model_json_schema()",
    "({name}|list)[0].parse_raw({pickle})",
)


def attack(draw):
    """What has run code in templates, or read files, once."""
    name = draw.choice(("domain", "scenario", "seeker", "supporter", "rubric[0]", "strategies[0]", "strategy", "best"))
    return draw.choice(ATTACKS).format(name=name, pickle=PICKLE)


def expression(draw, depth=0):
    """An expression."""
    kind = draw.randrange(16) if depth < 3 else draw.randrange(5)

    def inner():
        return expression(draw, depth + 1)

    if kind < 2:
        return draw.choice(NAMES)
    if kind == 2:
        return draw.choice(STRINGS)
    if kind == 3:
        return draw.choice(NUMBERS)
    if kind == 4:
        return f"{draw.choice(NAMES)}.{draw.choice(ATTRIBUTES)}"
    if kind < 7:
        return f"{inner()}.{draw.choice(ATTRIBUTES)}"
    if kind < 9:
        return f"{inner()}.{draw.choice(ATTRIBUTES)}({draw.choice(ARGUMENTS)})"
    if kind == 9:
        return f"{inner()}[{inner()}]" if draw.random() < 0.7 else f"{inner()}[{draw.choice(NUMBERS)}:]"
    if kind == 10:
        return f"({inner()} {draw.choice(OPERATORS)} {inner()})"
    if kind == 11:
        arguments = draw.choice(
            ("", "", "(1)", "(1000000000)", "('a')", "(attribute='name')", "('__class__')", "(width=1000000000)")
        )
        return f"({inner()}|{draw.choice(FILTERS)}{arguments})"
    if kind == 12:
        return f"({inner()} is {draw.choice(TESTS)})"
    if kind == 13:
        return f"{draw.choice(NAMES)}({draw.choice(ARGUMENTS)})"
    if kind == 14:
        return draw.choice((f"[{inner()}] * {draw.choice(NUMBERS)}", f"({inner()}, {inner()})", f"{{'a': {inner()}}}"))
    return f"({inner()} if {inner()} else {inner()})"


def statement(draw, depth=0):
    """Some text, output, and statements."""
    kind = draw.randrange(20) if depth < 3 else draw.randrange(8)

    def inner():
        return statement(draw, depth + 1)

    value = expression(draw)
    if kind == 0:
        return draw.choice(("text ", "\n", "{{", "}}", "{% ", "{#", "\x1b[2J", "\u202e", "é", "x" * 3000))
    if kind == 1:
        return f"{{{{ {attack(draw)} }}}}"
    if kind < 8:
        return f"{{{{ {value} }}}}"
    if kind == 8:
        return f"{{% if {value} %}}{inner()}{{% else %}}{inner()}{{% endif %}}"
    if kind < 12:
        many = draw.choice((value, "strategies", "range(10**9)", "range(3000)", "range(best)", "'a' * 10**9", "domain"))
        return f"{{% for x in {many} %}}{inner()}{{% endfor %}}"
    if kind == 12:
        return "{% for y in range(99999) %}" * draw.choice((2, 3, 60)) + inner()
    if kind == 13:
        return f"{{% macro m(x) %}}{inner()}{{{{ m(x) }}}}{{% endmacro %}}{{{{ m(1) }}}}"
    if kind == 14:
        return f"{{% set x = {value} %}}{inner()}"
    if kind == 15:
        return draw.choice(
            ('{% include "../outside/important.txt" %}', '{% import "os" as os %}', '{% extends "seeker.j2" %}')
        )
    if kind == 16:
        return f"{{% filter {draw.choice(FILTERS)} %}}{inner()}{{% endfilter %}}"
    if kind == 17:
        return f"{{% call {value} %}}{inner()}{{% endcall %}}"
    if kind == 18:
        return f"{{% for x in [1] recursive %}}{inner()}{{{{ loop([1]) }}}}{{% endfor %}}"
    return f"{{% set x = [] %}}{{% with y = {value} %}}{inner()}{{% endwith %}}"


DEEP = (
    lambda n: "{{ " + "(" * n + "1" + ")" * n + " }}",
    lambda n: "{% if 1 %}" * n + "{% endif %}" * n,
    lambda n: "{{ " + "-" * n + "1 }}",
    lambda n: "{{ " + "not " * n + "1 }}",
    lambda n: "{{ " + "1 + " * n + "1 }}",
    lambda n: "{{ domain" + ".name" * n + " }}",
    lambda n: "{{ " + "[" * n + "]" * n + " }}",
    lambda n: "{{ 1" + "|abs" * n + " }}",
    lambda n: "{% for x in strategies %}" * min(n, 60) + "{{ x.description }}" + "{% endfor %}" * min(n, 60),
    lambda n: "{{ 'a' * " + "9" * n + " }}",
    lambda n: "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * min(n, 200) + "{{ x }}",
    lambda n: "{{ example }}" * n,
)


def plain_expression(draw, names, depth=0):
    """An expression that an honest template may have."""
    kind = draw.randrange(9) if depth < 3 else draw.randrange(4)

    def inner():
        return plain_expression(draw, names, depth + 1)

    if kind < 2:
        return draw.choice(names)
    if kind == 2:
        return f"{draw.choice(names)}.{draw.choice(('name', 'description', 'levels', 'scene', 'index', 'strategies'))}"
    if kind == 3:
        return draw.choice(("1", "'a'", "best", "loop.index", "loop.last", "2 ** 31", "-5", "99999999999"))
    if kind == 4:
        arguments = draw.choice(("", "", "", "('a')", "(', ')", "(attribute='name')", "(1, 2)", "(nosuch=1)", "(name)"))
        return f"{inner()}|{draw.choice(PLAIN_FILTERS)}{arguments}"
    if kind == 5:
        return f"({inner()} {draw.choice(('+', '-', '==', '<', 'in', 'not in', 'and', 'or'))} {inner()})"
    if kind == 6:
        return f"({inner()} if {inner()} else {inner()})"
    if kind == 7:
        return f"({inner()} is {draw.choice(('', 'not '))}{draw.choice(('defined', 'none'))})"
    return draw.choice(
        (f"{inner()}[{draw.choice((0, -1, 9))}]", f"({inner()}, {inner()})", f"[{inner()}]", f"not {inner()}")
    )


PLAIN_FILTERS = (
    "capitalize", "default", "first", "join", "last", "length", "lower", "reverse", "title", "trim", "upper",
)  # fmt: skip


def plain_statement(draw, names, depth=0):
    """Statements that an honest template may have, often too many of them."""
    kind = draw.randrange(8) if depth < 6 else draw.randrange(4)
    if kind < 4:
        return f"{{{{ {plain_expression(draw, names)} }}}}"
    if kind == 4:
        body = plain_statement(draw, names, depth + 1)
        return f"{{% if {plain_expression(draw, names)} %}}{body}{{% elif best %}}{body}{{% else %}}c{{% endif %}}"
    if kind < 7:
        many = draw.choice(("strategies", "rubric", "example", "domain.strategies", plain_expression(draw, names)))
        test = draw.choice(("", "", " if x", " if loop.first"))
        return f"{{% for x in {many}{test} %}}{plain_statement(draw, [*names, 'x'], depth + 1)}{{% endfor %}}"
    text = plain_statement(draw, names, depth + 1)
    return text * min(draw.choice((2, 20, 300)), 1 + 50_000 // len(text))


def template(draw, role):
    """The text of a role's template."""
    packaged = resources.files("mctsdialog.roles").joinpath("templates", f"{role}.j2").read_text("utf-8")
    kind = draw.random()
    if kind < 0.15:
        at, end = sorted((draw.randrange(len(packaged)), draw.randrange(len(packaged))))
        return packaged[:at] + statement(draw) + packaged[end if draw.random() < 0.5 else at :]
    if kind < 0.25:
        hole = draw.choice([at for at in range(len(packaged)) if packaged.startswith("{{ ", at)] or [0])
        return packaged[: hole + 3] + expression(draw) + packaged[packaged.find(" }}", hole) :]
    if kind < 0.6:
        names = ["domain", "scenario", "seeker", "supporter", "strategies", "rubric", "best", "end_token", "example"]
        plain = plain_statement(draw, names)
        return re.sub(r"{%-? endblock", lambda found: plain + found[0], packaged, count=draw.randrange(1, 4))
    if kind < 0.68:
        body = draw.choice(DEEP)(draw.choice((20, 200, 3000)))
    elif kind < 0.8:
        body = f"{{{{ {attack(draw)} }}}}"
    else:
        body = "".join(statement(draw) for _ in range(draw.choice((1, 2, 5))))
    blocks = {"system": "s", "instruction": "i"} | ({"opening": "o"} if role in ("seeker", "supporter") else {})
    blocks[draw.choice(list(blocks))] = body
    return "".join(f"{{% block {name} %}}{text}{{% endblock %}}" for name, text in blocks.items())
