"""A page that lists the trees of a folder, each with a link to its own page. It has no script and asks no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from mctsdialog.export._viewer import _asset, _digest, encodable
from mctsdialog.export._words import stop_words
from mctsdialog.text import one_line
from mctsdialog.tree import Tree

_OPENING = 160  # characters of the first turn


@dataclass(frozen=True)
class Listed:
    """A tree in the list.

    :param link: path of its page, relative to the list, with ``/`` between its parts.
    :param best: mean Q of its best path; None if no path has ended.
    """

    link: str
    name: str
    about: str
    best: float | None
    nodes: int
    ends: int
    stopped: str

    @classmethod
    def of(cls, tree: Tree, link: str) -> Listed:
        """What the list says of a tree."""
        best = tree.best_path()
        about = tree.scenario.description or (tree.root.turns[-1].text if tree.root.turns else "")
        shown = one_line(about)
        return cls(
            link,
            one_line(tree.id or link),
            shown if len(shown) <= _OPENING else shown[:_OPENING].rsplit(" ", 1)[0] + " …",
            best.value if best else None,
            len(tree),
            tree.ends,
            stop_words(tree.stop_reason, tree.iterations),
        )


def index_page(trees: Sequence[Listed]) -> str:
    """The page; the trees keep their order."""
    style = _asset("index.css")
    count = f"{len(trees):,} tree{'s' * (len(trees) != 1)}"
    policy = f"default-src 'none'; style-src '{_digest(style)}'; base-uri 'none'; form-action 'none'"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{count}</title>
<style>{style}</style></head>
<body><h1>{count}</h1>
<table><thead><tr><th>Tree</th><th class="number">Best path, mean Q</th><th class="number">Nodes</th>
<th class="number">Ends</th><th>Search</th></tr></thead>
<tbody>
{"".join(map(_row, trees))}</tbody></table></body></html>
"""


def _row(tree: Listed) -> str:
    best = "none yet" if tree.best is None else f"{tree.best:+.2f}"
    name, about, stopped = (html.escape(encodable(text)) for text in (tree.name, tree.about, tree.stopped))
    link = html.escape(quote(tree.link, errors="replace"))
    return (
        f'<tr><td><a href="./{link}">{name}</a><p>{about}</p></td>'
        f'<td class="number" data-label="Best path, mean Q">{best}</td>'
        f'<td class="number" data-label="Nodes">{tree.nodes:,}</td>'
        f'<td class="number" data-label="Ends">{tree.ends:,}</td><td>{stopped}</td></tr>\n'
    )
