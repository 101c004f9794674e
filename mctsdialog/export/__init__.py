"""Trees for other programs and for people: JSON, GraphML, DOT, SVG."""

from mctsdialog.export.graph import save_graphml, to_dot, to_graphml, to_networkx, to_svg, xml_text
from mctsdialog.tree import load_tree, save_tree

__all__ = [
    "load_tree",
    "save_graphml",
    "save_tree",
    "to_dot",
    "to_graphml",
    "to_networkx",
    "to_svg",
    "xml_text",
]
