"""Arguments of public functions and classes: a wrong type is one error that names it, before anything is done."""

from __future__ import annotations

import functools
import inspect
import math
import os
import types
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from mctsdialog.errors import ConfigError, shown

F = TypeVar("F", bound=Callable[..., Any])

_SECRET = frozenset({"api_key", "base_url", "extra", "headers"})  # may hold a key: never shown
_ITEMS = (list, tuple, set, frozenset)  # may be looked through without using them up
_TEXT, _NUMBER = {"str", "PurePath"}, {"int", "float"}
_WAYS: tuple[tuple[str, set[str], str], ...] = (
    ("ChatModel", _TEXT, "llm.chat_model(name)"),
    ("ResponseCache", _TEXT, "ResponseCache(folder)"),
    ("Limits", _NUMBER, "llm.Limits(concurrency=...)"),
    ("Budget", _NUMBER, "Budget(calls=...) or Budget(money=..., prices=...)"),
    ("Retry", _NUMBER, "llm.Retry(attempts=...)"),
    ("Tree", _TEXT, "load_tree(file), or load_trees(folder) for many"),
    ("PreferenceDataset", _TEXT, "preferences.load_preferences(folder)['train']"),
    ("PreferenceDataset", {"Tree"}, "PreferenceDataset.from_trees([tree])"),
    ("PreferenceDataset", {"list", "tuple"}, "PreferenceDataset.from_trees(trees)"),
    ("StatisticsData", {"PreferenceDataset"}, "statistics.dataset_statistics(dataset)"),
    ("Plan", {"Tree"}, "plan(...), whose tree this is"),
    ("Resolved", {"dict"}, "resolve_config(**settings)"),
    ("Resolved", _TEXT, "resolve_config(data=path)"),
    ("Mapping", _NUMBER, "{'train': 0.9, 'test': 0.1}"),
)
"""How what is wanted is made of what is often given in its place: its name, the kinds that are given, the way."""
_WORDS: Mapping[Any, str] = {
    str: "a text",
    bytes: "bytes",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    None: "None",
    types.NoneType: "None",
    Path: "a path",
    Hashable: "a label",
}


def checked(*but: str, items: bool = True) -> Callable[[F], F]:
    """A function, or the constructor of a class, whose arguments are held against their annotations.

    What a list, tuple, set or dict holds is looked at, too; of other containers the first thing, and nothing of what
    looking would use up. NaN is no number.

    :param but: parameters that the function checks itself, because it has more to say about them.
    :param items: whether all that a list holds is looked at, or the first thing; for what is called a thousand times on
        one list.
    """

    def decorate(what: F) -> F:
        if isinstance(what, type):
            what.__init__ = _checking(what.__init__, but, items)  # type: ignore[misc]  # the class's own
            return what
        return cast("F", _checking(what, but, items))

    return decorate


def _checking(function: Callable[..., Any], but: tuple[str, ...], items: bool) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:  # when first called: annotations may name what is defined further down
        own = {each.name: each.annotation for each in signature.parameters.values() if _is_plain(each)}
        return get_type_hints(types.SimpleNamespace(__annotations__=own), _globals(function))

    def check(args: Any, kwargs: Any) -> None:
        name = type(args[0]).__name__ if function.__name__ == "__init__" and args else function.__name__
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            if hint := next(filter(None, (_setting(each, signature, hints()) for each in kwargs)), ""):
                raise TypeError(f"{name}() {hint}") from None
            return  # the call itself says so
        for field, hint in hints().items():
            if field in given and field not in but and given[field] is not signature.parameters[field].default:
                _check(name, field, given[field], hint, every=items)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            check(args, kwargs)
            return await function(*args, **kwargs)

        return call

    @functools.wraps(function)
    def plain_call(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    return plain_call


def _setting(name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> str:
    """Where an unknown keyword belongs, if it is a setting of a config that is an argument here."""
    if name in signature.parameters:
        return ""
    for field, hint in hints.items():
        for kind in (hint, *get_args(hint)):
            if name in getattr(kind, "model_fields", ()) and kind.__name__.endswith("Config"):
                return f"has no argument {name!r}; it is a setting: {field}={kind.__name__}({name}=...)"
    return ""


def _is_plain(parameter: inspect.Parameter) -> bool:
    many = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return parameter.annotation is not inspect.Parameter.empty and parameter.kind not in many


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = inspect.unwrap(function).__globals__
    return found


def _check(name: str, field: str, value: object, hint: Any, *, every: bool) -> None:
    if _fits(value, hint, every=every):
        return
    place = field
    if get_origin(hint) in (Union, types.UnionType):  # that which it is but for what it holds
        hint = next((each for each in get_args(hint) if _items(each) and _is_of(value, get_origin(each))), hint)
    if (inner := _items(hint)) is not None and _is_of(value, get_origin(hint)) and not _fits(value, inner):
        wrong = next((found for found in _parts(value, every=every) if not _fits(found[1], inner)), None)
        if wrong is not None:
            place, value, hint = f"{field}{wrong[0]}", wrong[1], inner
    given = f"a value of type {type(value).__name__}" if field in _SECRET else shown(value)
    raise ConfigError(f"{name}: {place} must be {_words(hint)}, not {given}{_advice(value, hint)}", field=field)


def _fits(value: object, hint: Any, *, every: bool = True) -> bool:  # noqa: PLR0911 - one line a kind of annotation
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if hint in (None, types.NoneType):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, each, every=every) for each in arguments)
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin is Literal:
        return isinstance(value, str | int) and value in arguments
    if origin is Callable and _is_async(value):
        return not (arguments and isinstance(arguments[-1], type))  # else what it returns is not awaited
    if hint == Sequence[Hashable] and isinstance(value, str):
        return True  # a letter for each
    if hint in (int, float):
        number = isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
        return number and not (isinstance(value, float) and math.isnan(value))
    if origin is tuple and arguments[1:] == (...,) and isinstance(value, list):
        return _holds(value, hint, every=every)  # a list will do
    return _is_of(value, origin or hint) and _holds(value, hint, every=every)


