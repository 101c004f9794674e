"""Trees as graphs: networkx, GraphML, DOT and SVG."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # written, not read

import networkx as nx
from networkx.readwrite.graphml import GraphMLWriter

from mctsdialog._arguments import checked
from mctsdialog.errors import ConfigError, MctsDialogError
from mctsdialog.files import write_atomically
from mctsdialog.tree import ExpandedNode, Node, RootNode, SpokenNode, StrategyNode, Tree, UnexpandedNode

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Fill colours by node type; the border carries the type too, so that no reader depends on colour.
_STYLES = {
    "root": 'shape=house, style=filled, fillcolor="#dddddd"',
    "unexpanded": 'shape=box, style="rounded,dashed", color="#888888", fontcolor="#666666"',
    "expanded": 'shape=box, style="rounded,filled", fillcolor="#cfe3f5"',
    "end": 'shape=box, style="filled,bold", fillcolor="#f6dfb8"',
}
_CLOSED = 'shape=box, style="filled,dashed", color="#888888", fillcolor="#eeeeee", fontcolor="#666666"'


def xml_text(text: str) -> str:
    """``text`` with every character that XML 1.0 cannot hold replaced by U+FFFD."""
    return _ILLEGAL.sub("\ufffd", text)


@checked()
def to_networkx(tree: Tree) -> nx.DiGraph[int]:
    """The tree as a directed graph from parents to children; nodes are ids.

    Node attributes: ``label``, ``type``, ``depth``, ``value``, ``visits``, and where the node has them ``strategy``,
    ``score``, ``prior``, ``gold``, ``probe``, ``supporter``, ``seeker``, ``closed``. Attributes that a node has not are
    left out.
    """
    graph: nx.DiGraph[int] = nx.DiGraph(tree_id=tree.id, domain=tree.domain.name, iterations=tree.iterations)
    depths: list[int] = []
    for node in tree:
        depths.append(0 if node.parent < 0 else depths[node.parent] + 1)
        graph.add_node(node.id, **_attributes(node), depth=depths[-1])
        if node.parent >= 0:
            graph.add_edge(node.parent, node.id)
    return graph


def _attributes(node: Node) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "label": node.strategy if isinstance(node, StrategyNode) else "root",
        "type": node.type,
        "value": float(node.value),
        "visits": node.visits,
    }
    if isinstance(node, RootNode):
        attributes["seeker"] = node.turns[-1].text
        if len(node.turns) > 1:
            attributes["supporter"] = node.turns[0].text
    if isinstance(node, StrategyNode):
        attributes |= {"strategy": node.strategy, "prior": float(node.prior)}
        if not math.isnan(node.score):
            attributes["score"] = float(node.score)
    if isinstance(node, SpokenNode):
        attributes |= {"supporter": node.supporter, "gold": node.gold}
        if node.probe:
            attributes["probe"] = True
    if isinstance(node, ExpandedNode):
        attributes["seeker"] = node.seeker
    if node.closed is not None:
        attributes["closed"] = node.closed
    return attributes


@checked()
def to_graphml(tree: Tree) -> str:
    """The tree as GraphML with typed attributes; networkx and Gephi open it.

    Characters that XML cannot hold become U+FFFD; the JSON export keeps them.
    """
    graph = to_networkx(tree)
    for _, attributes in graph.nodes(data=True):
        attributes.update({key: xml_text(value) for key, value in attributes.items() if isinstance(value, str)})
    graph.graph.update({key: xml_text(value) for key, value in graph.graph.items() if isinstance(value, str)})
    writer = GraphMLWriter(graph, named_key_ids=True)
    writer.indent(writer.xml)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ElementTree.tostring(writer.xml, encoding='unicode')}"


@checked()
def save_graphml(tree: Tree, path: str | Path) -> Path:
    """Write :func:`to_graphml` to a file, in one step."""
    return write_atomically(path, to_graphml(tree))


@checked()
def to_dot(tree: Tree, *, unexpanded: bool = True, width: int = 32, max_chars: int = 160) -> str:
    """The tree in Graphviz's DOT language: strategy, Q, N and the supporter's words in each node; closed ones in grey.

    :param unexpanded: whether unexpanded nodes are drawn that are not closed.
    :param width: characters a line of text, 8 or more.
    :param max_chars: characters of text a node, 8 or more; longer texts end in an ellipsis.
    """
    if width < 8:
        raise ConfigError(f"width must be 8 or more, not {width}", field="width")
    if max_chars < 8:
        raise ConfigError(f"max_chars must be 8 or more, not {max_chars}", field="max_chars")
    lines = ["digraph tree {", "  rankdir=TB;", '  node [fontname="Helvetica", fontsize=10, margin="0.12,0.06"];']
    for node in tree:
        if isinstance(node, UnexpandedNode) and node.closed is None and not unexpanded:
            continue
        style = _STYLES[node.type] if node.closed is None else _CLOSED
        lines.append(f"  n{node.id} [label={_quoted(_label(node, width, max_chars))}, {style}];")
        if node.parent >= 0:
            lines.append(f"  n{node.parent} -> n{node.id};")
    return "\n".join([*lines, "}", ""])


def _label(node: Node, width: int, max_chars: int) -> str:
    head = f"{node.strategy}\n" if isinstance(node, StrategyNode) else ""
    if isinstance(node, StrategyNode):
        head += f"P {node.prior:.2f}  "
    head += f"Q {node.value:.2f}  N {node.visits}"
    text = node.supporter if isinstance(node, SpokenNode) else node.turns[-1].text if isinstance(node, RootNode) else ""
    if node.closed is not None:
        text = f"closed: {node.closed}. {text}"
    short = textwrap.shorten(xml_text(text), max_chars, placeholder=" …")
    return head + "".join(f"\n{line}" for line in textwrap.wrap(short, width))


def _quoted(text: str) -> str:
    """A DOT string: backslashes and quotes escaped, so that text stays text; lines centred."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@checked()
def to_svg(tree: Tree, *, unexpanded: bool = True, timeout: float = 120.0) -> str:
    """The tree drawn by Graphviz as SVG.

    :param timeout: seconds that Graphviz may take, above 0.
    :raises ConfigError: if the program ``dot`` is not installed.
    :raises MctsDialogError: if it fails or takes too long.
    """
    program = shutil.which("dot")
    if program is None:
        raise ConfigError("SVG needs the program 'dot' of Graphviz; install Graphviz, or export DOT instead")
    try:
        done = subprocess.run(  # noqa: S603  # a fixed program, the tree on its standard input
            [program, "-Tsvg"],
            input=to_dot(tree, unexpanded=unexpanded).encode(),
            capture_output=True,
            timeout=timeout,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise MctsDialogError(f"dot took longer than {timeout:g} s; export DOT and draw it apart") from error
    except subprocess.CalledProcessError as error:
        raise MctsDialogError(f"dot failed: {error.stderr.decode(errors='replace')[:300]}") from error
    return done.stdout.decode("utf-8")
