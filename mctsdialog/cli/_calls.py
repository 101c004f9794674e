"""``mctsdialog show --calls``: the prompts, replies and costs behind a node of a tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from mctsdialog._search.calls import FoundCalls, RecordedRoles, questions_behind
from mctsdialog.cli._exchanges import CHARS, costs_in_all, exchange_lines, field
from mctsdialog.cli._text import node_lines
from mctsdialog.cli.exits import BAD_INPUT, Failure
from mctsdialog.cli.terminal import echo
from mctsdialog.journal import read_journal
from mctsdialog.llm import Price, ResponseCache
from mctsdialog.text import one_line
from mctsdialog.tree import Node, SpokenNode, Tree

_FITS = {
    "same": "as it stands in the tree",
    "other": "NOT what the tree has: another reply took its place in the cache, or this version reads it otherwise",
    "unknown": "",
}


def show_calls(
    tree: Tree, node: Node, file: Path, *, cache_folder: Path | None, prices: Mapping[str, Price], full: bool
) -> None:
    """Print the calls behind a node.

    :param file: the tree's; the run's cache and journal are looked for in the folder above it.
    :param cache_folder: another folder with the cache.
    :raises Failure: if that folder holds no cache.
    """
    run = file.resolve().parent.parent
    folder = cache_folder or run / "cache"
    records = _records(run / "journals" / f"{file.stem}.jsonl")
    for line in node_lines(tree, node, None if full else CHARS):
        echo(line)
    for line in _trials(records, tree, node):
        echo(line)
    with ExitStack() as closing:
        if (folder / "cache.db").is_file():
            echo(f"cache: {folder}")
            cache = closing.enter_context(ResponseCache(folder, mode="read-only"))
        elif cache_folder is not None:
            raise Failure(f"{folder} holds no cache of replies; a search keeps its own in OUT/cache", BAD_INPUT)
        else:
            echo(f"cache: none in {folder}; name one with --cache")
            cache = None
        opened = None if records is None else any(record.get("type") == "opening" for record in records[:1])
        found = anyio.run(partial(_find, tree, node, cache, opened=opened))
    _print(found, prices, None if full else CHARS)


async def _find(tree: Tree, node: Node, cache: ResponseCache | None, *, opened: bool | None) -> list[FoundCalls]:
    roles = RecordedRoles(tree, cache)
    return [await roles.find(question) for question in questions_behind(tree, node, opened=opened)]


def _print(found: Sequence[FoundCalls], prices: Mapping[str, Price], chars: int | None) -> None:
    for each in found:
        echo(f"\n{each.question.role.capitalize()}: {each.question.about}")
        for before, exchange in zip((None, *each.exchanges), each.exchanges, strict=False):
            for line in exchange_lines(exchange, chars=chars, prices=prices, before=before):
                echo(line)
        if each.problem:
            echo(field("of no use" if each.exchanges else "no reply", one_line(each.problem)))
        elif _FITS[each.fit]:
            echo(field("read", _FITS[each.fit]))
    exchanges = [exchange for each in found for exchange in each.exchanges]
    missing = sum(not each.exchanges for each in found)
    if not found:
        echo("\nno role was asked for this node: its turns are the gold dialogue's")
        return
    lost = f"; no reply to {missing} of {len(found)} questions" if missing else ""
    echo(f"\n{costs_in_all(exchanges, prices)}{lost}")


def _records(file: Path) -> list[dict[str, Any]] | None:
    return read_journal(file)[1] if file.is_file() else None


def _trials(records: Sequence[dict[str, Any]] | None, tree: Tree, node: Node) -> Iterator[str]:
    """In which trials the node was spoken, expanded and judged."""
    if records is None:
        yield "journal: none beside the tree"
        return
    places: dict[str, list[str]] = {}
    for record in records:
        if record.get("type") != "trial":
            continue
        what = _part(record, tree, node)
        if what:
            places.setdefault(what, []).append(one_line(str(record.get("number"))))
    told = [f"{what} in trial {', '.join(numbers[:10])}" for what, numbers in places.items()]
    yield f"journal: {'; '.join(told) if told else 'no trial began at it'}"


def _part(record: Mapping[str, Any], tree: Tree, node: Node) -> str:
    """What a trial did at the node itself; "" for nothing."""
    leaf, child = record.get("leaf"), record.get("child")
    if leaf == node.id:
        if record.get("generated") is not None:
            return "generated"
        return "expanded" if record.get("scores") is not None else "judged"
    spoken = isinstance(node, SpokenNode) and isinstance(child, list) and child[:1] == [node.supporter]
    return "generated as the best child" if spoken and leaf == node.parent else ""