def _is_of(value: object, kind: Any) -> bool:
    if kind is Path:
        return isinstance(value, os.PathLike)
    if kind is Callable:
        return callable(value)
    if kind is Sequence:  # whatever has places: a Dataset and an array, too
        return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, str | bytes | dict)
    if kind is Iterable:
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, type) and all(callable(getattr(value, each, None)) for each in _methods(kind))
    return isinstance(value, kind)


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(type(value), "__call__", None))  # noqa: B004 - not whether there is one


def _methods(protocol: type) -> list[str]:
    """What an object needs to be of a protocol; closing can be left out if there is nothing to close."""
    return [each for each, value in vars(protocol).items() if inspect.isfunction(value) and _is_needed(each)]


def _is_needed(method: str) -> bool:
    return method == "__call__" or not (method.startswith("_") or method == "aclose")


def _holds(value: object, hint: Any, *, every: bool) -> bool:
    arguments = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, tuple) and ... not in arguments:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    inner = _items(hint)
    return inner is None or all(_fits(each, inner) for _, each in _parts(value, every=every))


def _items(hint: Any) -> Any:
    """The annotation of what a container holds; None where nothing is said of it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if not arguments or origin is Callable or getattr(origin, "__module__", "") not in ("builtins", "collections.abc"):
        return None  # an array, a Literal
    if issubclass(origin, Mapping):
        return arguments[1]
    if origin is tuple:
        return arguments[0] if len(arguments) == 1 or arguments[1:] == (...,) else None
    return arguments[0] if issubclass(origin, Iterable) and arguments[0] is not Hashable else None


def _parts(value: object, *, every: bool) -> Iterator[tuple[str, Any]]:
    """The things in a container with their places, as far as they are looked at."""
    if isinstance(value, Mapping):
        return ((f"[{shown(key)}]", each) for key, each in value.items())
    # A generator can be gone through only once.
    things = iter(value) if isinstance(value, Sized) and isinstance(value, Iterable) else iter(())
    looked_at = things if every and isinstance(value, _ITEMS) else islice(things, 1)
    return ((f"[{at}]", each) for at, each in enumerate(looked_at))


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType, Literal):
        parts = list(dict.fromkeys(repr(each) if origin is Literal else _words(each) for each in arguments))
        return " or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    kind = origin or hint
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is Callable:
        return "a function"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return f"a mapping to {_words(arguments[1])}" if arguments else "a mapping"
    if kind in (Sequence, Iterable, list, tuple):
        return _words_of_items(kind, arguments)
    name = getattr(kind, "__name__", str(kind))
    methods = _methods(kind) if getattr(kind, "_is_protocol", False) else []
    needed = f" with {', '.join(f'{each}()' for each in methods)}" if methods else ""
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}{needed}"


def _words_of_items(kind: Any, arguments: tuple[Any, ...]) -> str:
    if kind is tuple and arguments and ... not in arguments:
        return f"({', '.join(map(_words, arguments))})"
    return f"a list of {_many(_words(arguments[0]))}" if arguments else "a list"


def _many(words: str) -> str:
    if words.startswith("a list of "):
        return f"lists of {words.removeprefix('a list of ')}"
    one = words.removeprefix("an ").removeprefix("a ")
    return f"things, each {words}" if " or " in words or one == words else f"{one}s"


def _advice(value: object, hint: Any) -> str:
    """What to do about mistakes that are easily made."""
    if isinstance(value, Coroutine):
        value.close()  # else Python warns of it, too
        return "; await it first"
    wanted = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, type) and any(_makes(value, each) for each in wanted):
        return f"; give an object: {value.__name__}(...)"
    if _is_async(value) and any(get_origin(each) is Callable for each in wanted):
        return "; it is called without await, so it must not be async"
    return next(filter(None, (_way(value, each) or _count(value, each) for each in wanted)), "")


def _way(value: object, wanted: Any) -> str:
    """How what is wanted is made of a value."""
    name = getattr(wanted, "__name__", "")
    if get_origin(wanted) in (Sequence, Iterable):
        name = getattr(_items(wanted), "__name__", name)
    kinds = {each.__name__ for each in type(value).__mro__}
    ways = [way for each, given, way in _WAYS if each == name and given & kinds]
    if isinstance(value, Mapping) and (hasattr(wanted, "model_fields") or hasattr(wanted, "__dataclass_fields__")):
        ways.append(f"{name}(**settings)")
    return f"; make it: {ways[0]}" if ways else ""


def _count(value: object, wanted: Any) -> str:
    """What to do with several where one is wanted, and the reverse."""
    if isinstance(value, list | tuple) and value and wanted is not Any and _fits(value[0], wanted):
        return "; give them one at a time"
    inner = _items(wanted)
    if inner in (None, Any) or not _fits(value, inner):
        return ""
    if not issubclass(get_origin(wanted), Mapping):
        return "; put it into a list"
    name = "'train'" if getattr(inner, "__name__", "") == "PreferenceDataset" else "name"
    return f"; give it a name: {{{name}: ...}}"


def _makes(kind: type, hint: Any) -> bool:
    if getattr(hint, "_is_protocol", False):
        return all(callable(getattr(kind, each, None)) for each in _methods(hint))
    return hint in kind.__mro__
