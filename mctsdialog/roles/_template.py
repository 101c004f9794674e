"""A small template language: Jinja's syntax, read by Jinja's parser, evaluated here over plain data.

A domain can come from a stranger, and so can its templates. Jinja's own renderer, sandboxed or not, lets a template
call what it is shown and spend as much time and memory as it likes. Here nothing can be called, all values are strings,
numbers, tuples and mappings, and the cost of a rendering is bounded.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import jinja2
from jinja2 import nodes

MAX_SOURCE = 65_536  # characters of a template
MAX_DEPTH = 40  # of statements and expressions in one another
MAX_STEPS = 100_000  # parts evaluated in one rendering; a hundred characters of text count as one more
MAX_OUTPUT = 1_000_000  # characters of one rendering
_MAX_NUMBER = 1_000_000  # in arithmetic

Value: TypeAlias = "str | int | float | tuple[Value, ...] | Mapping[str, Value] | None"

_SYNTAX = jinja2.Environment(autoescape=False)  # noqa: S701  # parses alone; prompts are plain text for a model, not HTML
_SCALARS = (str, int, float, type(None))
_MAPPINGS: tuple[type[Mapping[str, Any]], ...] = (MappingProxyType, dict)  # all there are; the protocol's check is slow
_LOOP = ("index", "index0", "revindex", "revindex0", "first", "last", "length")


class TemplateError(ValueError):
    """A template that is not allowed, or cannot be rendered. The message names the line where it is known."""


class _MissingError(TemplateError):
    """A name, attribute or item that is not there; ``is defined`` and ``default`` ask for it."""

    node: nodes.Node | None = None  # the innermost expression that has no value


def plain(value: Any) -> Value:
    """``value`` (dumped JSON-like data) with mappings and sequences that cannot be changed."""
    if isinstance(value, Mapping):
        return MappingProxyType({str(key): plain(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return tuple(plain(each) for each in value)
    if isinstance(value, _SCALARS):
        return value
    raise TypeError(f"templates see plain data, not {type(value).__name__}")


def _text(value: Value) -> str:
    if isinstance(value, _SCALARS):
        return str(value)
    raise TemplateError("only text and numbers can be put out; loop over the others, or name one of their parts")


def _items(value: Value) -> tuple[Value, ...]:
    if isinstance(value, str | tuple | Mapping):
        return tuple(value)
    raise TemplateError(f"{value!r} has no items")


def _at(value: Value, key: Value) -> Value:
    """An item by name or number. Methods and attributes of Python objects are not among them."""
    if isinstance(value, _MAPPINGS) and isinstance(key, str) and key in value:
        return value[key]
    if isinstance(value, tuple) and isinstance(key, int) and -len(value) <= key < len(value):
        return value[key]
    there = f"; there are {', '.join(value)}" if isinstance(value, Mapping) else ""
    raise _MissingError(f"there is no {key!r} here{there}")


def _part(value: Value, path: Value) -> Value:
    """A part by its name, or by several with dots between them; the value itself for None."""
    for name in () if path is None else _text(path).split("."):
        value = _at(value, int(name) if name.isdecimal() else name)
    return value


def _bounded(size: int) -> None:
    if size > MAX_OUTPUT:
        raise TemplateError(f"makes a text of more than {MAX_OUTPUT:,} characters")


def _joined(value: Value, separator: Value = "", attribute: Value = None) -> str:
    between, items = _text(separator), _items(value)
    _bounded(len(between) * len(items))
    return between.join(_text(_part(each, attribute)) for each in items)


def _replaced(value: Value, old: Value, new: Value) -> str:
    text, before, after = _text(value), _text(old), _text(new)
    _bounded(len(text) + text.count(before) * len(after))
    return text.replace(before, after)


def _sorted(value: Value, reverse: Value = False, case_sensitive: Value = False, attribute: Value = None) -> Value:
    def key(item: Value) -> Any:
        part = _part(item, attribute)
        return part.lower() if isinstance(part, str) and not case_sensitive else part

    return tuple(sorted(_items(value), key=key, reverse=bool(reverse)))


def _mapped(value: Value, *, attribute: Value) -> Value:
    return tuple(_part(each, attribute) for each in _items(value))


def _end(value: Value, place: int) -> Value:
    items = _items(value)
    if not items:
        raise _MissingError("there is no first or last item: nothing is in it")
    return items[place]


FILTERS: Mapping[str, Callable[..., Value]] = {
    "capitalize": lambda value: _text(value).capitalize(),
    "count": lambda value: len(_items(value)),
    "first": lambda value: _end(value, 0),
    "join": _joined,
    "last": lambda value: _end(value, -1),
    "length": lambda value: len(_items(value)),
    "list": _items,
    "lower": lambda value: _text(value).lower(),
    "map": _mapped,
    "replace": _replaced,
    "reverse": lambda value: value[::-1] if isinstance(value, str) else _items(value)[::-1],
    "sort": _sorted,
    "title": lambda value: _text(value).title(),
    "trim": lambda value: _text(value).strip(),
    "upper": lambda value: _text(value).upper(),
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda one, other: operator.contains(other, one),
    "notin": lambda one, other: not operator.contains(other, one),
}
_DEFAULT = ("default", "d")
_TESTS = ("defined", "undefined", "none")
_ALLOWED = (
    "only output, if, for, and, or, not, comparisons, names and their parts, ~, + and - of whole numbers, "
    f"and the filters default, {', '.join(FILTERS)}"
)


class Template:
    """A checked template in named blocks.

    :param source: Jinja syntax; text outside of a block is never rendered.
    :param names: what it may refer to.
    :raises TemplateError: for syntax that is wrong or not allowed, and for an unknown name.
    """

    def __init__(self, source: str, names: Collection[str]) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(f"is {len(source):,} characters long; {MAX_SOURCE:,} is the most")
        try:
            parsed = _SYNTAX.parse(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {error.message}") from error
        except (RecursionError, ValueError) as error:  # ValueError: a number of too many digits
            raise TemplateError("is nested too deeply, or has a number that is too long") from error
        self.blocks: dict[str, list[nodes.Node]] = {}
        for node in parsed.body:
            body = [node]
            if isinstance(node, nodes.Block):
                if node.name in self.blocks:
                    raise TemplateError(f"line {node.lineno}: there are two blocks {node.name!r}")
                body = self.blocks[node.name] = node.body
            for each in body:
                _check(each, frozenset(names), node.lineno)

    def render(self, block: str, values: Mapping[str, Value]) -> str:
        """One block, with the space around it taken off.

        :param values: by name; plain data (:func:`plain`).
        :raises TemplateError: for a part that is not there, an operation that does not fit its values, and a
            rendering that costs too much.
        """
        rendering = _Rendering()
        try:
            return "".join(rendering.put_out(self.blocks[block], values)).strip()
        except TypeError as error:
            raise TemplateError(f"line {rendering.line}: {error}") from error
        except TemplateError as error:
            raise TemplateError(f"line {rendering.line}: {error}") from error


def _check(node: nodes.Node, names: frozenset[str], line: int, depth: int = MAX_DEPTH) -> None:
    """Refuse what is not on the list, in branches too that are never taken."""
    line = node.lineno or line  # parts that Jinja adds by itself have none
    problem = _problem(node, names) if depth else "is nested too deeply"
    if problem:
        raise TemplateError(f"line {line}: {problem}")
    if isinstance(node, nodes.For):
        _check(node.iter, names, line, depth - 1)
        names |= {node.target.name, "loop"}  # type: ignore[attr-defined]  # a Name, as _problem has seen
        parts: Iterator[nodes.Node] = node.iter_child_nodes(exclude=("iter", "target"))
    else:
        parts = node.iter_child_nodes()
    for part in parts:
        _check(part, names, line, depth - 1)


def _problem(node: nodes.Node, names: frozenset[str]) -> str | None:
    kind = type(node).__name__.lower()
    match node:
        case nodes.Name():
            return None if node.name in names else f"unknown name {node.name!r}; there are {', '.join(sorted(names))}"
        case nodes.Filter() | nodes.Test():
            if node.dyn_args or node.dyn_kwargs:
                return "* and ** are not allowed"
            known = _TESTS if isinstance(node, nodes.Test) else (*_DEFAULT, *FILTERS)
            return None if node.name in known else f"the {kind} {node.name!r} is not allowed: {_ALLOWED}"
        case nodes.For():
            if node.recursive or not isinstance(node.target, nodes.Name):
                return "a loop has one variable and is not recursive"
            return None
        case _:
            return None if type(node) in _PARTS or type(node) in _STATEMENTS else f"{kind} is not allowed: {_ALLOWED}"


class _Rendering:
    """One rendering: it counts what it costs, and knows the line it is at."""

    def __init__(self) -> None:
        self.line = 1
        self._steps = 0
        self._size = 0

    def put_out(self, body: list[Any], scope: Mapping[str, Value]) -> Iterator[str]:
        """The text of some statements."""
        for node in body:
            self._count(node)
            if isinstance(node, nodes.Output):
                for part in node.nodes:
                    text = part.data if isinstance(part, nodes.TemplateData) else _text(self.value(part, scope))
                    self._size += len(text)
                    if self._size > MAX_OUTPUT:
                        raise TemplateError(f"puts out more than {MAX_OUTPUT:,} characters")
                    yield text
            elif isinstance(node, nodes.If):
                yield from self._branch(node, scope)
            else:
                yield from self._loop(node, scope)

    def _branch(self, node: nodes.If, scope: Mapping[str, Value]) -> Iterator[str]:
        for each in (node, *node.elif_):
            if self.value(each.test, scope):
                yield from self.put_out(each.body, scope)
                return
        yield from self.put_out(node.else_, scope)

    def _loop(self, node: nodes.For, scope: Mapping[str, Value]) -> Iterator[str]:
        name: str = node.target.name  # type: ignore[attr-defined]
        items = _items(self.value(node.iter, scope))
        if node.test is not None:
            items = tuple(each for each in items if self.value(node.test, {**scope, name: each}))
        last = len(items) - 1
        for place, item in enumerate(items):
            self._count(node)
            numbers = (place + 1, place, last - place + 1, last - place, place == 0, place == last, len(items))
            yield from self.put_out(node.body, {**scope, name: item, "loop": dict(zip(_LOOP, numbers, strict=True))})
        if not items:
            yield from self.put_out(node.else_, scope)

    def value(self, node: Any, scope: Mapping[str, Value]) -> Value:
        """What an expression is."""
        self._count(node)
        try:
            found: Value = _PARTS[type(node)](self, node, scope)
        except _MissingError as error:
            error.node = error.node or node
            raise
        if isinstance(found, str | tuple):
            self._steps += len(found) // 100
        return found

    def _count(self, node: nodes.Node) -> None:
        self.line = node.lineno
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError("costs too much to render: its loops have too many turns, or its texts are too long")

    def name(self, node: nodes.Name, scope: Mapping[str, Value]) -> Value:
        if node.name not in scope:
            raise _MissingError(f"{node.name!r} is not known in this block")
        return scope[node.name]

    def filtered(self, node: Any, scope: Mapping[str, Value]) -> Value:
        given = [self.value(each, scope) for each in node.args]
        named = {each.key: self.value(each.value, scope) for each in node.kwargs}
        if node.name in _DEFAULT:
            return self._default(node, scope, *given, **named)
        return FILTERS[node.name](self.value(node.node, scope), *given, **named)

    def _default(
        self, node: Any, scope: Mapping[str, Value], default_value: Value = "", boolean: Value = False
    ) -> Value:
        there, value = self._found(node.node, scope)
        return value if there and not (boolean and not value) else default_value

    def test(self, node: nodes.Test, scope: Mapping[str, Value]) -> bool:
        if node.name == "none":
            return self.value(node.node, scope) is None
        return self._found(node.node, scope)[0] is (node.name == "defined")

    def _found(self, node: nodes.Node, scope: Mapping[str, Value]) -> tuple[bool, Value]:
        """Whether an expression has a value, and the value. What it is made of has to be there."""
        try:
            return True, self.value(node, scope)
        except _MissingError as error:
            if error.node is not node:
                raise
            return False, None

    def compare(self, node: nodes.Compare, scope: Mapping[str, Value]) -> bool:
        left = self.value(node.expr, scope)
        for operand in node.ops:
            right = self.value(operand.expr, scope)
            if not _COMPARE[operand.op](left, right):
                return False
            left = right
        return True

    def concatenated(self, node: nodes.Concat, scope: Mapping[str, Value]) -> str:
        parts = [_text(self.value(each, scope)) for each in node.nodes]
        _bounded(sum(map(len, parts)))
        return "".join(parts)

    def arithmetic(self, node: nodes.BinExpr, scope: Mapping[str, Value]) -> int:
        left, right = (self._number(each, scope) for each in (node.left, node.right))
        return left + right if node.operator == "+" else left - right

    def _number(self, node: nodes.Expr, scope: Mapping[str, Value]) -> int:
        value = self.value(node, scope)
        if not isinstance(value, int) or abs(value) > _MAX_NUMBER:
            raise TemplateError(f"+ and - take whole numbers up to {_MAX_NUMBER:,}")
        return value


_PARTS: Mapping[type[nodes.Node], Callable[[_Rendering, Any, Mapping[str, Value]], Value]] = {
    nodes.TemplateData: lambda _, node, __: node.data,
    nodes.Const: lambda _, node, __: node.value,
    nodes.Name: _Rendering.name,
    nodes.Getattr: lambda at, node, scope: _at(at.value(node.node, scope), node.attr),
    nodes.Getitem: lambda at, node, scope: _at(at.value(node.node, scope), at.value(node.arg, scope)),
    nodes.Tuple: lambda at, node, scope: tuple(at.value(each, scope) for each in node.items),
    nodes.List: lambda at, node, scope: tuple(at.value(each, scope) for each in node.items),
    nodes.Filter: _Rendering.filtered,
    nodes.Test: _Rendering.test,
    nodes.Compare: _Rendering.compare,
    nodes.Concat: _Rendering.concatenated,
    nodes.Add: _Rendering.arithmetic,
    nodes.Sub: _Rendering.arithmetic,
    nodes.Not: lambda at, node, scope: not at.value(node.node, scope),
    nodes.And: lambda at, node, scope: at.value(node.left, scope) and at.value(node.right, scope),
    nodes.Or: lambda at, node, scope: at.value(node.left, scope) or at.value(node.right, scope),
    nodes.CondExpr: lambda at, node, scope: at.value(
        node.expr1 if at.value(node.test, scope) else node.expr2 or nodes.Const(""), scope
    ),
}
_STATEMENTS = (nodes.Output, nodes.If, nodes.Operand, nodes.Keyword)  # and For; the last two belong to expressions
