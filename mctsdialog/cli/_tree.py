"""Trees and conversations in a terminal: Q and N in columns, strategies in their colours, no word broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.text import Text

from mctsdialog._colours import strategy_colours, text_colour
from mctsdialog.cli._text import name_of, notes_of, shortened
from mctsdialog.cli.terminal import screen
from mctsdialog.text import one_line
from mctsdialog.tree import ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

_MOST_GUIDES = 12  # levels that have guides of their own; deeper ones begin with their depth
_Guide = Literal["", "│  ", "   ", "├─ ", "└─ "]
_ASCII = {"│": "|", "├": "+", "└": "`", "─": "-"}
_NUMBERS = 13  # columns of Q, N and the space behind


def tree_view(tree: Tree, start: Node, *, unexpanded: bool, max_depth: int | None, full: bool) -> Iterator[Text]:
    """The subtree of ``start``: Q and N in columns, then the tree with strategy, numbers and texts of each node.

    :param unexpanded: whether strategies that were not tried are shown; closed ones always are.
    :param max_depth: most edges below ``start``; None for all.
    :param full: texts whole, not their beginnings.
    """
    page = _Page(tree, full=full)
    yield page.heading()
    for place in _places(tree, start, unexpanded=unexpanded, max_depth=max_depth):
        yield from page.node(place)


def conversation(tree: Tree, node: Node, *, full: bool = True) -> Iterator[Text]:
    """The conversation down to ``node``, each supporter turn with Q and N of its node.

    :param full: turns whole, not the first line of each.
    """
    page = _Page(tree, full=full)
    yield page.heading()
    path = [each for each in tree.path(node) if isinstance(each, SpokenNode)]
    for turn in tree.root.turns:
        yield from page.said(turn.speaker, turn.text, strategy=turn.strategy)
    for each in path:
        yield from page.said("supporter", each.supporter, strategy=each.strategy, node=each)
        if isinstance(each, ExpandedNode):
            yield from page.said("seeker", each.seeker)


@dataclass(frozen=True)
class _Place:
    """A node that is shown.

    :ivar guides: what stands before its first line, and ``under``, before its others.
    """

    node: Node
    guides: str
    under: str
    parent: bool


def _places(tree: Tree, start: Node, *, unexpanded: bool, max_depth: int | None) -> Iterator[_Place]:
    """The nodes that are shown, in the tree's order. Nothing recurses: a tree may be thousands of nodes deep."""

    def children(node: Node, depth: int) -> list[Node]:
        if max_depth is not None and depth >= max_depth:
            return []
        return [
            child
            for child in tree.children(node)
            if unexpanded or not isinstance(child, UnexpandedNode) or child.closed is not None
        ]

    waiting: list[tuple[Node, int, str, _Guide]] = [(start, 0, "", "")]
    while waiting:
        node, depth, before, guide = waiting.pop()
        below = children(node, depth)
        under = before + {"├─ ": "│  ", "└─ ": "   ", "": ""}.get(guide, "")
        shown = _kept(before, depth) + guide
        yield _Place(node, shown, _kept(under, depth), bool(below))
        for last, child in zip([True] + [False] * len(below), reversed(below), strict=False):
            waiting.append((child, depth + 1, under, "└─ " if last else "├─ "))


def _kept(guides: str, depth: int) -> str:
    """Guides of the last levels, and the depth in place of those above."""
    least = 3 * _MOST_GUIDES
    return guides if len(guides) <= least else f"({depth}) {guides[-least:]}"


class _Page:
    """Lines for the width and the letters of this terminal."""

    def __init__(self, tree: Tree, *, full: bool) -> None:
        self._tree, self._full = tree, full
        self._width, self._unicode = screen()
        self._console = Console(width=self._width)
        self._colours = strategy_colours(tree.domain.strategies.names)

    def heading(self) -> Text:
        """What the columns are."""
        return Text(f"{'Q':>6}{'N':>5}", style="dim")

    def node(self, place: _Place) -> Iterator[Text]:
        """A node: a line of numbers and its strategy, and its texts below."""
        node, under = place.node, place.under + ("│  " if place.parent else "   ")
        name = self.chip(node.strategy) if isinstance(node, StrategyNode) else ("root", "bold")
        line = Text.assemble(name, f" [{node.id}]", (f"  {notes_of(node)}".rstrip(), "dim"))
        yield from self._block(line, place.guides, under, node=node, cut=False)
        said: Sequence[tuple[str, str]] = ()
        if isinstance(node, RootNode):
            said = [(turn.speaker, turn.text) for turn in node.turns]
        elif isinstance(node, SpokenNode):
            said = [("supporter", node.supporter)]
            said += [("seeker", node.seeker)] if isinstance(node, ExpandedNode) else []
        for speaker, text in said:
            words = Text.assemble((f"{name_of(self._tree, speaker)}: ", "dim"), one_line(text))
            yield from self._block(words, under, under, cut=not self._full)

    def said(self, speaker: str, text: str, *, strategy: str | None = None, node: Node | None = None) -> Iterator[Text]:
        """One turn of a conversation."""
        name = (f"{name_of(self._tree, speaker)}: ", "bold")
        chosen: list[str | tuple[str, str]] = [] if strategy is None else [self.chip(strategy), " "]
        words = Text.assemble(name, *chosen, one_line(text))
        yield from self._block(words, "", "  ", node=node, cut=not self._full)

    def chip(self, strategy: str) -> tuple[str, str]:
        """A strategy's name and its style: on its colour, as in the viewer."""
        colour = self._colours.get(strategy)
        style = "bold" if colour is None else f"{text_colour(colour)} on {colour}"
        return f"({one_line(strategy)})", style

    def _block(self, text: Text, first: str, under: str, *, node: Node | None = None, cut: bool) -> Iterator[Text]:
        """A text behind guides, broken between words; the numbers of a node stand before its first line."""
        room = max(self._width - _NUMBERS - max(len(first), len(under)), 16)
        if cut:
            text = Text(shortened(text.plain, room), spans=text.spans)
        numbers = f"{node.value:+6.2f}{node.visits:5}  " if node is not None else " " * _NUMBERS
        guides = first
        for line in text.wrap(self._console, room, overflow="fold"):  # between words, where that can be done
            line.rstrip()
            yield Text.assemble(numbers, (self._drawn(guides), "dim"), line)
            numbers, guides = " " * _NUMBERS, under

    def _drawn(self, guides: str) -> str:
        return guides if self._unicode else "".join(_ASCII.get(letter, letter) for letter in guides)
