"""Trees for other programs and for people: JSON, GraphML, DOT, SVG, Parquet, an HTML viewer, and views in notebooks."""

from mctsdialog._public import publish as _publish
from mctsdialog.export._graph import save_graphml, to_dot, to_graphml, to_networkx, to_svg, xml_text
from mctsdialog.export._notebook import NotebookProgress
from mctsdialog.export._table import save_parquet
from mctsdialog.export._viewer import save_html, to_html
from mctsdialog.tree import load_tree, save_tree

__all__ = [
    "NotebookProgress",
    "load_tree",
    "save_graphml",
    "save_html",
    "save_parquet",
    "save_tree",
    "to_dot",
    "to_graphml",
    "to_html",
    "to_networkx",
    "to_svg",
    "xml_text",
]

_publish(globals())
