"""Trees and texts in a terminal. Texts of models and files are data: control characters in them are escapes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from mctsdialog.text import one_line
from mctsdialog.tree import ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

_MAX_INDENT = 24


def tree_lines(tree: Tree, start: Node, *, unexpanded: bool, max_depth: int | None, chars: int | None) -> Iterator[str]:
    """The subtree of ``start``, a node a line: id, strategy, Q, N, P, and the texts below.

    :param unexpanded: whether strategies that were not tried are shown; closed ones always are.
    :param max_depth: most edges below ``start``; None for all.
    :param chars: characters of each text; None for all.
    """
    depths = {start.id: 0}
    for node in tree.walk(start):
        depth = depths[node.id]
        depths.update(dict.fromkeys(node.children, depth + 1))
        hidden = isinstance(node, UnexpandedNode) and node.closed is None and not unexpanded
        if hidden or (max_depth is not None and depth > max_depth):
            continue
        yield from _indented(node_lines(tree, node, chars), depth)


def node_lines(tree: Tree, node: Node, chars: int | None) -> list[str]:
    """One node: a line of numbers and a line a text."""
    lines = [headline(node)]
    if isinstance(node, RootNode):
        lines += [f"  {name_of(tree, turn.speaker)}: {shortened(turn.text, chars)}" for turn in node.turns]
    if isinstance(node, SpokenNode):
        lines.append(f"  {name_of(tree, 'supporter')}: {shortened(node.supporter, chars)}")
    if isinstance(node, ExpandedNode):
        lines.append(f"  {name_of(tree, 'seeker')}: {shortened(node.seeker, chars)}")
    return lines


def headline(node: Node) -> str:
    """Id, type, strategy and statistics of a node."""
    name = one_line(node.strategy) if isinstance(node, StrategyNode) else "root"
    numbers = f"Q {node.value:+.2f}  N {node.visits}"
    if isinstance(node, StrategyNode):
        numbers += f"  P {node.prior:.2f}"
    if isinstance(node, SpokenNode) and node.posterior is not None:
        numbers += f"  turn {node.posterior[0]:+.2f} ± {node.posterior[1]:.2f}"
    marks = [mark for mark, on in (("end", node.type == "end"), ("gold", getattr(node, "gold", False))) if on]
    if node.closed is not None:
        marks.append(f"closed: {one_line(node.closed)}")
    return f"[{node.id}] {name}  {numbers}" + (f"  ({', '.join(marks)})" if marks else "")


def closed_line(closed: Mapping[str, int]) -> str:
    """How many branches models or their providers refused for good, and why."""
    number = sum(closed.values())
    reasons = ", ".join(f"{one_line(reason)} {count}" for reason, count in sorted(closed.items()))
    return f"{number} branch{'es' * (number != 1)} closed: {reasons}"


def name_of(tree: Tree, speaker: str) -> str:
    """The side's name in the tree's domain."""
    return one_line(tree.domain.seeker.name if speaker == "seeker" else tree.domain.supporter.name)


def conversation_lines(tree: Tree, node: Node, chars: int | None) -> Iterator[str]:
    """The conversation down to ``node``, a turn a line."""
    for turn in tree.history(node):
        strategy = f" ({one_line(turn.strategy)})" if turn.strategy else ""
        yield f"{name_of(tree, turn.speaker)}{strategy}: {shortened(turn.text, chars)}"


def shortened(text: str, chars: int | None) -> str:
    """``text`` on one line, cut at a word."""
    line = one_line(text)
    return line if chars is None else textwrap.shorten(line, max(chars, 8), placeholder=" …")


def _indented(lines: list[str], depth: int) -> Iterator[str]:
    pad = "  " * min(depth, _MAX_INDENT) + (f"(depth {depth}) " if depth > _MAX_INDENT else "")
    for line in lines:
        yield pad + line
