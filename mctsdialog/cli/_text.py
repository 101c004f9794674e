"""Trees and texts in a terminal. Texts of models and files are data: control characters in them are escapes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from mctsdialog.text import one_line
from mctsdialog.tree import ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree


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
    return "  ".join(filter(None, [f"[{node.id}] {name}", f"Q {node.value:+.2f}", f"N {node.visits}", notes_of(node)]))


def notes_of(node: Node) -> str:
    """What is known of a node beside Q and N: prior, the turn's own reward, whether it is an end, gold or closed."""
    notes = [f"P {node.prior:.2f}"] if isinstance(node, StrategyNode) else []
    if isinstance(node, SpokenNode) and node.posterior is not None:
        notes.append(f"turn {node.posterior[0]:+.2f} ± {node.posterior[1]:.2f}")
    marks = [mark for mark, on in (("end", node.type == "end"), ("gold", getattr(node, "gold", False))) if on]
    if node.closed is not None:
        marks.append(f"closed: {one_line(node.closed)}")
    return "  ".join([*notes, *([f"({', '.join(marks)})"] if marks else [])])


def closed_line(closed: Mapping[str, int]) -> str:
    """How many branches models or their providers refused for good, and why."""
    number = sum(closed.values())
    reasons = ", ".join(f"{one_line(reason)} {count}" for reason, count in sorted(closed.items()))
    return f"{number} branch{'es' * (number != 1)} closed: {reasons}"


def name_of(tree: Tree, speaker: str) -> str:
    """The side's name in the tree's domain."""
    return one_line(tree.domain.seeker.name if speaker == "seeker" else tree.domain.supporter.name)


def shortened(text: str, chars: int | None) -> str:
    """``text`` on one line, cut at a word."""
    line = one_line(text)
    return line if chars is None else textwrap.shorten(line, max(chars, 8), placeholder=" …")
